"""The trash of a profile: what is in it, and how old files leave it.

Only names that the journal has put there are deleted, and a run leaves the trash as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import attrs
import trio

from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint, Session
from actorsync.errors import OperationRefused
from actorsync.journal import Journal
from actorsync.model.entry import Entry, Kind
from actorsync.planning.publishing.rules import TrashRule
from actorsync.planning.publishing.trash import TrashRun, expired
from actorsync.runs.past.connection import Connection

__all__ = ["Emptied", "purge", "tend"]

#: How many files are deleted in one flight.
_FLIGHT = 64


@frozen
class Emptied:
    """What has left the trash: runs, files and bytes. ``failures`` are files that are still there, each with why."""

    runs: int = 0
    files: int = 0
    size: int = 0
    failures: tuple[tuple[str, str], ...] = ()


async def tend(target: Endpoint, journal: Journal, rule: TrashRule, now: float) -> Emptied:
    """Delete what does not stay in the trash any longer. Connects only if there is anything.

    While a release is not ended, everything stays: its old files may have to be put back.
    """
    if await trio.to_thread.run_sync(journal.release):
        return Emptied()
    runs = await trio.to_thread.run_sync(journal.trash.runs)
    gone = expired(runs, now, rule.keep, rule.max_size)
    return await purge(target, journal, gone) if gone else Emptied()


async def purge(target: Endpoint, journal: Journal, runs: Sequence[TrashRun]) -> Emptied:
    """Delete the files of runs from the trash, and then their directories. A run with a file that stays is kept."""
    emptied = Emptied()
    async with Connection(target) as connection:
        for run in runs:
            changes = await trio.to_thread.run_sync(journal.trash.changes, run.run)
            places = [it.trashed.place for it in changes if it.trashed.is_in_trash and it.trashed.place is not None]
            failures: list[tuple[str, str]] = []
            for start in range(0, len(places), _FLIGHT):
                some = places[start : start + _FLIGHT]
                swept = await connection.call(partial(_sweep, some))
                refused = zip(some, swept, strict=True)
                failures += [(place, str(result)) for place, result in refused if isinstance(result, OperationRefused)]
            if not failures:
                await connection.call(partial(_remove_directory, run.directory))
                await trio.to_thread.run_sync(journal.trash.forget, run.run)
                emptied = attrs.evolve(
                    emptied, runs=emptied.runs + 1, files=emptied.files + len(places), size=emptied.size + run.size
                )
            emptied = attrs.evolve(emptied, failures=(*emptied.failures, *failures))
    return emptied


async def _sweep(places: Sequence[str], session: Session) -> list[bool | OperationRefused]:
    return await session.sweep(places)


async def _remove_directory(directory: str, session: Session) -> None:
    """Remove the directory of a run. One that holds something else stays: only names of the journal are deleted."""
    await session.remove([Entry(directory, Kind.DIRECTORY)])
