"""docs/observe.md names the metrics, the keys and the addresses that there are."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from actorsync.actors.statistics import Statistics
from actorsync.model.event import PassBegan, Started, Stopped
from actorsync.model.report import Report
from actorsync.observe.board import Board, MirrorState
from actorsync.observe.metrics import metrics_text
from actorsync.observe.status import status_of
from tests.support.root import ROOT

PAGE = (ROOT / "docs" / "observe.md").read_text()


def board() -> Board:
    """Return a board on which every metric has a value."""
    found = Board()
    state = found.add(MirrorState("shop", "public", "ftp://example.com", Statistics()))
    for event in (PassBegan("start", None), Started("public", "ftp://example.com", 1), Stopped(Report(0, 0.0, 1.0))):
        state.observe(event)
    return found


def test_every_metric_is_in_the_docs_and_no_other() -> None:
    families = list(text_string_to_metric_families(metrics_text(board()).decode()))
    there = {f"{it.name}_total" if it.type == "counter" else it.name for it in families}
    assert set(re.findall(r"\bactorsync_\w+", PAGE)) == there


def test_every_key_of_a_mirror_is_in_the_docs() -> None:
    (mirror,) = status_of(board(), "1", 0.0)["mirrors"]
    told = set(re.findall(r"`(\w+)`", PAGE.partition("## The state as data")[2].partition("## Health")[0]))
    assert {name for name in mirror if not name.endswith("_total")} - told == set()
