"""Many runs of the small job, each with another fault. Several run at a time, because a run mostly waits."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import attrs
import pytest
import trio

from actorsync.endpoints.contract import Endpoint
from actorsync.testing.network.faults import Swallow
from tests.support.mirror import Run
from tests.support.small_job import SmallJob, faults_on_disk
from tests.support.system.disk_log import DiskLog
from tests.support.tiers import IS_FULL

__all__ = ["IS_COMPLETE", "Sweep", "some"]

T = TypeVar("T")

#: Whether a sweep tries every place (``ACTORSYNC_SWEEP=all``), which takes minutes. CI tries some of the places.
IS_COMPLETE = os.environ.get("ACTORSYNC_SWEEP") == "all"

_AT_ONCE = 8


def some(places: Sequence[T], count: int, seed: str) -> Sequence[T]:
    """Return ``count`` of the places in a random order that ``seed`` decides. A complete sweep returns all places.

    In the short form, for ``make test``, return a third of ``count``, and at least two.
    """
    if not IS_FULL:
        count = min(count, max(2, count // 3))
    return places if IS_COMPLETE or count >= len(places) else random.Random(seed).sample(places, count)


@attrs.define(eq=False)
class Place:
    """One of the slots for runs that work at the same time."""

    semaphore: trio.Semaphore
    is_held: bool = True

    def release(self) -> None:
        """Free the slot for another run."""
        if self.is_held:
            self.is_held = False
            self.semaphore.release()

    async def release_at_a_silence(self, fired: Sequence[object]) -> None:
        """Release when the run only waits for a timeout. ``fired`` is the proxy's list of faults that happened."""
        while not any(getattr(fault, "how", "") == "silence" or isinstance(fault, Swallow) for fault in fired):  # noqa: ASYNC110 - a list, no event
            await trio.sleep(0.02)
        self.release()


@attrs.define(eq=False)
class Sweep:
    """The runs of one test. ``wrong`` lists everything that is wrong in any of them, as text."""

    source: Path
    log: DiskLog
    wrong: list[str] = attrs.Factory(list)
    runs: int = 0
    _semaphore: trio.Semaphore = attrs.Factory(lambda: trio.Semaphore(_AT_ONCE))

    @classmethod
    @asynccontextmanager
    async def of(cls, source: Path) -> AsyncIterator[Sweep]:
        """Open a sweep. At the end of the ``async with`` block, fail the test if anything is wrong."""
        async with DiskLog.watching() as log:
            sweep = cls(source, log)
            yield sweep
        sweep.assert_well()

    def assert_well(self) -> None:
        """Fail the test if anything is wrong, and list all of it."""
        if self.wrong:
            pytest.fail(f"{len(self.wrong)} faults in {self.runs} runs:\n" + "\n".join(self.wrong), pytrace=False)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """Wait for a slot, and hold it during the block."""
        await self._semaphore.acquire()
        place = Place(self._semaphore)
        try:
            yield place
        finally:
            place.release()

    async def run(
        self,
        root: Path,
        uid: int | None,
        target: Endpoint,
        *,
        connections: int = 1,
        in_hand: int = 1,
        sets_aside: bool = False,
        place: Place | None = None,
        fired: Sequence[object] = (),
    ) -> tuple[Run | None, list[str]]:
        """Run the job on ``root``, the folder of ``target``; return the run and what is wrong, as text.

        The run is None when it raised an error or took too long.
        """
        self.runs += 1
        job = SmallJob(self.source, root, uid)
        self.log.watch(root)
        try:
            async with trio.open_nursery() as nursery:
                if place is not None:
                    nursery.start_soon(place.release_at_a_silence, fired)
                run = await job.run(target, connections=connections)
                nursery.cancel_scope.cancel()
            wrong = job.faults(run, in_hand=in_hand) + faults_on_disk(self.log.changes(root), sets_aside)
            again = await job.run(target)
        except Exception as error:  # noqa: BLE001 - reported as a fault of this run
            return None, [f"the run failed: {error!r}"]
        if again.report.exit_code or again.report.copied or again.report.removed or again.report.directories_made:
            wrong.append(f"the next run was not without work: {again.report}")
        return run, wrong
