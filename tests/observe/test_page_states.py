"""The states that the tests of the page show have the keys that ``/status.json`` has."""

from __future__ import annotations

from typing import Any

import pytest

from actorsync.actors.statistics import ConnectionLevel, LaneLevel, Statistics
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import BreakerOpened, Drifted, Event, Parked, PassBegan, Started, Stopped, WatchStarted
from actorsync.model.operation import Failed, Remove
from actorsync.model.report import Report
from actorsync.observe.board import Board, MirrorState
from actorsync.observe.status import status_of
from tests.support.page.states import Json, failed, running, status, watching

FILE = Entry("a", Kind.FILE, 1)

EVENTS: tuple[Event, ...] = (
    WatchStarted("inotify", 1),
    PassBegan("start", None),
    Started("public", "ftp://example.com", 1),
    BreakerOpened("down", "refused", 1.0),
    Parked("a", FILE, 3, 0.0, 0.0, "refused", 60.0),
    Drifted("a", FILE, FILE, 0.0),
    Stopped(Report(1, 0.0, 1.0)),
    Started("public", "ftp://example.com", 1),
    BreakerOpened("down", "refused", 1.0),
    Failed(Remove(FILE), "refused"),
)


def keys(value: Any) -> Any:
    """Return the keys of a value at all levels. Of a list, its first element; None where nothing is told."""
    if isinstance(value, dict):
        return {name: keys(it) for name, it in value.items()}
    if isinstance(value, list) and value:
        return [keys(value[0])]
    return None


def missing(there: Any, told: Any, place: str = "") -> list[str]:
    """Return the places of keys that one of two values has and the other has not, where both tell anything."""
    if isinstance(there, list) and isinstance(told, list):
        return missing(there[0], told[0], f"{place}[]")
    if not (isinstance(there, dict) and isinstance(told, dict)):
        return []
    lacking = [f"{place}.{name}" for name in there.keys() ^ told.keys()]
    return lacking + [
        it for name in there.keys() & told.keys() for it in missing(there[name], told[name], f"{place}.{name}")
    ]


@pytest.mark.parametrize("scripted", [running(), failed(), watching()], ids=["running", "failed", "watching"])
def test_scripted_states_have_the_keys_of_a_real_one(scripted: Json) -> None:
    statistics = Statistics(connections=[ConnectionLevel(1, is_connected=True, lanes=[LaneLevel()])])
    board = Board()
    state = board.add(MirrorState("shop", "public", "ftp://example.com", statistics))
    for event in EVENTS:
        state.observe(event)
    real = keys(status_of(board, "1", 0.0))
    assert missing(real, keys(status(scripted))) == []
    assert all(isinstance(real["mirrors"][0][name], list) for name in ("failures", "parked", "drift", "runs"))
