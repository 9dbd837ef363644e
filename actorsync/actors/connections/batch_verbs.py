"""What a lane does in batches: directories, moves, removals, sweeps and surveys. Uploads are in ``lane``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from actorsync.actors.connections.intents import FactSender
from actorsync.actors.connections.outcomes import all_made, all_removed, moved, removed
from actorsync.actors.stages import Gate
from actorsync.endpoints.contract import PrefetchingSession, Relocation, Session, Staged
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing, ancestors
from actorsync.model.event import MovesIntended, RemovalIntended
from actorsync.model.operation import (
    Batch,
    Done,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Remove,
    Skipped,
    Survey,
    Sweep,
)

__all__ = ["BatchVerbs", "make_parents"]


@attrs.frozen(eq=False)
class BatchVerbs:
    """Does one batch over one session, and returns one outcome for each operation. Keeps nothing between batches."""

    sender: FactSender
    gate: Gate
    keeps_times: bool
    """Whether the target keeps the times of the source; a survey drops its times otherwise."""
    look_ahead: Callable[[], bool]
    """Takes the next batch while the last listing is on its way, and returns whether it is a survey as well."""

    async def do(self, target: Session, batch: Batch, show: Callable[[str], None]) -> Sequence[Outcome]:
        """Do a batch; all its operations are of one kind. ``show`` is given the state of the lane."""
        match batch[0]:
            case MakeDirectory():
                return await self._make_directories(target, batch, show)
            case Move():
                return await self._move(target, batch, show)
            case Remove():
                return await self._remove(target, batch, show)
            case Sweep():
                show("sweeping")
                return await self._sweep(target, batch)
            case _:
                show("surveying")
                return [await self._survey(target, operation) for operation in batch]

    async def _make_directories(self, target: Session, batch: Batch, show: Callable[[str], None]) -> list[Outcome]:
        # A run without a change makes sure of the root, which is no visible change.
        if any(operation.path for operation in batch):
            await self.gate.passed()
        show("making directories")
        return all_made(batch, await _make(target, [operation.path for operation in batch]))

    async def _move(self, target: Session, batch: Batch, show: Callable[[str], None]) -> list[Outcome]:
        await self.gate.passed()
        show("moving")
        moves = [operation for operation in batch if isinstance(operation, Move)]
        await self.sender.until_durable(MovesIntended(tuple(moves)))
        results = await target.move([Relocation(move.target, move.path) for move in moves])
        return [moved(move, result) for move, result in zip(moves, results, strict=True)]

    async def _remove(self, target: Session, batch: Batch, show: Callable[[str], None]) -> list[Outcome]:
        await self.gate.passed()
        show("removing")
        await self.sender.until_durable(RemovalIntended(tuple(operation.path for operation in batch)))
        return all_removed(batch, await target.remove([it.target for it in batch if isinstance(it, Remove)]))

    async def _sweep(self, target: Session, batch: Batch) -> list[Outcome]:
        finals = {it.path: it.source.path for it in batch if isinstance(it, Sweep) and it.source is not None}
        swept = await target.sweep([operation.path for operation in batch], finals)
        outcomes = [removed(operation, result) for operation, result in zip(batch, swept, strict=True)]
        return [await self._recover(target, outcome) for outcome in outcomes]

    async def _recover(self, target: Session, outcome: Outcome) -> Outcome:
        """Look whether an earlier run renamed a swept temporary to its final name, and died before it recorded that.

        A commit of a temporary that is gone answers exactly this: whether the final name has this size and time.
        """
        sweep = outcome.operation
        if not isinstance(outcome, Done) or not isinstance(sweep, Sweep) or sweep.source is None or not sweep.recovers:
            return outcome
        source = sweep.source
        (found,) = await target.commit([Staged(source.path, sweep.path, source.size, source.mtime_ns)])
        return Done(sweep, found, source) if isinstance(found, Entry) else outcome

    async def _survey(self, target: Session, survey: Operation) -> Outcome:
        assert isinstance(survey, Survey)
        try:
            if isinstance(target, PrefetchingSession):
                listing = await target.list_directory_ahead(survey.path, self.look_ahead)
            else:
                listing = await target.list_directory(survey.path)
        except OperationRefused as refusal:
            return Skipped(survey, str(refusal))
        if listing.problem is not None and not listing.problem.vanished:
            return Skipped(survey, f"cannot be listed on the target: {listing.problem.reason}")
        entries = listing.entries
        if not self.keeps_times:
            entries = tuple(attrs.evolve(entry, mtime_ns=None) for entry in entries)
        return Done(survey, listing=Listing(survey.path, entries))


async def make_parents(target: Session, path: str) -> bool:
    """Make the directories above a refused file again, and return whether all exist: a user may have removed them."""
    return all(isinstance(made, Entry) for made in await target.make_directories(ancestors(path)))


async def _make(target: Session, paths: Sequence[str]) -> dict[str, Entry | OperationRefused]:
    """Make directories. A refused one is tried again together with those above it, which may be gone as well."""
    made = dict(zip(paths, await target.make_directories(paths), strict=True))
    refused = [path for path, result in made.items() if isinstance(result, OperationRefused) and path]
    if refused:
        again = list(dict.fromkeys(it for path in refused for it in (*ancestors(path), path)))
        results = dict(zip(again, await target.make_directories(again), strict=True))
        made |= {path: results[path] for path in refused}
    return made
