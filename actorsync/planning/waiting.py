"""Operations that wait for another one: for their directory, or for the removal of what is in their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

import attrs

from actorsync.classes import define
from actorsync.model.entry import parent_of
from actorsync.model.operation import Fault, MakeDirectory, Move, Sending

__all__ = ["Directories", "Left", "Waiting"]


@define(eq=False)
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


@define(eq=False)
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

    @property
    def blockers(self) -> Collection[str]:
        """The paths of what is waited for."""
        return self._blocked.keys()

    def operations(self) -> Iterator[Sending | MakeDirectory | Move]:
        """Yield all that waits."""
        for operations in self._blocked.values():
            yield from operations

    def clear(self) -> None:
        self._blocked.clear()
        self.count = 0


@define(eq=False)
class Directories:
    """The directories that are to be made, each before anything in it. ``waiting`` gets those that are not ready yet.

    ``missing`` says why a directory was not made: nothing can be in it.
    """

    waiting: Waiting
    missing: dict[str, Fault] = attrs.Factory(dict)
    _unmade: set[str] = attrs.Factory(set)  # they are to be made and are not yet
    _makeable: set[str] = attrs.Factory(set)  # those of them that are in `_ready`
    _ready: deque[MakeDirectory] = attrs.Factory(deque)

    def __len__(self) -> int:
        return len(self._ready)

    def enter(self, operation: MakeDirectory) -> None:
        """Take note that a directory is to be made, now or later."""
        self._unmade.add(operation.path)

    def fault_of(self, operation: Sending | MakeDirectory | Move) -> Fault | None:
        """Return why the directory of an operation was not made; None if it was, or is still to be made."""
        return self.missing.get(parent_of(operation.path)) if operation.path else None

    def blocks(self, operation: Sending | MakeDirectory | Move) -> bool:
        """Return whether an operation has to wait for its directory. One batch may make a directory in another."""
        parent = parent_of(operation.path)
        is_blocked = bool(operation.path) and parent in self._unmade
        return is_blocked and (not isinstance(operation, MakeDirectory) or parent not in self._makeable)

    def push(self, operation: MakeDirectory) -> None:
        """Make a directory ready: behind its parent, if that is still to be made."""
        self._makeable.add(operation.path)
        self._ready.append(operation)

    def next(self, limit: int) -> tuple[MakeDirectory, ...]:
        """Return the next directories, at most ``limit``, in an order in which they can be made."""
        chosen: dict[str, MakeDirectory] = {}
        while self._ready and len(chosen) < limit:
            operation = self._ready.popleft()
            path, parent = operation.path, parent_of(operation.path)
            self._makeable.discard(path)
            if path and parent in self._unmade and parent not in chosen:
                self.waiting.add(parent, operation)  # another connection is making the parent
            else:
                chosen[path] = operation
        return tuple(chosen.values())

    def note_made(self, directory: str) -> None:
        """Take note that a directory is there."""
        self._unmade.discard(directory)

    def lose(self, directory: str) -> None:
        """Take note that a directory was not made: what is to be in it is not ready any more, and waits for it."""
        self._unmade.discard(directory)
        self.missing[directory] = Fault.OTHER
        for operation in [it for it in self._ready if it.path and parent_of(it.path) == directory]:
            self._ready.remove(operation)
            self._makeable.discard(operation.path)
            self.waiting.add(directory, operation)

    def clear(self) -> None:
        """Drop what is ready."""
        self._ready.clear()
