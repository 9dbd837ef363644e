"""A run for a program on trio: its events and levels, what may be changed meanwhile, and the ways to stop it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import attrs
import trio

from actorsync.actors.control import path_below
from actorsync.actors.feed import Feed
from actorsync.actors.statistics import ConnectionLevel, Rate
from actorsync.classes import define, frozen
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.errors import RunFailed
from actorsync.model.event import Event, PassBegan, Started, Stopped
from actorsync.model.report import Report
from actorsync.service.jobs import Job
from actorsync.service.running import Ended, end_of
from actorsync.service.targets import Work

__all__ = ["ConnectionState", "Levels", "Sync"]

#: Seconds between two samples of the bytes sent, for the rate.
_SAMPLING = 1.0


@frozen
class ConnectionState:
    """What one connection does at a moment: ``state`` in a word or two, and its largest upload, if there is one.

    ``path`` is the file being sent; the other side has confirmed ``sent`` of its ``size`` bytes. ``uploads`` is how
    many files are being sent over this connection: SFTP sends many at once.
    """

    number: int
    state: str
    is_connected: bool
    path: str | None = None
    sent: int = 0
    size: int = 0
    uploads: int = 0


@frozen
class Levels:
    """How far a run is at a moment. Counts are of files, sizes in bytes, ``rate`` in bytes per second.

    The planned figures grow until ``is_total_known``. ``rate`` is over the last few seconds; None when the run has just
    begun. In a run with several passes they are those of the pass that goes on, or of the last one.

    Times are in seconds since the epoch. ``behind_since`` is when the oldest change was noticed that is not on the
    target yet, and ``next_full_pass`` when the next pass over the whole source is due; None if there is none.
    """

    files_found: int
    files_planned: int
    files_done: int
    bytes_planned: int
    bytes_done: int
    bytes_sent: int
    is_total_known: bool
    rate: float | None
    connections: tuple[ConnectionState, ...]
    is_passing: bool = False
    """Whether a pass goes on: a run that repeats waits between its passes."""
    behind_since: float | None = None
    next_full_pass: float | None = None


class Sync:
    """A run in progress, as `open_sync` yields it. Use it in the thread of the block only."""

    def __init__(self, job: Job, *, repeats: bool = False, changed: trio.lowlevel.ParkingLot | None = None) -> None:
        self._repeats = repeats
        self._rate = Rate()
        self._feed = Feed(is_endless=repeats, changed=trio.lowlevel.ParkingLot() if changed is None else changed)
        self._bandwidth = Bandwidth(job.profile.sync.bwlimit)
        self._report: Report | None = None
        self._passes = _FullPasses()
        self._ended: Ended | None = None
        self._begun = trio.Event()
        self.stopped = trio.Event()
        """Set when the run has ended: every connection is closed, the journal is written and unlocked."""
        job.options = attrs.evolve(
            job.options,
            policy=attrs.evolve(job.options.policy, bandwidth=self._bandwidth),
            observers=[self._keep, *job.options.observers],
            feed=self._feed,
            begun=self._begun.set,
        )
        self._job = job

    @property
    def events(self) -> AsyncIterator[Event]:
        """The events of the run, in the order in which they became durable; ends after the last `Stopped`.

        Single reader; start before your first await, and you miss no event. A slow reader applies back-pressure: once
        it is a thousand events behind, the run waits for it, until the run is stopped. If nobody reads events, the run
        is not slowed. Each pass begins with `Started` and ends with `Stopped`; where changes are followed, `PassBegan`
        comes before it.
        """
        return self._feed

    @property
    def report(self) -> Report:
        """What the run did; the report of the last pass, if it has several.

        Raises `RuntimeError` before the first `Stopped`.
        """
        if self._report is None:
            raise RuntimeError("there is no report before the run has stopped")
        return self._report

    def drain(self, deadline: float = math.inf) -> None:
        """Stop: finish the files in progress, begin no others. The next run continues from there.

        Files that are not finished by ``deadline``, on trio's clock, are cancelled; at the latest after
        ``[shutdown] drain``.
        """
        self._job.shutdown.drain(deadline)

    def cancel(self) -> None:
        """Stop: abort the files in progress, and remove their temporaries, for at most ``[shutdown] cancel``."""
        self._job.shutdown.cancel()

    def now(self) -> None:
        """Stop: abort, and leave everything as it is. The next run removes the temporaries."""
        self._job.shutdown.now()

    def pause(self) -> None:
        """Begin no file and no pass until `resume`. Files in progress finish, and changes are still noticed."""
        self._job.control.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._job.control.resume()

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused, by this program or by ``actorsync ctl``."""
        return self._job.control.is_paused

    @property
    def bwlimit(self) -> float | None:
        """The limit of file data in bytes per second; None for no limit. May be set during the run."""
        return self._bandwidth.limit

    @bwlimit.setter
    def bwlimit(self, limit: float | None) -> None:
        self._bandwidth.limit = limit

    @property
    def connections(self) -> int:
        """The highest number of connections. May be set during the run, to no more than the profile allows."""
        most = self._job.options.policy.connections
        return min(self._job.control.connections or most, most)

    @connections.setter
    def connections(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"connections: {count} is not a whole number from 1; to stop all transfers, use pause()")
        self._job.control.limit_connections(count)

    def rescan(self) -> None:
        """Let the next pass compare the whole source, and begin as soon as it may.

        Raises `RuntimeError` if the run ends after its pass.
        """
        self._require_next_pass("rescan")
        self._job.control.rescan()

    def retry(self, path: str) -> None:
        """Let the next pass try a path that is parked, and begin as soon as it may. Other paths are not affected.

        Raises `RuntimeError` if the run ends after its pass.
        """
        self._require_next_pass("retry")
        self._job.control.retry(path_below(path))

    async def catch_up(self) -> Report:
        """Compare the whole source in a pass that begins from now on; return the report of that pass when it has ended.

        If its exit code is 0, all that was in the source at the time of the call is on the target. A run that is paused
        makes no pass. Raises `RunFailed` if the run ends before, and `RuntimeError` if it ends after its first pass.
        """
        self._require_next_pass("catch_up")
        self._job.control.rescan()
        report = None if self.stopped.is_set() else await self._passes.next_report()
        if report is None:
            raise RunFailed("the run has ended before a pass over the whole source", 3)
        return report

    def _require_next_pass(self, method: str) -> None:
        if not self._repeats:
            raise RuntimeError(f"{method}: this run ends after its pass; open it with watch=True or repeat=True")

    def statistics(self) -> Levels:
        """Return how far the run is."""
        levels, upcoming = self._job.options.statistics, self._job.options.upcoming
        is_over = self.stopped.is_set()
        return Levels(
            files_found=levels.files_found,
            files_planned=levels.files_planned,
            files_done=levels.files_done,
            bytes_planned=levels.bytes_planned,
            bytes_done=levels.bytes_done,
            bytes_sent=levels.bytes_sent,
            is_total_known=levels.is_total_known,
            rate=self._rate.value,
            connections=tuple(_state_of(level) for level in levels.connections),
            is_passing=self._job.state.is_running,
            behind_since=upcoming.behind_since,
            next_full_pass=None if is_over or not self._repeats else upcoming.full_at or self._job.state.next_at,
        )

    async def _run(self, work: Work) -> None:
        """Do ``work`` with the job. How it ends is in ``_ended``, and in the report."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sample)
                self._ended = await end_of(self._job, work)
                nursery.cancel_scope.cancel()
            is_told = self._ended.raised is None or (self._report and self._report.exit_code == self._ended.exit_code)
            if self._report is None or not is_told:  # it ended before a pass, between two, or by a bug
                self._report = self._ended.report
        finally:
            self._feed.close()
            self._passes.close()
            self._begun.set()
            self.stopped.set()

    def _leave(self) -> None:
        """Note that the program has left the block: nothing reads the events, and a run that repeats stops."""
        if self._repeats:
            self.drain()
        self._feed.release()

    def _keep(self, event: Event) -> None:
        self._passes.observe(event)
        if isinstance(event, Stopped):
            self._report = event.report

    async def _sample(self) -> None:
        while True:
            self._rate.add(trio.current_time(), self._job.options.statistics.bytes_moved)
            await trio.sleep(_SAMPLING)


@define(eq=False)
class _FullPasses:
    """The passes over the whole source, for those who wait for one that has not begun."""

    _is_partial: bool = False
    _number: int = 0
    """How many passes have begun."""
    _last: tuple[int, Report] | None = None
    """The last full pass that has ended."""
    _is_over: bool = False
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def observe(self, event: Event) -> None:
        match event:
            case PassBegan(directories=directories):
                self._is_partial = directories is not None
            case Started():
                self._number += 1
            case Stopped(report) if not self._is_partial and self._number:
                self._last = self._number, report
                self._changed.unpark_all()

    def close(self) -> None:
        self._is_over = True
        self._changed.unpark_all()

    async def next_report(self) -> Report | None:
        """Return the report of the first full pass that begins from now on; None if the run ends before."""
        begun = self._number
        while self._last is None or self._last[0] <= begun:
            if self._is_over:
                return None
            await self._changed.park()
        return self._last[1]


def _state_of(level: ConnectionLevel) -> ConnectionState:
    lane = level.busiest
    upload = None if lane is None else lane.upload
    if lane is None or upload is None:
        return ConnectionState(level.number, level.state if lane is None else lane.state, level.is_connected)
    return ConnectionState(
        level.number, lane.state, level.is_connected, upload.path, upload.delivered, lane.size, level.uploads
    )
