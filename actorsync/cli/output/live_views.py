"""The live view of several mirrors on one terminal: a block for each, as far as the terminal is high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from actorsync.cli.output.live_view import LiveView
from actorsync.cli.output.progress import progress_text
from actorsync.cli.output.streams import Sink
from actorsync.cli.output.together import Together
from actorsync.model.text import counted, display

__all__ = ["LiveViews"]

#: The fewest lines of a block: the name, two connections, those that are idle, and up to three of the total.
_LEAST: Final = 7


class LiveViews(Together):
    """The live views of several mirrors, below the lines that stay.

    Each mirror with a pass going on has its name, its connections and its total. If the terminal is too low for that,
    each has one line, those with work first, and the last line counts the others.
    """

    def __init__(self, voice: LiveView, of_mirrors: Mapping[str, LiveView]) -> None:
        super().__init__(voice, of_mirrors)
        self._screen = voice.screen
        self._views = of_mirrors

    def tick(self) -> Any:
        """Return the next frame, or None while no pass is going on."""
        running = {name: view for name, view in self._views.items() if view.is_running}
        if not running:
            return None
        width, height = self._screen.width, max(1, self._screen.height)
        share = height // len(running)
        if share >= _LEAST:
            return Group(*(line for name, view in running.items() for line in _block(name, view, width, share)))
        return Group(*_overview(running, height))

    def put(self, lines: Sequence[tuple[Sink, str]], frame: Any) -> None:
        """Print ``lines`` above the view and draw ``frame``; without a frame, remove the view."""
        self._screen.put(lines, frame)

    def end(self) -> None:
        """Remove the view."""
        self._screen.end()

    def last_words(self) -> None:
        """Remove the view, and show the cursor again."""
        self._screen.last_words()


def _block(name: str, view: LiveView, width: int, height: int) -> Sequence[RenderableType]:
    """Return the lines of a mirror."""
    return [_line(display(name), style="bold"), *view.block(width, height - 1)]


def _overview(running: Mapping[str, LiveView], height: int) -> Sequence[RenderableType]:
    """Return a line for each mirror."""
    ordered = sorted(running.items(), key=lambda item: not item[1].has_work)
    shown = ordered if len(ordered) <= height else ordered[: height - 1]
    lines = [_line(f"{display(name)}: {_progress(view)}") for name, view in shown]
    if len(shown) < len(ordered):
        lines.append(_line(f"{counted(len(ordered) - len(shown), 'more mirror')}", style="dim"))
    return lines


def _progress(view: LiveView) -> str:
    view.sample()
    statistics = view.statistics
    if not (statistics.is_total_known or statistics.files_planned or statistics.comparisons_planned):
        return f"scanning: {counted(statistics.files_found, 'file')} found"
    return progress_text(statistics, view.rate.value, is_stopping=view.is_stopping)


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="crop")
