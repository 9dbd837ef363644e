"""The nouns of a run: what is in the scope of a scan, and which side an operation changes."""

from __future__ import annotations

import pytest

from actorsync import events
from actorsync.model.entry import WHOLE_TREE, Entry, Kind, Scope
from actorsync.model.operation import (
    Compare,
    Copy,
    MakeDirectory,
    Move,
    Operation,
    Remove,
    Respell,
    Side,
    Survey,
    Sweep,
)
from tests.support.every_event import EVERY_EVENT

FILE = Entry("x", Kind.FILE)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/x", True),
        ("a/b/c", True),
        ("d/e/x", True),
        ("a", False),
        ("d/e", False),
        ("d/x", False),
        ("ab/x", False),
        ("x", False),
        ("", False),
    ],
)
def test_scope_contains_what_is_below_its_directories(path: str, expected: bool) -> None:
    assert Scope.of(["a", "d/e"]).contains(path) is expected
    assert WHOLE_TREE.contains(path)


def test_scope_drops_directories_that_lie_in_another_one() -> None:
    assert Scope.of(["a/b", "a", "c/d/e", "c/d", "f"]) == Scope(frozenset({"a", "c/d", "f"}))
    assert Scope.of(["a", ""]) == WHOLE_TREE
    assert not Scope.of([]).contains("a")


@pytest.mark.parametrize(
    "operation",
    [
        Compare(FILE, FILE),
        Copy(FILE),
        MakeDirectory(FILE),
        Move(FILE, FILE),
        Remove(FILE),
        Respell(FILE, FILE, "t"),
        Survey("x"),
        Sweep("x"),
    ],
)
def test_operation_changes_the_target_unless_it_says_otherwise(operation: Operation) -> None:
    assert operation.side is Side.TARGET


def test_operations_on_different_sides_are_different() -> None:
    assert Remove(FILE, side=Side.SOURCE) != Remove(FILE)


def test_programs_can_name_every_event_of_a_run() -> None:
    assert {type(event).__name__ for event in EVERY_EVENT} <= {*events.__all__}
