"""The steps of a two-way run, given out to the limbs one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import trio

from actorsync.actors.messages import Fact, Settlement, Unissued
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.model.operation import (
    Batch,
    Copy,
    Done,
    Failed,
    Fault,
    Maintain,
    MakeDirectory,
    Move,
    Operation,
    Remove,
    Returned,
    Side,
    Skipped,
)

__all__ = ["Steps", "as_done"]

#: Operations of one kind that are given out together.
_BATCH: Final = 50
#: How often an operation is given out again that a connection has tried and returned.
_TRIES: Final = 3


@define(eq=False)
class Steps:
    """Hands the operations of a step to the limbs, and waits for the outcome of each."""

    limbs: Mapping[Side, trio.MemorySendChannel[Batch]]
    settled: trio.MemoryReceiveChannel[Settlement]
    facts: trio.MemorySendChannel[Fact]
    statistics: Statistics
    draining: trio.Event
    is_cut_short: bool = attrs.field(default=False, init=False)
    """Whether something was left because the run is stopping."""
    instead: list[Copy | Remove] = attrs.field(factory=list, init=False)
    """What takes the place of renames that were refused: it is not done yet."""
    _tries: dict[tuple[Side, str], int] = attrs.field(factory=dict, init=False)

    async def do(self, step: Sequence[Operation]) -> list[Done]:
        """Have all operations of a step done, and return those that were."""
        done: list[Done] = []
        left = len(step)
        async with trio.open_nursery() as nursery:
            for side in Side:
                nursery.start_soon(self._give_out, [it for it in step if it.side is side])
            while left:
                outcome = await self.settled.receive()
                self.statistics.note_outcome(outcome)
                match outcome:
                    case Returned() if self.draining.is_set():
                        self.is_cut_short = True
                    case Returned() if await self._is_given_up(outcome):
                        pass
                    case Returned(operation):
                        nursery.start_soon(self._give_out, [operation])
                        continue
                    case Done():
                        done.append(outcome)
                    case Skipped(Move() as move) if not move.is_aside:
                        self.instead += [Copy(move.source, side=move.side), Remove(move.target, side=move.side)]
                left -= 1
        return done

    async def _give_out(self, operations: Sequence[Operation]) -> None:
        for batch in batches_of(operations):
            await self.limbs[batch[0].side].send(batch)

    async def _is_given_up(self, returned: Returned) -> bool:
        """Count a try. Return whether there is no other one; the operation has failed then."""
        operation = returned.operation
        key = operation.side, operation.path
        self._tries[key] = self._tries.get(key, 0) + returned.tried
        if self._tries[key] < _TRIES:
            return False
        await self.facts.send(Unissued(Failed(operation, returned.reason, Fault.PATH)))
        return True


def batches_of(operations: Sequence[Operation]) -> list[Batch]:
    """Return operations in batches of one kind, in order. A copy is a batch of its own."""
    batches: list[list[Operation]] = []
    for operation in operations:
        last = batches[-1] if batches else None
        is_alone = isinstance(operation, Copy | Maintain)
        if last is None or is_alone or type(last[0]) is not type(operation) or len(last) >= _BATCH:
            batches.append([operation])
        else:
            last.append(operation)
    return [tuple(batch) for batch in batches]


def as_done(operation: Operation) -> Done:
    """Return the outcome that a plan shows for an operation that it does not do."""
    match operation:
        case Copy(source) | MakeDirectory(source) | Move(source):
            return Done(operation, source, source)
        case _:
            return Done(operation)
