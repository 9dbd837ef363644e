"""Several runs for a program on trio: each by its name, and what concerns all of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.classes import define
from actorsync.library.many import Reports, raised_by
from actorsync.library.sync import Sync
from actorsync.model.event import FromTarget
from actorsync.model.report import Report
from actorsync.service.jobs import Job
from actorsync.service.running import Ended
from actorsync.service.targets import Work

__all__ = ["Syncs"]


class Syncs(Mapping[str, Sync]):
    """Runs in progress by their names, as `open_syncs` yields them. Use it in the thread of the block only.

    A run that could not begin has ended already: why is the ``error`` of its report.
    """

    def __init__(self, jobs: Sequence[Job], refusals: Sequence[Ended] = (), *, is_once: bool = True) -> None:
        changed = trio.lowlevel.ParkingLot()
        self._syncs = {
            job.name: Sync(job, repeats=job.profile.repeats and not is_once, changed=changed) for job in jobs
        }
        self._refusals = {refusal.name: refusal.report for refusal in refusals}
        self._events = _Merged({name: sync._feed for name, sync in self._syncs.items()}, changed)
        self.stopped = trio.Event()
        """Set when all runs have ended."""

    def __getitem__(self, name: str) -> Sync:
        return self._syncs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._syncs)

    def __len__(self) -> int:
        return len(self._syncs)

    @property
    def events(self) -> AsyncIterator[FromTarget]:
        """The events of all runs, each with the name of its run; ends after the last `Stopped`.

        Those of one run come in the order in which they became durable. Single reader, as for `Sync.events`: read
        either these, or those of each run.
        """
        return self._events

    @property
    def reports(self) -> Reports:
        """The reports by name, also of what could not begin. A run that has published none yet is left out."""
        reports: dict[str, Report] = dict(self._refusals)
        reports |= {name: sync.report for name, sync in self.items() if sync._report is not None}
        return Reports(reports)

    def drain(self, deadline: float = math.inf) -> None:
        """Stop all runs, see `Sync.drain`."""
        for sync in self.values():
            sync.drain(deadline)

    def cancel(self) -> None:
        """Stop all runs, see `Sync.cancel`."""
        for sync in self.values():
            sync.cancel()

    def now(self) -> None:
        """Stop all runs, see `Sync.now`."""
        for sync in self.values():
            sync.now()

    def pause(self) -> None:
        """Pause all runs, see `Sync.pause`."""
        for sync in self.values():
            sync.pause()

    def resume(self) -> None:
        """Go on with all runs that are paused."""
        for sync in self.values():
            sync.resume()

    async def _run(self, work: Work) -> None:
        """Do ``work`` with each of the jobs."""

        async def one(sync: Sync) -> None:
            try:
                await sync._run(work)
            finally:
                if all(it.stopped.is_set() for it in self.values()):
                    self.stopped.set()

        async with trio.open_nursery() as nursery:
            for sync in self.values():
                nursery.start_soon(one, sync)

    async def _begun(self) -> None:
        """Wait until each run has begun, or has ended without."""
        for sync in self.values():
            await sync._begun.wait()

    def _failure(self, *, with_refusals: bool) -> Exception | None:
        """Return the first error of a run that a program is told as an exception; None without any."""
        ended = [sync._ended for sync in self.values() if sync._ended is not None]
        errors = [result.raised for result in ended if result.raised is not None] if with_refusals else []
        return errors[0] if errors else raised_by(ended)

    def _leave(self) -> None:
        """Note that the program has left the block."""
        for sync in self.values():
            sync._leave()


@define(eq=False)
class _Merged(AsyncIterator[FromTarget]):
    """The events of several feeds. ``changed`` is where all of them tell that something has changed."""

    feeds: Mapping[str, Feed]
    changed: trio.lowlevel.ParkingLot
    _turns: deque[str] = attrs.Factory(deque)
    """The names, that of the feed whose event was taken last at the end: no run waits because another one is busy."""

    def __aiter__(self) -> _Merged:
        for feed in self.feeds.values():
            feed.is_read = True
        return self

    async def __anext__(self) -> FromTarget:
        await trio.lowlevel.checkpoint()
        for feed in self.feeds.values():
            feed.is_read = True
        self._turns = self._turns or deque(self.feeds)
        while True:
            for name in tuple(self._turns):
                if (event := self.feeds[name].take()) is not None:
                    self._turns.remove(name)
                    self._turns.append(name)
                    return FromTarget(name, event)
            if all(feed.is_at_end for feed in self.feeds.values()):
                raise StopAsyncIteration
            await self.changed.park()
