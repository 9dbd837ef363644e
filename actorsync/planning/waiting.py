"""Operations that wait for another one: for their directory, or for the removal of what is in their way."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorsync.model.operation import MakeDirectory, Move, Sending

__all__ = ["Left", "Waiting"]


@attrs.define(eq=False)
class Left:
    """What a run leaves undone.

    ``planned`` counts the changes of this run: those that were added, refused or left out, without surveys, audits and
    sweeps. Each has one outcome in the end, unless it is left. So what is left is ``planned`` without the outcomes that
    the recorder has seen: this holds for a run that is cancelled at any moment, too. ``is_some`` tells whether anything
    was left out, dropped or not begun; ``is_by_drain``, whether a drain was the reason.
    """

    planned: int = 0
    is_some: bool = False
    is_by_drain: bool = False


@attrs.define(eq=False)
class Waiting:
    """Operations that wait for another one, by the path of that one."""

    count: int = 0
    _blocked: dict[str, list[Sending | MakeDirectory | Move]] = attrs.Factory(dict)

    def add(self, blocker: str, operation: Sending | MakeDirectory | Move) -> None:
        self._blocked.setdefault(blocker, []).append(operation)
        self.count += 1

    def take(self, blocker: str) -> Sequence[Sending | MakeDirectory | Move]:
        operations = self._blocked.pop(blocker, ())
        self.count -= len(operations)
        return operations

    def clear(self) -> None:
        self._blocked.clear()
        self.count = 0
