"""The order in which files get their final names: rank after rank, biggest first within a rank.

A file of a rank is given out only when nothing of a lower rank can arrive after it: everything that the source has was
added, and every copy and every move of a lower rank has its outcome. So the lowest rank is sent while the scan goes on,
and the others wait for its end. A file that fails does not hold back the ranks after it.

Some of the first ranks may go together, because nothing in them loads anything that is in another one.

What is only prepared has no rank: nothing of it can be seen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, Protocol

from actorsync.model.entry import Entry
from actorsync.model.operation import Move, Outcome, Prepare, Sending, Skipped
from actorsync.planning.order.copy_heap import CopyHeap

__all__ = ["BIG", "Arrivals", "Ranking"]

#: The size from which a file is a big one. At 1 MB/s it occupies its connection for more than a minute.
BIG: Final = 64 << 20
#: Ranks of so many paths are remembered: each path is asked for a few times in a row.
_REMEMBERED: Final = 4_096


class Ranking(Protocol):
    """The ranks of files, such as `actorsync.planning.publishing.ranks.Ranks`.

    The first ranks, as many as ``together``, do not wait for each other: what is ready of a lower one only goes first.
    """

    @property
    def count(self) -> int: ...

    @property
    def together(self) -> int: ...

    def of(self, path: str) -> int: ...


class Arrivals:
    """The copies and moves of one run that are not settled, by rank.

    `enter` counts an operation as unsettled, `push` makes it ready, `settle` ends it. An operation that waits for
    another one has entered and is not ready.

    ``ranking`` is None where all files have one rank. ``big`` is the size from which files count as big, where a
    connection sends one file at a time; None where it sends many at once. All connections but one may have big files
    while smaller files of the same rank are ready, or may still come. ``connections`` is how many of them are open.
    """

    def __init__(self, ranking: Ranking | None = None, *, big: int | None = None) -> None:
        count = 1 if ranking is None else ranking.count
        self._rank_of: Callable[[str], int] = lru_cache(_REMEMBERED)(_first if ranking is None else ranking.of)
        self._together = 1 if ranking is None else ranking.together
        self._copies = [CopyHeap(big) for _ in range(count)]
        self._moves: list[deque[Move]] = [deque() for _ in range(count)]
        self._unsettled = [0] * count
        self._unreplaced: set[str] = set()  # moves that were not done: a copy follows for each
        self._excused: set[str] = set()  # what waits and holds nothing back
        self._lowest = -1  # the rank that holds back those after it
        self._open: tuple[CopyHeap, ...] = ()  # the copies that may be given out
        self._open_moves: tuple[deque[Move], ...] = ()
        self._has_big = big is not None
        self._is_whole = False
        self._big_out: set[str] = set()
        self.connections = 0
        self._look()

    # What comes in.

    def enter(self, operation: Sending | Move) -> None:
        """Take note that a file is to arrive, now or later."""
        if not isinstance(operation, Move):
            self.give_up(operation.path)  # from here on the copy counts, and not the move that it replaces
        self._count(self._rank(operation), 1)

    def push(self, operation: Sending | Move) -> None:
        """Make an operation ready that has entered, or that comes back undone."""
        rank = self._rank(operation)
        if operation.path in self._excused:
            self._excused.discard(operation.path)
            self._count(rank, 1)
        if isinstance(operation, Move):
            self._moves[rank].append(operation)
        else:
            self._copies[rank].push(operation)

    def give_up(self, path: str) -> None:
        """Take note that no copy is to come any more for a move that was not done."""
        if path in self._unreplaced:
            self._unreplaced.discard(path)
            self._count(self._rank_of(path), -1)

    def note_whole(self) -> None:
        """Take note that everything was added that the source has: the ranks after the first may follow.

        What is added later is sent all the same, before anything of a higher rank that is not given out.
        """
        self._is_whole = True
        self._look()

    def excuse(self, operation: Sending | Move) -> None:
        """Let an operation that is not ready hold nothing back any more, until it is ready."""
        if operation.path not in self._excused:
            self._excused.add(operation.path)
            self._count(self._rank(operation), -1)

    # What goes out.

    @property
    def copies_ready(self) -> int:
        """How many copies may be given out now, if there are connections."""
        return sum(map(len, self._open))

    @property
    def moves_ready(self) -> int:
        """How many moves may be given out now."""
        return sum(map(len, self._open_moves))

    @property
    def held(self) -> int:
        """How many copies and moves are ready but for a lower rank."""
        return len(self) - self.copies_ready - self.moves_ready

    def __len__(self) -> int:
        return sum(map(len, self._copies)) + sum(map(len, self._moves))

    def next_moves(self, limit: int) -> tuple[Move, ...]:
        """Return the next moves, at most ``limit``."""
        for moves in self._open_moves:
            if moves:
                return tuple(moves.popleft() for _ in range(min(limit, len(moves))))
        return ()

    def next_copy(self) -> Sending | None:
        """Return the next copy; None when none may be given out now."""
        is_small = self._has_big and len(self._big_out) >= self._most_big()
        for copies in self._open:
            if copies.has_small if is_small else copies:
                operation = copies.pop(small=is_small)
                if self._has_big and copies.is_big(operation):
                    self._big_out.add(operation.path)
                return operation
        return None

    def note_back(self, operation: Sending | Move) -> None:
        """Take note that a connection has an operation no more, done or not."""
        self._big_out.discard(operation.path)

    def settle(self, outcome: Outcome) -> None:
        """Take the outcome of a copy or a move that has entered. A move that is skipped is replaced by a copy."""
        operation = outcome.operation
        assert isinstance(operation, Sending | Move)
        if operation.path in self._excused:
            self._excused.discard(operation.path)
            return
        if isinstance(operation, Move) and isinstance(outcome, Skipped):
            self._unreplaced.add(operation.path)
            return
        self._count(self._rank(operation), -1)

    def entries(self) -> Iterator[Entry]:
        """Yield the source files of all copies that are ready or held."""
        for copies in self._copies:
            for operation in copies:
                yield operation.source

    def clear(self) -> None:
        """Drop all that is not given out."""
        for copies in self._copies:
            copies.clear()
        for moves in self._moves:
            moves.clear()
        self._excused.clear()
        self._unreplaced.clear()

    def _rank(self, operation: Sending | Move) -> int:
        return 0 if isinstance(operation, Prepare) else self._rank_of(operation.path)

    def _count(self, rank: int, change: int) -> None:
        """Change how many files of a rank are not settled."""
        self._unsettled[rank] += change
        if self._unsettled[rank] in {0, 1}:  # or nothing follows from it
            self._look()

    def _look(self) -> None:
        """Find the ranks that are given out: the lowest one of which something is not settled."""
        last = len(self._unsettled) - 1
        lowest = next((rank for rank, left in enumerate(self._unsettled) if left), last) if self._is_whole else 0
        if lowest == self._lowest:
            return
        self._lowest = lowest
        which = slice(0, self._together) if lowest < self._together else slice(lowest, lowest + 1)
        self._open, self._open_moves = tuple(self._copies[which]), tuple(self._moves[which])

    def _most_big(self) -> float:
        has_small = any(it.has_small for it in self._open)
        if self._is_whole and not has_small:
            return math.inf
        return max(self.connections - 1, 0 if has_small else 1)


def _first(path: str) -> int:  # noqa: ARG001 - the signature of `Ranking.of`
    return 0
