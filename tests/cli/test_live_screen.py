"""What a terminal shows of the live view, at the usual sizes: the bytes go through a terminal emulator."""

from __future__ import annotations

import os

import attrs
import pyte
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.statistics import ConnectionLevel, LaneLevel, Statistics
from actorsync.cli.output.live_view import LiveView
from actorsync.endpoints.contract import Content, Upload
from actorsync.events import Failed, Started, Stopped
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Copy
from actorsync.model.report import Report
from actorsync.testing.conformance.contents import UnsizedContent
from tests.support.fake_terminal import FakeTerminal

#: A hand and its colour: one character of two cells, or two of four, as the terminal likes.
HAND = "\U0001f44d\U0001f3fd"
GIB = 1 << 30
HEIGHT = 24


class NoContent(Content):
    """The content of an upload that only the view looks at."""

    @property
    def entry(self) -> Entry:
        return Entry("x", Kind.FILE, GIB)

    def fileno(self) -> int | None:
        return None

    async def read(self, max_bytes: int) -> bytes:
        raise AssertionError

    async def is_unchanged(self) -> bool:
        return True


@attrs.define(eq=False)
class Screen:
    """A view on a terminal of ``width`` columns, and what that terminal shows."""

    width: int
    statistics: Statistics
    _terminal: FakeTerminal = attrs.Factory(FakeTerminal)
    _screen: pyte.Screen = attrs.field(init=False)
    _stream: pyte.Stream = attrs.field(init=False)
    view: LiveView = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._screen = pyte.Screen(self.width, HEIGHT)
        self._stream = pyte.Stream(self._screen)
        self.view = LiveView(self.statistics, self._terminal)

    def draw(self) -> list[str]:
        """Write what is due, and return the lines of the screen without those at its end that are empty."""
        lines = list(self.view.queue.lines)
        self.view.queue.lines.clear()
        self.view.put(lines, self.view.tick())
        self.feed(self._terminal.getvalue())
        self._terminal.seek(0)
        self._terminal.truncate()
        return self.lines

    def feed(self, text: str) -> None:
        self._stream.feed(text.replace("\n", "\r\n"))

    def become(self, width: int) -> None:
        """Change the width as most terminals do: lines that are too long are wrapped, and the cursor stays behind."""
        lines, self.width, self.view.screen.console.width = self.lines, width, width
        self._screen = pyte.Screen(width, HEIGHT)
        self._stream = pyte.Stream(self._screen)
        self.feed("\n".join(lines))

    @property
    def lines(self) -> list[str]:
        shown = [line.rstrip() for line in self._screen.display]
        while shown and not shown[-1]:
            shown.pop()
        return shown


def level(number: int, path: str = "", sent: float = 0.0) -> ConnectionLevel:
    """Return a connection that sends ``path``, or that is idle."""
    if not path:
        return ConnectionLevel(number, "connected", True, [LaneLevel()])
    upload = Upload(path, "tmp", NoContent(), sent=int(GIB * sent))
    return ConnectionLevel(number, "connected", True, [LaneLevel("sending", upload, GIB)])


@pytest.fixture
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    width, connections = request.param
    for name, value in {"COLUMNS": width, "LINES": HEIGHT, "TERM": "xterm"}.items():
        monkeypatch.setenv(name, str(value))
    levels = [
        level(1, "a.txt", 0.25),
        level(2, "very/" * 40 + "long.bin", 1.0),
        level(3, "写真/" * 40 + "写真.jpg", 0.5),
    ]
    levels += [level(number) for number in range(4, connections + 1)]
    statistics = Statistics(
        connections=levels,
        files_planned=1_234_567,
        files_done=123_456,
        bytes_planned=5_000 * GIB,
        bytes_done=1_000 * GIB,
        is_total_known=True,
    )
    return Screen(width, statistics)


SIZES = [(width, connections) for width in (80, 100, 160) for connections in (4, 16)]


@pytest.mark.parametrize("screen", SIZES, indirect=True, ids=str)
async def test_nothing_is_cut_off_at_the_usual_sizes(screen: Screen, autojump_clock: MockClock) -> None:
    screen.view.observe(Started("/source", "ftp://h/", 16))
    screen.draw()
    for _ in range(3):
        await trio.sleep(31)
        screen.statistics.bytes_done += GIB // 3
        shown = screen.draw()
    screen.view.observe(Failed(Copy(Entry("bad", Kind.FILE)), "550 no"))
    shown = screen.draw()
    assert shown[:2] == ["mirroring /source to ftp://h/, 16 connections", "failed: bad: 550 no"]
    first, second, third, idle = shown[2:6]
    assert first.startswith("  1 sending            a.txt")
    assert first.endswith(" 25%")
    assert second.startswith("  2 sending            …")
    assert "/long.bin" in second
    assert second.endswith("100%")
    assert "写 真 .jpg" in third or "写真.jpg" in third
    assert third.endswith(" 50%")
    assert idle.split() == [str(len(screen.statistics.connections) - 3), "idle"]
    text = " ".join(shown[6:])
    for part in ("123456 of 1234567 files", "1.0 TiB of 4.9 TiB", "1 failed", "1 min 33 s", "MiB/s", " left"):
        assert part in text
    assert max(len(line) for line in shown) <= screen.width - 3
    assert len(shown) <= 10


@pytest.mark.parametrize("screen", SIZES, indirect=True, ids=str)
async def test_frames_replace_each_other_and_leave_nothing_behind(screen: Screen, autojump_clock: MockClock) -> None:
    screen.view.observe(Started("/source", "ftp://h/", 16))
    first = screen.draw()
    for _ in range(5):
        assert screen.draw() == first
    screen.feed("^C")  # what a terminal shows for Ctrl-C
    screen.view.stopping(30.0)
    shown = screen.draw()
    note = "actorsync: finishing transfers in progress, for up to 30s; press Ctrl-C again to stop now"
    assert "".join(shown[1:]).startswith(note)
    assert not [line for line in shown if "^C" in line]
    assert [line for line in shown if "sending" in line] == [line for line in first if "sending" in line]
    screen.feed("^C")
    screen.view.observe(Stopped(Report(3, 0.0, 93.0, drained=True, copied=5, left=7)))
    shown = screen.draw()
    assert not [line for line in shown if "^C" in line or "sending" in line or "idle" in line]


@pytest.mark.parametrize("screen", [(80, 16)], indirect=True, ids=str)
async def test_more_busy_connections_than_lines_are_counted(screen: Screen, autojump_clock: MockClock) -> None:
    screen.statistics.connections[:] = [level(number, f"{number}.bin", 0.5) for number in range(1, 65)]
    screen.view.observe(Started("/source", "ftp://h/", 64))
    shown = screen.draw()
    assert len(shown) <= HEIGHT
    drawn = [line for line in shown if "sending" in line]
    assert f"{64 - len(drawn)} more" in " ".join(shown)


@pytest.mark.parametrize("screen", [(80, 4)], indirect=True, ids=str)
async def test_scan_shows_how_many_files_are_found(screen: Screen, autojump_clock: MockClock) -> None:
    screen.statistics.files_planned, screen.statistics.is_total_known = 0, False
    screen.statistics.files_found = 4_000
    screen.view.observe(Started("/source", "ftp://h/", 4))
    assert screen.draw()[-1] == "scanning: 4000 files found, 0 s"


@pytest.mark.parametrize("screen", [(160, 16), (100, 4)], indirect=True, ids=str)
async def test_narrower_terminal_shows_no_line_of_the_wider_view(
    screen: Screen, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    screen.view.observe(Started("/source", "ftp://h/", 16))
    before = screen.draw()
    for width in (90, 60, 120):
        screen.become(width)
        shown = screen.draw()
        assert shown[0] == before[0]
        assert len([line for line in shown if "sending" in line]) == 3
        assert len(shown) <= len(before) + 1  # the figures of the total may take one line more
        assert shown == screen.draw()


@pytest.mark.parametrize("screen", [(80, 4)], indirect=True, ids=str)
async def test_view_is_gone_after_the_third_ctrl_c(screen: Screen, autojump_clock: MockClock) -> None:
    screen.view.observe(Started("/source", "ftp://h/", 16))
    screen.draw()
    screen.view.stopping(None)
    screen.draw()
    screen.feed("^C")
    read, write = os.pipe()
    screen.view.screen.descriptor = write
    screen.view.last_words()
    screen.feed(os.read(read, 4096).decode())
    os.close(read)
    os.close(write)
    assert screen.lines == ["mirroring /source to ftp://h/, 16 connections", "actorsync: stopping now"]


@pytest.mark.parametrize("screen", [(80, 4)], indirect=True, ids=str)
async def test_characters_that_are_wider_than_expected_do_not_break_the_view(
    screen: Screen, autojump_clock: MockClock
) -> None:
    screen.statistics.connections[0] = level(1, HAND * 40, 0.25)
    screen.view.observe(Started("/source", "ftp://h/", 16))
    first = screen.draw()
    assert first[1].startswith("  1 sending")
    assert [line.split()[0] for line in first[1:4]] == ["1", "2", "3"]
    for _ in range(3):
        assert screen.draw() == first


@pytest.mark.parametrize("screen", [(80, 4)], indirect=True, ids=str)
async def test_file_is_shown_as_whole_only_when_all_of_it_has_arrived(
    screen: Screen, autojump_clock: MockClock
) -> None:
    unconfirmed = 1
    upload = Upload("f", "tmp", NoContent(), sent=GIB, unconfirmed=lambda: unconfirmed)
    screen.statistics.connections[:] = [ConnectionLevel(1, "connected", True, [LaneLevel("sending", upload, GIB)])]
    screen.view.observe(Started("/source", "ftp://h/", 1))
    assert screen.draw()[1].endswith(" 99%")
    unconfirmed = 0
    assert screen.draw()[1].endswith(" 100%")
    unconfirmed = GIB
    assert screen.draw()[1].endswith(" 0%")


@pytest.mark.parametrize("screen", [(80, 4)], indirect=True, ids=str)
async def test_content_of_unknown_size_has_no_share(screen: Screen, autojump_clock: MockClock) -> None:
    upload = Upload("made.gz", "tmp", UnsizedContent(bytes(90)), sent=80)
    screen.statistics.connections[:] = [ConnectionLevel(1, "connected", True, [LaneLevel("sending", upload, 60)])]
    screen.view.observe(Started("/source", "ftp://h/", 1))
    assert screen.draw()[1].split() == ["1", "sending", "made.gz"]


@pytest.mark.parametrize("screen", [(100, 4)], indirect=True, ids=str)
async def test_run_that_stops_tells_no_time_left(screen: Screen, autojump_clock: MockClock) -> None:
    screen.view.observe(Started("/source", "ftp://h/", 4))
    await trio.sleep(5)
    assert " left" in screen.draw()[-1]
    screen.view.stopping(30.0)
    last = screen.draw()[-1]
    assert last.startswith("stopping, 5 s, ")
    assert " left" not in last
    screen.view.observe(Stopped(Report(3, 0.0, 93.0, drained=True)))
    screen.draw()
    screen.view.observe(Started("/source", "ftp://h/", 4))
    assert "stopping" not in screen.draw()[-1], "the next pass"
