"""The live view on a terminal, the rate and the progress."""

from __future__ import annotations

import time

import pytest
import trio

from actorsync.actors.statistics import ConnectionLevel, LaneLevel, Rate, Statistics
from actorsync.cli.output.live_view import LiveView
from actorsync.cli.output.live_views import LiveViews
from actorsync.cli.output.progress import progress_text
from actorsync.endpoints.contract import Upload
from actorsync.model.event import (
    Started,
    Stopped,
)
from actorsync.model.operation import (
    Copy,
    Failed,
)
from actorsync.model.report import Report
from actorsync.testing.conformance.contents import MemoryContent
from tests.support.every_event import FILE
from tests.support.fake_terminal import FakeTerminal


async def test_live_view_does_not_tick_between_passes() -> None:
    ticks: list[float] = []

    class Counting(LiveView):
        def tick(self) -> object:
            ticks.append(time.monotonic())
            return super().tick()

    output = Counting(Statistics(), FakeTerminal())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, trio.Event())
        output.observe(Started("/s", "/t", 1))
        await trio.sleep(0.7)
        assert len(ticks) >= 3
        output.observe(Stopped(Report(0, 0, 0)))
        await trio.sleep(0.3)
        before = len(ticks)
        await trio.sleep(0.7)
        assert len(ticks) == before
        output.close()


async def test_live_view_shows_each_connection_and_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    monkeypatch.setenv("TERM", "xterm")
    terminal = FakeTerminal()
    path = "some/where/\x1b[31m/" + "x" * 90 + "/end.bin"
    upload = Upload(path, "tmp", MemoryContent(bytes(1024)), sent=512)
    statistics = Statistics(
        connections=[
            ConnectionLevel(1, "connected", True, [LaneLevel("sending", upload, 1024)]),
            ConnectionLevel(2, "connected", True, [LaneLevel("making directories")]),
        ],
        files_planned=2,
        bytes_planned=2048,
        is_total_known=True,
        files_done=1,
        bytes_done=1024,
    )
    output = LiveView(statistics, terminal)
    output.observe(Started("/s", "/t", 2))
    output.put([], output.tick())
    drawn = terminal.getvalue()
    assert "/end.bin" in drawn
    assert "\x1b[31m/" not in drawn
    assert " 50%" in drawn
    assert "making directories" in drawn
    assert "1 of 2 files, 1.5 KiB of 2.0 KiB" in drawn
    output.observe(Failed(Copy(FILE), "no room"))
    output.observe(Stopped(Report(1, 0, 0.1, failed=1)))
    lines = list(output.queue.lines)
    output.put(lines, output.tick())
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is back
    assert terminal.getvalue().endswith("not in sync: 0 copied (0 B), 0 removed, 1 failed in 0.1 s\n")


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 3), (200, 60)])
async def test_live_view_fits_any_terminal(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", str(height))
    monkeypatch.setenv("TERM", "xterm")
    terminal = FakeTerminal()
    statistics = Statistics(connections=[ConnectionLevel(n) for n in range(1, 65)], files_planned=1, bytes_planned=9)
    output = LiveView(statistics, terminal)
    output.observe(Started("/s", "/t", 64))
    output.queue.lines.clear()
    output.put([], output.tick())
    assert 0 < terminal.getvalue().count("\n") <= height
    output.end()


def several_views(terminal: FakeTerminal, count: int) -> LiveViews:
    """Return the view of several mirrors, each with two connections; the last one sends a file."""
    views = {}
    for number in range(1, count + 1):
        levels = [ConnectionLevel(1, "connected", True, [LaneLevel("making directories")]), ConnectionLevel(2)]
        if number == count:
            upload = Upload("site/big.bin", "tmp", MemoryContent(bytes(1024)), sent=512)
            levels[0] = ConnectionLevel(1, "connected", True, [LaneLevel("sending", upload, 1024)])
        elif number > 1:
            levels = [ConnectionLevel(1, "connected"), ConnectionLevel(2, "connected")]
        views[f"mirror-{number}"] = LiveView(Statistics(levels, files_planned=number, bytes_planned=9), terminal)
    together = LiveViews(LiveView(Statistics(), terminal), views)
    for name in views:
        together.of(name).observe(Started("/s", "/t", 2))
    together.queue.lines.clear()
    return together


async def test_each_of_several_mirrors_has_a_block_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "100", "LINES": "30", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    terminal = FakeTerminal()
    views = several_views(terminal, 3)
    views.put([], views.tick())
    drawn = terminal.getvalue()
    places = [drawn.index(text) for text in ("mirror-1", "making directories", "mirror-2", "mirror-3", "big.bin")]
    assert places == sorted(places)
    assert " 50%" in drawn
    assert "0 of 3+ files" in drawn
    views.of("mirror-3").observe(Stopped(Report(0, 0, 0.1)))
    views.queue.lines.clear()
    views.put([], views.tick())
    assert "mirror-3" not in terminal.getvalue().rpartition("mirror-2")[2]
    for name in ("mirror-1", "mirror-2"):
        views.of(name).observe(Stopped(Report(0, 0, 0.1)))
    assert [text for _, text in views.queue.lines][-1].startswith("mirror-2: in sync")
    views.put([], views.tick())
    assert "\x1b[?25h" in terminal.getvalue()  # the cursor is back


@pytest.mark.parametrize(("height", "count"), [(3, 1), (5, 2), (12, 9), (12, 40)])
async def test_view_of_several_mirrors_fits_a_low_terminal_and_shows_those_with_work_first(
    height: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"COLUMNS": "80", "LINES": str(height), "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    terminal = FakeTerminal()
    views = several_views(terminal, count)
    views.put([], views.tick())
    drawn = terminal.getvalue()
    assert 0 <= drawn.count("\n") <= height
    assert ("more mirror" in drawn) == (count > height - 3 and count > 1)
    if height == 12:
        assert drawn.index("mirror-1:") < drawn.index(f"mirror-{count}:") < drawn.index("mirror-2:")
    views.end()


def test_rate_covers_only_the_last_seconds() -> None:
    rate = Rate(8)
    assert rate.value is None
    for second in range(20):
        rate.add(second, 100 * second if second < 10 else 1_000 + 500 * (second - 10))
    assert rate.value == pytest.approx(500, rel=0.1)
    rate.add(21, 0)  # a file is sent again: two seconds without a new byte, and none is taken back
    assert rate.value == 3_000 / 8
    rate.add(22, 500)
    assert rate.value == 3_000 / 8


def test_progress_before_and_after_the_total_is_known() -> None:
    statistics = Statistics(files_planned=7, bytes_planned=2048, files_done=1)
    assert progress_text(statistics, 1024.0) == "1 of 7+ files, 0 B of 2.0 KiB+, 1.0 KiB/s"
    statistics.is_total_known = True
    assert progress_text(statistics, 1024.0) == "1 of 7 files, 0 B of 2.0 KiB, 1.0 KiB/s, 2 s left"
    assert progress_text(statistics, None) == "1 of 7 files, 0 B of 2.0 KiB"
    assert progress_text(statistics, 5_000.0).endswith(", 1 s left")


@pytest.mark.parametrize("is_stopping", [True, False])
def test_no_time_is_left_to_tell_for_a_run_that_stops_or_without_a_byte_to_send(is_stopping: bool) -> None:
    statistics = Statistics(files_planned=7, bytes_planned=2048, files_done=1, is_total_known=True)
    if not is_stopping:
        statistics.bytes_given_up = 2048
    text = progress_text(statistics, 1024.0, is_stopping=is_stopping)
    assert text == "1 of 7 files, 0 B of 2.0 KiB, 1.0 KiB/s"
