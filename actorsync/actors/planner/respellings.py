"""Entries of the target that only get another spelling of their names, because the target takes both for one name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import attrs

from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.progress import Progress
from actorsync.actors.planner.renames import Renames
from actorsync.classes import define
from actorsync.model.entry import Entry, Kind, Record, join, name_of, parent_of
from actorsync.model.operation import Done, Outcome, Respell, Returned
from actorsync.planning.name_folding import respelled
from actorsync.planning.reconcile import Decision
from actorsync.planning.schedule import Schedule
from actorsync.planning.temporary_names import temporary_name

__all__ = ["Respellings"]


@define(eq=False)
class Respellings:
    """Change the spelling of names before anything else is planned in their directory.

    Otherwise the new spelling would be sent, and the old one removed: on a target that takes both for one name, that
    removes what was sent. Such a change renames no content, and happens at once, so it is not offered to the stages of
    the caller: a stage may keep operations back until it has seen all of them.
    """

    schedule: Schedule
    progress: Progress
    announcer: Announcer
    renames: Renames
    count: int = 0
    """How many names were changed: what was read from the journal before the last one may be out of date."""
    _waiting: set[str] = attrs.Factory(set)

    async def change(self, decisions: Sequence[Decision], present: Callable[[], Iterable[str]]) -> bool:
        """Change spellings among the entries of one directory, and return whether the journal is different now.

        ``present`` returns all names that the source has in this directory.
        """
        pairs = respelled(decisions, present)
        if not pairs:
            return False
        before = self.count
        for now, record in pairs:
            operation = await self._operation(now, record)
            self._waiting.add(operation.path)
            await self.announcer.settle(self.schedule.add(operation))
        self.progress.notify()
        while self._waiting:
            await self.progress.wait()
        return self.count > before

    async def _operation(self, now: Entry, record: Record) -> Respell:
        token = hashlib.sha256(f"{self.renames.began_ns} {record.target.path} {now.path}".encode(errors="replace"))
        temporary = join(parent_of(now.path), temporary_name(name_of(now.path), token.hexdigest()[:16]))
        assert record.source is not None
        if now.kind is Kind.DIRECTORY and record.source.kind is Kind.DIRECTORY:
            return Respell(now, record.target, temporary)
        proof = await self.renames.prove(now, record)
        if proof is not None:
            return Respell(now, record.target, temporary, proof.digest, proof.checksum)
        # Not the file that the target has. Its next comparison finds that, under the new spelling.
        then = attrs.evolve(record.source, path=now.path)
        return Respell(then, record.target, temporary, record.digest or None, record.checksum)

    def settle(self, outcome: Outcome) -> None:
        """Take note of a change that was made, or could not be."""
        if isinstance(outcome.operation, Respell) and not isinstance(outcome, Returned):
            self._waiting.discard(outcome.operation.path)
            self.count += isinstance(outcome, Done)
