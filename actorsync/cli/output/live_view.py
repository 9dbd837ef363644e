"""The live view of a run on a terminal: a line for each connection, and the total."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, TextIO, cast

import trio
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from actorsync.actors.statistics import ConnectionLevel, Statistics
from actorsync.classes import frozen
from actorsync.cli.output.lines import Lines
from actorsync.cli.output.progress import progress_parts
from actorsync.cli.output.streams import Sink
from actorsync.model.event import Event, Scanned, Started
from actorsync.model.operation import Failed
from actorsync.model.text import counted, display, duration_text

__all__ = ["LiveView", "Screen"]

#: Seconds between two frames.
_FRAME: Final = 0.2

#: A pass over a part of the source has no view of its own in its first seconds: most are over by then.
_SHORT: Final = 1.0

#: Cells at the right edge that stay free. A terminal shows Ctrl-C as ``^C`` behind the last line. If that wrapped, the
#: view would be one line lower than it is known to be, and leave its first line behind.
_MARGIN: Final = 3

#: Lines of the terminal that stay free for what is printed above the view.
_ABOVE: Final = 3

#: Width of the columns of a connection's line: number, state, percentage.
_NUMBER: Final = 3
_STATE: Final = 18
_SHARE: Final = 4

#: States without anything to show but their number.
_QUIET: Final = frozenset({"idle", "done", "connected"})

_SHOW_CURSOR: Final = "\x1b[?25h"
_ERASE_LINE: Final = "\r\x1b[2K"
_UP: Final = "\x1b[1A"

#: DECAWM off and on. A line that is wider than the terminal is cut: wrapped, it would be two lines, and one would stay
#: behind. The width of a name may be wrong, because terminals disagree about emoji made of several characters.
_NO_WRAP: Final = "\x1b[?7l"
_WRAP: Final = "\x1b[?7h"


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
        verb: str = "mirroring",
    ) -> None:
        super().__init__(statistics, stream, every=every, is_verbose=is_verbose, verb=verb)
        self.screen = Screen(self.out, stream.fileno() if stream is not None else -1)
        self._began = 0.0
        self._failed = 0

    def observe(self, event: Event) -> None:
        """Queue the lines of an event, and count failures."""
        match event:
            case Started():
                self._began, self._failed = trio.current_time(), 0
            case Failed():
                self._failed += 1
            case Scanned(problems=problems):
                self._failed += sum(not problem.vanished for problem in problems)
        super().observe(event)

    def tick(self) -> Any:
        """Return the next frame, or None between passes; while the source is watched, a line that says so."""
        if not self.is_running or (self.is_partial and trio.current_time() - self._began < _SHORT):
            return Text(self.watching, style="dim", no_wrap=True, overflow="crop") if self.watching else None
        return Group(*self.block(self.screen.width, self.screen.height))

    def block(self, width: int, height: int) -> Sequence[RenderableType]:
        """Return the lines of the view, at most ``height`` if there is room for the total."""
        total = self.total(width)
        table = _connections(self.statistics.connections, width, max(1, height - len(total)))
        return [table, *total]

    def total(self, width: int) -> Sequence[RenderableType]:
        """Return the lines of the total."""
        elapsed, is_stopping = self.sample() - self._began, self.is_stopping
        return _total(self.statistics, self.rate.value, elapsed, self._failed, width, is_stopping=is_stopping)

    def sample(self) -> float:
        """Take a sample for the rate, and return the time on trio's clock."""
        now = trio.current_time()
        self.rate.add(now, self.statistics.bytes_moved)
        return now

    @property
    def has_work(self) -> bool:
        """Whether a connection does something at this moment."""
        return any(not _is_quiet(level) for level in self.statistics.connections)

    def put(self, lines: Sequence[tuple[Sink, str]], frame: Any) -> None:
        """Print ``lines`` above the view and draw ``frame``; without a frame, remove the view."""
        self.screen.put(lines, frame)

    def end(self) -> None:
        """Remove the view."""
        self.screen.end()

    def last_words(self) -> None:
        """Remove the view, and show the cursor again."""
        self.screen.last_words()


class Screen:
    """A terminal with a view that is redrawn, below the lines that stay."""

    def __init__(self, out: Sink, descriptor: int) -> None:
        self._out, self.descriptor = out, descriptor
        self.console = Console(file=cast(TextIO, out), highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._frame: Frame | None = None
        self._reflows = _reflows()

    @property
    def width(self) -> int:
        """The cells of a line that a view may use."""
        return max(1, self.console.width - _MARGIN)

    @property
    def height(self) -> int:
        """The lines that a view may use."""
        return self.console.height - _ABOVE

    def put(self, lines: Sequence[tuple[Sink, str]], frame: Any) -> None:
        """Print ``lines`` above the view and draw ``frame``; without a frame, remove the view."""
        self._follow_width()
        if frame is None:
            self.end()
        for _, text in lines:
            self.console.print(text, soft_wrap=True)
        if frame is not None and not self._out.is_gone:
            if self._live is None:
                self._live = Live(
                    console=self.console,
                    auto_refresh=False,
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._live.start()
            self._frame = Frame.of(frame, self.console)
            self._live.update(self._frame, refresh=True)

    def _follow_width(self) -> None:
        """Erase what a terminal made of the last frame when it became narrower: more lines than were drawn."""
        if self._frame is not None and self._reflows:
            more = self._frame.rows(self.console.width) - len(self._frame.lines)
            self._out.write((_ERASE_LINE + _UP) * more)

    def end(self) -> None:
        """Remove the view."""
        if self._live is not None:
            self._live.stop()
            self._live = self._frame = None

    def last_words(self) -> None:
        """Remove the view, and show the cursor again, which the view had hidden."""
        shown = 0 if self._frame is None else self._frame.rows(self.console.width)
        erased = _ERASE_LINE + (_UP + _ERASE_LINE) * (shown - 1) if shown else "\n"
        os.write(self.descriptor, f"{erased}{_WRAP}{_SHOW_CURSOR}".encode())


@frozen
class Frame:
    """The lines of a frame, without the spaces at their ends, which a terminal would wrap as well."""

    lines: Sequence[Sequence[Segment]]

    @classmethod
    def of(cls, content: RenderableType, console: Console) -> Frame:
        """Return the lines of ``content`` at the width of the console."""
        return cls([_stripped(line) for line in console.render_lines(content, pad=False)])

    def rows(self, width: int) -> int:
        """Return how many rows of a terminal these lines take when it is ``width`` wide."""
        return sum(max(1, -(-Segment.get_line_length(list(line)) // width)) for line in self.lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(_NO_WRAP, None, _IS_CONTROL)
        for number, line in enumerate(self.lines):
            if number:
                yield Segment.line()
            yield from line
        yield Segment(_WRAP, None, _IS_CONTROL)


#: Marks the text of a segment as no part of a line. rich writes the text, and looks at no more than that.
_IS_CONTROL: Final = [(ControlType.HOME,)]


def _stripped(line: Sequence[Segment]) -> Sequence[Segment]:
    kept = list(line)
    while kept and not kept[-1].text.rstrip():
        kept.pop()
    return [*kept[:-1], Segment(kept[-1].text.rstrip(), kept[-1].style)] if kept else kept


def _reflows() -> bool:
    """Return whether the terminal wraps its lines anew when its width changes. xterm and GNU screen cut them off."""
    return "TMUX" in os.environ or not {"XTERM_VERSION", "STY"} & os.environ.keys()


def _connections(levels: Sequence[ConnectionLevel], width: int, room: int) -> RenderableType:
    """Return a line for each connection (its largest file), as many as fit. Those that do nothing share a line."""
    bar = 16 if width >= 90 else 8 if width >= 60 else 0
    path = max(1, width - sum(cells + 1 for cells in (_NUMBER, _STATE, bar, _SHARE)))
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(justify="right", style="dim", width=_NUMBER)
    table.add_column(width=_STATE, no_wrap=True, overflow="crop")
    table.add_column(width=path, no_wrap=True, overflow="crop")
    table.add_column(width=bar)
    table.add_column(justify="right", width=_SHARE)
    busy = [level for level in levels if not _is_quiet(level)]
    quiet = len(levels) - len(busy)
    fitting = room - (quiet > 0)
    shown = busy if len(busy) <= fitting else busy[: max(0, fitting - 1)]
    for level in shown:
        table.add_row(*_cells(level, path, bar))
    if len(shown) < len(busy):
        table.add_row("", Text(f"{len(busy) - len(shown)} more", style="dim"), "", "", "")
    if quiet:
        table.add_row("", Text(f"{quiet} idle", style="dim"), "", "", "")
    return table


def _word(level: ConnectionLevel) -> str:
    lane = level.busiest
    return level.state if lane is None else lane.state


def _is_quiet(level: ConnectionLevel) -> bool:
    lane = level.busiest
    return _word(level) in _QUIET and (lane is None or lane.upload is None)


def _cells(level: ConnectionLevel, room: int, width: int) -> Sequence[RenderableType]:
    lane, word = level.busiest, _word(level)
    style = {"sending": "", "reconnecting": "yellow", "retired": "red"}.get(word, "dim")
    if lane is None or lane.upload is None:
        return str(level.number), Text(word, style=style), "", "", ""
    others = level.uploads - 1
    state = Text(f"{word} {others + 1} files" if others else word, style=style)
    path = Text(_tail(display(lane.upload.path), room))
    if lane.upload.size is None:  # only the end of the content tells
        return str(level.number), state, path, "", ""
    share = min(1.0, lane.upload.delivered / lane.size) if lane.size else 0.0
    bar = ProgressBar(total=1.0, completed=share, width=width) if width else ""
    return str(level.number), state, path, bar, f"{int(share * 100)}%"  # not rounded: 100% is all of it


def _total(
    statistics: Statistics, rate: float | None, elapsed: float, failed: int, width: int, *, is_stopping: bool
) -> Sequence[RenderableType]:
    """Return the lines of the total: what is done, and how long that takes.

    During the scan it has no bar: the total still grows, so the bar would run backwards.
    """
    time = duration_text(round(elapsed)).replace(".0 s", " s")
    if not (statistics.is_total_known or statistics.files_planned or statistics.comparisons_planned):
        return [Text(f"scanning: {counted(statistics.files_found, 'file')} found, {time}", style="dim")]
    counts, speed = progress_parts(statistics, rate, is_stopping=is_stopping)
    if failed:
        counts.append(f"{failed} failed")
    lines = _wrapped(counts, width)
    clock = ["stopping"] if is_stopping else ["scanning"] if not statistics.is_total_known else []
    lines += _wrapped([*clock, time, *speed], width)
    shown: list[RenderableType] = [Text(line, no_wrap=True, overflow="crop") for line in lines]
    if statistics.is_total_known:
        bar = Table.grid()  # in a group, a bar alone would not end its line
        bar.add_row(ProgressBar(total=1.0, completed=statistics.share, width=min(width, 60)))
        shown.insert(0, bar)
    return shown


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Return the parts as lines, with commas between them: no line is wider than ``width``, unless one part is."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + 2 + cell_len(part) <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _tail(text: str, limit: int) -> str:
    """Return the end of ``text``, cut to ``limit`` cells: the end of a path tells more than its beginning.

    A character of two cells is never cut in half.
    """
    if cell_len(text) <= limit:
        return text
    start = len(text)
    while start and cell_len(text[start - 1 :]) < limit:
        start -= 1
    return "…" + text[start:]
