"""The live view of a run on a terminal: a line for each connection, and the total."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, TextIO, cast

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from actorsync.actors.statistics import ConnectionLevel, Statistics
from actorsync.cli.output.lines import Lines, progress_text
from actorsync.cli.output.streams import Sink
from actorsync.model.text import display

__all__ = ["LiveView"]

#: Seconds between two frames.
_FRAME: Final = 0.2

#: Width of a connection's line without the path, in cells.
_FIXED: Final = 54

_SHOW_CURSOR: Final = b"\x1b[?25h\n"


class LiveView(Lines):
    """A view that is redrawn a few times a second, below the lines that stay."""

    interval = _FRAME
    pace = _FRAME / 2

    def __init__(
        self,
        statistics: Statistics,
        stream: TextIO | None,
        *,
        every: str = "",
        is_verbose: bool = False,
    ) -> None:
        super().__init__(statistics, stream, every=every, is_verbose=is_verbose)
        self._descriptor = stream.fileno() if stream is not None else -1
        self._console = Console(file=cast(TextIO, self.out), highlight=False, markup=False, emoji=False)
        self._live: Live | None = None

    def tick(self) -> Any:
        """Return the next frame, or None between passes."""
        if not self.is_running:
            return None
        self.rate.add(trio.current_time(), self.statistics.bytes_sent)
        return _frame(self.statistics, self.rate.value, self._console.width, self._console.height)

    def put(self, lines: Sequence[tuple[Sink, str]], frame: Any) -> None:
        """Print ``lines`` above the view and draw ``frame``; without a frame, remove the view."""
        if frame is None:
            self.end()
        for _, text in lines:
            self._console.print(text, soft_wrap=True)
        if frame is not None and not self.out.is_gone:
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    auto_refresh=False,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()
            self._live.update(frame, refresh=True)

    def end(self) -> None:
        """Remove the view."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def last_words(self) -> None:
        """Show the cursor again, which the view had hidden."""
        os.write(self._descriptor, _SHOW_CURSOR)


def _frame(statistics: Statistics, rate: float | None, width: int, height: int) -> RenderableType:
    """Return a line for each connection (its largest file), as many as fit, and the total."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style="dim")
    table.add_column(width=18)
    table.add_column(width=max(8, width - _FIXED), no_wrap=True, overflow="crop")
    table.add_column(width=16)
    table.add_column(justify="right", width=4)
    levels, room = statistics.connections, max(1, height - 5)
    shown = levels if len(levels) <= room else levels[: room - 1]
    for level in shown:
        table.add_row(*_cells(level, max(8, width - _FIXED)))
    if len(shown) < len(levels):
        table.add_row("", Text(f"and {len(levels) - len(shown)} more", style="dim"), "", "", "")
    return Group(table, _total(statistics, rate, width))


def _cells(level: ConnectionLevel, room: int) -> Sequence[RenderableType]:
    lane = level.busiest
    word = level.state if lane is None else lane.state
    style = {"sending": "", "reconnecting": "yellow", "retired": "red"}.get(word, "dim")
    if lane is None or lane.upload is None:
        return str(level.number), Text(word, style=style), "", "", ""
    others = level.uploads - 1
    state = Text(f"{word} {others + 1} files" if others else word, style=style)
    share = min(1.0, lane.upload.sent / lane.size) if lane.size else 1.0
    bar = ProgressBar(total=1.0, completed=share, width=16)
    return str(level.number), state, Text(_tail(display(lane.upload.path), room)), bar, f"{share:4.0%}"


def _total(statistics: Statistics, rate: float | None, width: int) -> RenderableType:
    """Return the total. It has no bar during the scan: the total still grows, so the bar would run backwards."""
    if not (statistics.is_total_known or statistics.files_planned):
        return Text("scanning", style="dim")
    planned, sent = statistics.bytes_expected, statistics.bytes_sent
    bar: RenderableType = Text("scanning", style="dim")
    if statistics.is_total_known:
        share = min(1.0, sent / planned) if planned else 1.0
        bar = ProgressBar(total=1.0, completed=share, width=max(8, min(30, width - 64)))
    total = Table.grid(padding=(0, 1))
    total.add_row(bar, Text(progress_text(statistics, rate), no_wrap=True, overflow="ellipsis"))
    return total


def _tail(text: str, limit: int) -> str:
    """Return the end of ``text``, cut to ``limit`` characters: the end of a path tells more than its beginning."""
    return text if len(text) <= limit else "…" + text[len(text) - limit + 1 :]
