"""The records of ``--json``."""

from __future__ import annotations

import json

import pytest

from actorsync.model.event import (
    BreakerOpened,
    Event,
    LoginDeferred,
    Parked,
    RemovalIntended,
)
from actorsync.model.json_records import json_line, records_of
from actorsync.model.operation import (
    Failed,
    MakeDirectory,
)
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
