"""The service manager learns how the runs of this process get on: start, status, stop, watchdog."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import Final, ParamSpec

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.classes import define
from actorsync.journal import Journal, wait_for_turn
from actorsync.model.event import Event
from actorsync.model.messages import result_of
from actorsync.model.text import counted, size_text
from actorsync.service.beside import beside
from actorsync.service.jobs import Job
from actorsync.service.manager.pulse import Pulse
from actorsync.service.manager.systemd import Systemd
from actorsync.service.targets import Work

__all__ = ["Notifier", "notifying"]

P = ParamSpec("P")

#: Seconds between two messages with a status, and by which a stop extends its time with each of them.
_EVERY: Final = 1.0
_EXTENSION: Final = 10.0
#: Messages in one period of the watchdog. A probe has the time between two of them.
_PER_PERIOD: Final = 4


@asynccontextmanager
async def notifying(jobs: Sequence[Job], systemd: Systemd | None, work: Work) -> AsyncIterator[Work]:
    """Tell ``systemd`` in the block how the jobs get on; yield ``work`` with what is needed for that.

    The start is over when the first run has its journal. The watchdog is satisfied only while trio's loop runs, worker
    threads can be had, the journals are not blocked, and the passes get on, see `Pulse`. They need not get on while one
    of them is paused or waits for a program of the profile, nor between two passes.
    """
    if systemd is None:
        yield work
        return
    notifier = Notifier(jobs, systemd)
    async with beside(notifier.show), beside(notifier.guard):
        yield notifier.noted(work)


@define(eq=False)
class Notifier:
    """What is told to the service manager."""

    jobs: Sequence[Job]
    systemd: Systemd
    pulse: Pulse = attrs.Factory(Pulse)
    _journals: list[Journal] = attrs.Factory(list)
    _programs: int = 0
    """How many programs of profiles are running that a pass waits for."""
    _is_ready: bool = False

    def noted(self, work: Work) -> Work:
        """Return ``work`` that also notes when it has its journal, and when it waits for a program."""

        async def call(job: Job) -> int:
            return await work(self._noted(job))

        return call

    def _noted(self, job: Job) -> Job:
        hooks = job.options.pipeline
        pipeline = attrs.evolve(
            hooks,
            before_commit=None if hooks.before_commit is None else self._excused(hooks.before_commit),
            check=None if hooks.check is None else self._excused(hooks.check),
            after_run=None if hooks.after_run is None else self._excused(hooks.after_run),
        )
        companions = [*job.options.companions, self._with_journal]
        return attrs.evolve(job, options=attrs.evolve(job.options, pipeline=pipeline, companions=companions))

    def _excused(self, hook: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
        async def call(*arguments: P.args, **named: P.kwargs) -> None:
            self._programs += 1
            try:
                await hook(*arguments, **named)
            finally:
                self._programs -= 1

        return call

    @asynccontextmanager
    async def _with_journal(self, journal: Journal, _: Callable[[Event], None]) -> AsyncIterator[None]:
        self._journals.append(journal)
        if not self._is_ready:
            self._is_ready = True
            self.systemd.ready()
        try:
            yield
        finally:
            self._journals.remove(journal)

    async def show(self) -> None:
        """Send the status when it has changed; during a stop, ask for more time as long as it lasts."""
        shown, stopped_at = "", math.inf
        while True:
            text = status_text(self.jobs)
            now = trio.current_time()
            if all(job.shutdown.draining.is_set() for job in self.jobs):
                stopped_at = min(stopped_at, now)
                if now - stopped_at <= max(job.shutdown.longest for job in self.jobs):
                    self.systemd.stopping(f"stopping: {text}", _EXTENSION)
            elif text != shown:
                self.systemd.status(text)
            shown = text
            await _sleep_or_stop(_EVERY, [job.shutdown for job in self.jobs])

    async def guard(self) -> None:
        """Satisfy the watchdog, if there is one, for as long as the process is well."""
        if self.systemd.watchdog is None:
            return
        while True:
            if self._gets_on() and await self._answers(self.systemd.watchdog / _PER_PERIOD):
                self.systemd.alive()
            await trio.sleep(self.systemd.watchdog / _PER_PERIOD)

    def _gets_on(self) -> bool:
        # Others may wait for one that is paused: for the canary, or for its logins.
        is_paused = any(job.control.is_paused for job in self.jobs)
        is_busy = any(job.state.is_running for job in self.jobs) and not is_paused
        is_excused = not is_busy or self._programs > 0
        return self.pulse.beats(trio.current_time(), _work_done(self.jobs), is_excused=is_excused)

    async def _answers(self, seconds: float) -> bool:
        """Return whether worker threads can be had, and no journal hangs in a write."""
        with trio.move_on_after(seconds) as scope:
            for journal in tuple(self._journals):
                await trio.to_thread.run_sync(wait_for_turn, journal, abandon_on_cancel=True)
        return not scope.cancelled_caught


async def _sleep_or_stop(seconds: float, shutdowns: Sequence[Shutdown]) -> None:
    """Sleep; wake up earlier when the first of the stops is requested."""
    with trio.move_on_after(seconds):
        for shutdown in shutdowns:
            if not shutdown.draining.is_set():
                await shutdown.draining.wait()
                return
        await trio.sleep_forever()


def status_text(jobs: Sequence[Job]) -> str:
    """Return in one line what the jobs do."""
    running = [job for job in jobs if job.state.is_running]
    paused = sum(job.control.is_paused for job in jobs)
    parts = []
    if running:
        levels = [job.state.statistics for job in running]
        done, planned = sum(it.files_done for it in levels), sum(it.files_planned for it in levels)
        sent = size_text(sum(it.bytes_sent for it in levels))
        what = running[0].name if len(running) == 1 else counted(len(running), "mirror")
        parts.append(f"{what}: {done} of {planned} files, {sent}")
    elif len(jobs) == 1 and jobs[0].state.last is not None:
        parts.append(f"last pass: {result_of(jobs[0].state.last)}")
    else:
        parts.append("waiting")
    if paused:
        parts.append("paused" if len(jobs) == 1 else f"{paused} paused")
    return "; ".join(parts)


def _work_done(jobs: Sequence[Job]) -> Hashable:
    """Return a value that differs from the one before if any of the jobs has done anything."""
    return tuple(_of(job) for job in jobs)


def _of(job: Job) -> Hashable:
    levels = job.state.statistics
    states = tuple((level.state, tuple(lane.state for lane in level.lanes)) for level in levels.connections)
    counts = levels.files_found, levels.files_done, levels.comparisons_done, levels.directories_planned
    return job.state.readers.revision, levels.bytes_sent, counts, states
