"""Removals on a side that may show a link as a directory."""

from __future__ import annotations

from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Copy, Operation, Remove, Side
from actorsync.planning.pairs.unseen_links import without_held


def removal(path: str, kind: Kind = Kind.FILE, side: Side = Side.TARGET) -> Remove:
    return Remove(Entry(path, kind), side=side)


FILE, OTHER_SIDE, IN_ROOT = removal("d/e/f"), removal("d/e/f", side=Side.SOURCE), removal("f")
COPY = Copy(Entry("d/new", Kind.FILE), side=Side.TARGET)
LONE = removal("stays/f")
INNER, OUTER = removal("d/e", Kind.DIRECTORY), removal("d", Kind.DIRECTORY)
STEPS: list[list[Operation]] = [[COPY], [FILE, OTHER_SIDE, IN_ROOT, LONE], [INNER], [OUTER]]


def test_removals_in_directories_are_held_and_the_topmost_are_named() -> None:
    assert without_held(STEPS, {Side.TARGET}) == ([[COPY], [OTHER_SIDE, IN_ROOT]], [LONE, OUTER])


def test_nothing_is_held_where_links_are_shown() -> None:
    assert without_held(STEPS, set()) == (STEPS, [])
