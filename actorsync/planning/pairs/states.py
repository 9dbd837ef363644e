"""What has become of one path on one side since both sides last agreed on it."""

from __future__ import annotations

import enum

from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement, Doubt

__all__ = ["State", "is_same_time", "state_of"]

_SECOND = 1_000_000_000


class State(enum.Enum):
    """What one side has under a path now, compared with what that same side had when both sides last agreed."""

    SAME = "as agreed"
    NEW = "new"
    CHANGED = "changed"
    DOUBTFUL = "perhaps changed"
    GONE = "gone"
    NEVER = "never there"
    HIDDEN = "left out"
    UNKNOWN = "not listed"

    __hash__ = object.__hash__  # quicker, as for `Kind`


def state_of(now: Entry | None, agreement: Agreement | None, side: Side, *, by_size_time: bool = False) -> State:
    """Return the state of an entry that a side shows, or does not show. What is hidden or unknown is no matter here.

    Where a run was about to remove the entry itself, that it is missing says nothing: as if it had never been there.
    """
    if agreement is None:
        return State.NEVER if now is None else State.NEW
    if now is None:
        return State.NEVER if agreement.doubt & Doubt.missing(side) else State.GONE
    then = agreement.on(side)
    if now.kind is not then.kind:
        return State.CHANGED
    if now.kind is not Kind.FILE:
        return State.SAME
    if now.size != then.size:
        return State.CHANGED
    perhaps = State.CHANGED if agreement.digest is None else State.DOUBTFUL
    if agreement.doubt & Doubt.time(side) or not is_same_time(now.mtime_ns, then.mtime_ns):
        return perhaps
    if by_size_time or (_differs(now.inode, then.inode) is False and not _differs(now.ctime_ns, then.ctime_ns)):
        return State.SAME
    # Renamed over it, restored, or its mode or name has changed. A time with a fraction of a second comes from a clock,
    # and belongs to the content if the file is the same one.
    assert now.mtime_ns is not None
    if not _differs(now.inode, then.inode) and now.mtime_ns % _SECOND:
        return State.SAME
    return perhaps


def is_same_time(now: int | None, then: int | None) -> bool:
    """Return whether two times of one side are the same, where one request may tell less of them than another.

    A server has several: one may tell a fraction of a second, another whole seconds, and a plain listing whole minutes.
    """
    if now is None or then is None:
        return False
    for unit in (_SECOND, 60 * _SECOND):
        if 0 in {now % unit, then % unit} and now // unit == then // unit:
            return True
    return now == then


def _differs(now: int | None, then: int | None) -> bool:
    """Return whether two numbers are known, and not the same."""
    return None not in {now, then} and now != then
