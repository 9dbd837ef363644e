"""Metrics, read back with the parser of prometheus-client, and the file for the node_exporter."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from actorsync.actors.messages import inline
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Drifted, Parked, Started, Stopped
from actorsync.model.report import Report
from actorsync.observe.board import Board
from actorsync.observe.metrics import metrics_text
from actorsync.observe.metrics_file import MetricsFile
from tests.support.every_event import EVERY_EVENT
from tests.support.web import a_state

#: Units that the conventions of Prometheus know, of those that are used here.
UNITS = ("seconds", "bytes")


def busy_board() -> Board:
    board = Board(started_at=500.0)
    for name in ("berlin", 'a "quoted"\\name\n'):
        state = board.add(a_state(name))
        for event in EVERY_EVENT:
            state.observe(event)
    return board


def samples(text: str) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(text)
    return {(it.name, it.labels.get("target", "")): it.value for family in families for it in family.samples}


def test_metrics_parse_and_keep_the_conventions() -> None:
    text = metrics_text(busy_board()).decode()
    families = list(text_string_to_metric_families(text))
    assert len(families) == len({it.name for it in families}) > 20
    for family in families:
        assert family.name.startswith("actorsync_")
        assert re.fullmatch(r"[a-z][a-z_]*", family.name)
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "summary"}
        for unit in UNITS:
            assert unit not in family.name or family.name.endswith((unit, f"{unit}_sent")), family.name
        for sample in family.samples:
            assert sample.name.endswith("_total") is (family.type == "counter")
            assert set(sample.labels) <= {"profile", "target", "version"}
            if family.name not in {"actorsync_info", "actorsync_start_time_seconds"}:
                assert set(sample.labels) == {"profile", "target"}
    assert {it.labels["target"] for it in families[-1].samples} == {"berlin", 'a "quoted"\\name\n'}


def test_no_path_or_reason_is_in_the_metrics() -> None:
    board = Board()
    state = board.add(a_state())
    for event in (
        Parked("secret/path", None, 3, 1.0, 2.0, "reason why", 3.0),
        Drifted("secret/drift", Entry("secret/drift", Kind.FILE, 1), None, 1.0),
        Stopped(Report(1, 1.0, 1.0, failures=(("secret/other", "reason why"),), error="secret")),
    ):
        state.observe(event)
    text = metrics_text(board)
    assert b"secret" not in text
    assert b"reason" not in text


def test_metrics_have_the_figures_of_the_mirror() -> None:
    board = Board()
    state = board.add(a_state())
    text = metrics_text(board).decode()
    assert "actorsync_last_success_timestamp_seconds{" not in text  # there was none
    state.clock = lambda: 130.0
    state.hinted_at = 100.0
    for event in (Started("a", "b", 1), Stopped(Report(0, 100.0, 20.0)), Parked("p", None, 3, 1.0, 2.0, "no", 3.0)):
        state.observe(event)
    found = samples(metrics_text(board).decode())
    wanted = {
        "last_success_timestamp_seconds": 130.0,
        "last_run_exit_code": 0.0,
        "last_run_duration_seconds": 20.0,
        "last_run_timestamp_seconds": 120.0,
        "pass_duration_seconds_count": 1.0,
        "pass_duration_seconds_sum": 20.0,
        "freshness_lag_seconds": 30.0,
        "parked": 1.0,
        "ready": 1.0,
        "running": 0.0,
        "breaker_open": 0.0,
    }
    assert {name: found[f"actorsync_{name}", "shop"] for name in wanted} == wanted


async def test_metrics_file_is_written_at_once_and_when_a_pass_ends_and_every_15_seconds(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path, board = tmp_path / "actorsync.prom", Board()
    state = board.add(a_state())
    file = MetricsFile(path, board, pytest.fail, blocking=inline)

    def passes() -> float:
        return samples(path.read_text())["actorsync_pass_duration_seconds_count", "shop"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run)
        await trio.sleep(1)
        assert path.stat().st_mode & 0o777 == 0o644
        assert passes() == 0
        state.observe(Stopped(Report(0, 100.0, 20.0)))
        await trio.sleep(1)
        assert passes() == 1
        state.counters.passes = 7
        await trio.sleep(16)
        assert passes() == 7
        nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path) == ["actorsync.prom"]


async def test_metrics_file_that_cannot_be_written_is_one_warning_until_it_can(tmp_path: Path) -> None:
    path, warnings = tmp_path / "missing" / "a.prom", list[str]()
    file = MetricsFile(path, Board(), warnings.append)
    for _ in range(3):
        await file.finish()
    way_out = "check that its directory exists and may be written"
    assert warnings == [f"observe.metrics-file: {path} was not written: No such file or directory; {way_out}"]
    path.parent.mkdir()
    await file.finish()
    assert path.exists()
