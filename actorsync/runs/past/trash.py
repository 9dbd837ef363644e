"""The trash of a profile: what is in it, and how old files leave it.

Only names that the journal has put there are deleted, and a run leaves the trash as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

import attrs
import trio

from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint, Session
from actorsync.errors import OperationRefused
from actorsync.journal import Journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Side
from actorsync.planning.publishing.rules import TrashRule
from actorsync.planning.publishing.trash import TrashRun, expired
from actorsync.runs.past.connection import Connection

__all__ = ["Emptied", "purge", "sides_of", "tend"]

#: How many files are deleted in one flight.
_FLIGHT = 64
_UNREACHED = "it is on the source, where a mirror removes nothing; use --set sync.mode=two-way"


@frozen
class Emptied:
    """What has left the trash: runs, files and bytes. ``failures`` are files that are still there, each with why."""

    runs: int = 0
    files: int = 0
    size: int = 0
    failures: tuple[tuple[str, str], ...] = ()


def sides_of(source: Endpoint, target: Endpoint, *, is_two_way: bool) -> Mapping[Side, Endpoint]:
    """Return the sides that have a trash: the target, and in two-way the source as well."""
    return {Side.SOURCE: source, Side.TARGET: target} if is_two_way else {Side.TARGET: target}


async def tend(sides: Mapping[Side, Endpoint], journal: Journal, rule: TrashRule, now: float) -> Emptied:
    """Delete what does not stay in the trash any longer. Connects only if there is anything.

    While a release is not ended, everything stays: its old files may have to be put back.
    """
    if await trio.to_thread.run_sync(journal.release):
        return Emptied()
    runs = await trio.to_thread.run_sync(journal.trash.runs)
    gone = expired(runs, now, rule.keep, rule.max_size)
    return await purge(sides, journal, gone) if gone else Emptied()


async def purge(sides: Mapping[Side, Endpoint], journal: Journal, runs: Sequence[TrashRun]) -> Emptied:
    """Delete the files of runs from the trash, and then their directories. A run with a file that stays is kept."""
    emptied = Emptied()
    async with AsyncExitStack() as stack:
        lines = {side: await stack.enter_async_context(Connection(place)) for side, place in sides.items()}
        for run in runs:
            changes = await trio.to_thread.run_sync(journal.trash.changes, run.run)
            places: dict[Side, list[str]] = {side: [] for side in Side}
            for change in changes:
                if change.trashed.is_in_trash and change.trashed.place is not None:
                    places[change.side or Side.TARGET].append(change.trashed.place)
            failures = [(place, _UNREACHED) for side in places.keys() - lines.keys() for place in places[side]]
            for side, line in lines.items():
                failures += await _empty(line, places[side])
            if not failures:
                for line in lines.values():
                    await line.call(partial(_remove_directory, run.directory))
                await trio.to_thread.run_sync(journal.trash.forget, run.run)
                files = sum(map(len, places.values()))
                emptied = attrs.evolve(
                    emptied, runs=emptied.runs + 1, files=emptied.files + files, size=emptied.size + run.size
                )
            emptied = attrs.evolve(emptied, failures=(*emptied.failures, *failures))
    return emptied


async def _empty(line: Connection, places: Sequence[str]) -> list[tuple[str, str]]:
    """Delete files from the trash of a side. Return those that stay, each with why."""
    failures: list[tuple[str, str]] = []
    for start in range(0, len(places), _FLIGHT):
        some = places[start : start + _FLIGHT]
        swept = await line.call(partial(_sweep, some))
        refused = zip(some, swept, strict=True)
        failures += [(place, str(result)) for place, result in refused if isinstance(result, OperationRefused)]
    return failures


async def _sweep(places: Sequence[str], session: Session) -> list[bool | OperationRefused]:
    return await session.sweep(places)


async def _remove_directory(directory: str, session: Session) -> None:
    """Remove the directory of a run. One that holds something else stays: only names of the journal are deleted."""
    await session.remove([Entry(directory, Kind.DIRECTORY)])
