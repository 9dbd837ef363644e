"""The records of ``--json``."""

from __future__ import annotations

import json

import pytest

from actorsync.model.entry import Entry, Kind
from actorsync.model.event import (
    BreakerOpened,
    Conflicted,
    Event,
    Intended,
    LoginDeferred,
    Parked,
    RemovalIntended,
    Swept,
)
from actorsync.model.json_records import json_line, records_of
from actorsync.model.operation import (
    Done,
    Failed,
    MakeDirectory,
    Remove,
    Returned,
    Side,
    Skipped,
)
from actorsync.model.pair import Conflict
from tests.support.every_event import EVERY_EVENT, EVIL

#: Record names that are part of the stable format and differ from the class names.
KEPT_NAMES: dict[type[Event], str] = {
    BreakerOpened: "suspended",
    LoginDeferred: "turned_away",
    Parked: "troubled",
    RemovalIntended: "doomed",
}


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
def test_records_are_flat_and_named_after_their_event(event: Event) -> None:
    records = list(records_of(event))
    assert records
    for record in records:
        assert json.loads(json_line(record)) == record
        for value in record.values():
            assert isinstance(value, str | int | float | list | None)
            assert not isinstance(value, list) or all(isinstance(item, str) for item in value)
    assert records[0]["event"] == KEPT_NAMES.get(type(event), snake_case(type(event).__name__))


def snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def test_records_keep_unprintable_names() -> None:
    (record,) = records_of(Failed(MakeDirectory(EVIL), "why\u202e"))
    line = json_line(record)
    assert (
        line
        == '{"event":"failed","operation":"make_directory","path":"\\u001b[31mred\\udcff\\n","reason":"why\\u202e",'
        '"fault":"path"}'
    )
    assert json.loads(line)["path"] == EVIL.path


def test_record_of_a_conflict_has_both_versions() -> None:
    conflict = Conflict("d/x", Entry("d/x", Kind.FILE, 3, 1_500_000_000), None, "changed on both sides", 2.5)
    assert list(records_of(Conflicted(conflict))) == [
        {
            "event": "conflicted",
            "path": "d/x",
            "reason": "changed on both sides",
            "since": 2.5,
            "source_kind": "file",
            "source_size": 3,
            "source_time": 1.5,
            "target_kind": None,
            "target_size": None,
            "target_time": None,
        }
    ]


def test_records_of_a_two_way_run_name_the_source_where_it_is_changed() -> None:
    for side, said in ((Side.TARGET, {}), (Side.SOURCE, {"side": "source"})):
        names = {"temporaries": ["d/.t"]}
        assert list(records_of(Intended(("d/.t",), side=side))) == [{"event": "intended", **names, **said}]
        assert list(records_of(Swept(("d/.t",), side=side))) == [{"event": "swept", **names, **said}]
        assert list(records_of(RemovalIntended(("x",), side=side))) == [{"event": "doomed", "paths": ["x"], **said}]


def test_outcomes_name_the_source_where_it_is_changed() -> None:
    for side, said in ((Side.TARGET, {}), (Side.SOURCE, {"side": "source"})):
        remove = Remove(Entry("x", Kind.FILE), side=side)
        outcomes = (Done(remove), Failed(remove, "no"), Skipped(remove, "no"), Returned(remove, "no"))
        records = [next(records_of(it)) for it in outcomes]
        assert [{name: it[name] for name in it if name == "side"} for it in records] == [said] * 4
