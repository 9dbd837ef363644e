"""Comparison with the journal, and of contents where the times of a file are not enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import trio

from actorsync.actors.messages import Several
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Memory, SourceQueries
from actorsync.classes import define
from actorsync.model.entry import Entry, Kind, Listing, Record
from actorsync.model.event import Adopted, Confirmed
from actorsync.model.row import ListingRows
from actorsync.planning.reconcile import is_racy

__all__ = ["Comparison"]

#: How many entries that are equal are announced together, at most.
GROUP = 500

#: Seconds after which a change of a file on a server shows in its time, which is in whole seconds.
_SETTLING = 3.0


@define(eq=False)
class Comparison:
    """Find what of the source differs from the journal, and announce what turns out to be equal.

    ``began`` is the time of trio's clock before the scan. ``by_content`` keeps the checksum of a file that was read.
    With ``by_size_time`` neither inodes nor their times are compared. With ``is_complete``, what is as recorded counts
    as a difference as well.
    """

    journal: Memory
    announcer: Announcer
    source: SourceQueries
    wall_clock_ns: Callable[[], int]
    began: float
    by_content: bool = False
    by_size_time: bool = False
    is_complete: bool = False
    _equal: list[Adopted | Confirmed] = attrs.Factory(list)  # not announced yet

    def differences(self, listed: ListingRows) -> tuple[Listing, Mapping[str, Record]]:
        """Return what of a directory is not as recorded, and the records of that; nothing of an unknown directory."""
        if listed.problem is not None:
            return Listing(listed.directory), {}
        fingerprinted = self.source.fingerprinted
        rows = listed if fingerprinted is None else fingerprinted(listed)
        return self.journal.differences(rows, is_complete=self.is_complete, by_size_time=self.by_size_time)

    async def equality(self, now: Entry, record: Record) -> Adopted | Confirmed | None:
        """Return the event for an entry of which the target has what the source has, as far as that shows without it.

        None for any other.
        """
        if now.kind is Kind.DIRECTORY or (record.source is None and not is_racy(now, self.wall_clock_ns())):
            return Adopted(now, record.target)
        read = await self._read(now)
        # The digest identifies what was sent. Of a foreign entry, only the version that was scanned is equal.
        if read is None or (read[0] != now if record.source is None else read[1] != record.content):
            return None
        entry = read[0] if read[0].mode is not None else attrs.evolve(read[0], mode=now.mode)
        return self._equality(record, entry, read[1])

    async def _read(self, now: Entry) -> tuple[Entry, bytes] | None:
        if now.ctime_ns is None:
            # The file looked like this before the run began: any change from now on gives it another time.
            await trio.sleep_until(self.began + _SETTLING)
        return await self.source.digest(now.path)

    def _equality(self, record: Record, entry: Entry, digest: bytes) -> Adopted | Confirmed:
        """Return the event for a file that was read: with its digest while its times prove nothing."""
        is_settled = entry.ctime_ns is None and entry.mtime_ns is not None and entry == record.source
        is_kept = not is_settled and is_racy(entry, self.wall_clock_ns())
        kept = digest if is_kept else None
        if record.source is None:
            return Adopted(entry, record.target, kept)
        checksum = digest if self.by_content and not is_kept else record.checksum
        return Confirmed(entry, record.target, kept, checksum)

    async def add(self, event: Adopted | Confirmed) -> None:
        """Announce an equality, sooner or later."""
        self._equal.append(event)
        if len(self._equal) >= GROUP:
            await self.announce()

    async def announce(self) -> None:
        """Announce what was found to be equal since the last time, in one message: a target may be full of it."""
        if self._equal:
            several, self._equal = Several(self._equal), []
            await self.announcer.send(several)
