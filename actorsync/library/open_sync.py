"""A run for a program on trio: a block with the events and levels of the run, and the ways to stop it."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.actors.observers import Observer
from actorsync.actors.pipeline import AfterRun, Hook, Pipeline, Stage
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import ConnectionLevel, Rate, Statistics
from actorsync.ending import the_cause
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.library.given_profile import Given, given_profile
from actorsync.model.event import Event, Stopped
from actorsync.model.report import Report
from actorsync.policy import RunOptions
from actorsync.profile import Profile
from actorsync.runs.options import Additions
from actorsync.service.attending import run_attended

__all__ = ["ConnectionState", "Levels", "Sync", "open_sync"]

#: Seconds between two samples of the bytes sent, for the rate.
_SAMPLING = 1.0


@attrs.frozen
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


@attrs.frozen
class Levels:
    """How far a run is at a moment. Counts are of files, sizes in bytes, ``rate`` in bytes per second.

    The planned figures grow until ``is_total_known``. ``rate`` is over the last few seconds; None when the run has just
    begun.
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


class Sync:
    """A run in progress, as `open_sync` yields it. Use it in the thread of the block only."""

    def __init__(self, profile: Profile) -> None:
        self._shutdown = Shutdown(profile.shutdown.drain, profile.shutdown.cancel)
        self._statistics = Statistics()
        self._bandwidth = Bandwidth(profile.sync.bwlimit)
        self._rate = Rate()
        self._feed = Feed()
        self._report: Report | None = None
        self.stopped = trio.Event()
        """Set when the run has ended: every connection is closed, the journal is written and unlocked."""

    @property
    def events(self) -> AsyncIterator[Event]:
        """The events of the run, in the order in which they became durable; ends after `Stopped`.

        Single reader; start before your first await, and you miss no event. A slow reader applies back-pressure: once
        it is a thousand events behind, the run waits for it, until the run is stopped. If nobody reads events, the run
        is not slowed.
        """
        return self._feed

    @property
    def report(self) -> Report:
        """What the run did. Raises `RuntimeError` before the run has published `Stopped`."""
        if self._report is None:
            raise RuntimeError("there is no report before the run has stopped")
        return self._report

    def drain(self, deadline: float = math.inf) -> None:
        """Stop: finish the files in progress, begin no others. The next run continues from there.

        Files that are not finished by ``deadline``, on trio's clock, are cancelled; at the latest after
        ``[shutdown] drain``.
        """
        self._shutdown.drain(deadline)

    def cancel(self) -> None:
        """Stop: abort the files in progress, and remove their temporaries, for at most ``[shutdown] cancel``."""
        self._shutdown.cancel()

    def now(self) -> None:
        """Stop: abort, and leave everything as it is. The next run removes the temporaries."""
        self._shutdown.now()

    @property
    def bwlimit(self) -> float | None:
        """The limit of file data in bytes per second; None for no limit. May be set during the run."""
        return self._bandwidth.limit

    @bwlimit.setter
    def bwlimit(self, limit: float | None) -> None:
        self._bandwidth.limit = limit

    def statistics(self) -> Levels:
        """Return how far the run is."""
        levels = self._statistics
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
        )

    def _options(self, profile: Profile, added: Additions) -> RunOptions:
        """Return the options of the run that this object stops, watches and measures."""
        options = added.options(profile, self._shutdown)
        return attrs.evolve(
            options,
            policy=attrs.evolve(options.policy, bandwidth=self._bandwidth),
            observers=[self._keep, *options.observers],
            statistics=self._statistics,
            feed=self._feed,
        )

    async def _run(self, profile: Profile, options: RunOptions, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sample)
                await run_attended(profile, options, task_status=task_status)
                nursery.cancel_scope.cancel()
        finally:
            self._feed.close()
            self.stopped.set()

    def _keep(self, event: Event) -> None:
        if isinstance(event, Stopped):
            self._report = event.report

    async def _sample(self) -> None:
        while True:
            self._rate.add(trio.current_time(), self._statistics.bytes_moved)
            await trio.sleep(_SAMPLING)


def _state_of(level: ConnectionLevel) -> ConnectionState:
    lane = level.busiest
    upload = None if lane is None else lane.upload
    if lane is None or upload is None:
        return ConnectionState(level.number, level.state if lane is None else lane.state, level.is_connected)
    return ConnectionState(
        level.number, lane.state, level.is_connected, upload.path, upload.delivered, lane.size, level.uploads
    )


@asynccontextmanager
async def open_sync(
    profile: Profile | str | os.PathLike[str] | None = None,
    *,
    source: Given | None = None,
    target: Given | None = None,
    overrides: Mapping[str, object] | None = None,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    before_commit: Hook | None = None,
    after_run: AfterRun | None = None,
    observers: Sequence[Observer] = (),
    **keys: object,
) -> AsyncIterator[Sync]:
    """Mirror once, beside the block: the run begins with the block, and the block does not end before the run.

    ``profile``, ``overrides``, ``source``, ``target`` and ``keys`` are as in `actorsync.load_profile` and
    `actorsync.make_profile`. ``stages``, ``before_commit`` and ``after_run`` are as in `actorsync.actors.pipeline`.
    ``transforms`` make the content of some files, see `Transform`. ``observers`` are called with each event. A plain
    function must not wait; an async function may, see `actorsync.runs.observing`. See also `Sync.events`.

    An error in the block cancels the run, which removes its temporaries, and is then raised unchanged. So is a
    cancellation from outside. How the run itself ends is in `Sync.report`, even when it failed: a server that could not
    be reached, a guard that refused. At its beginning the block raises `ProfileError`, `JournalLocked`, `FatalError`;
    at its end `StageFailed`.
    """
    loaded = await trio.to_thread.run_sync(given_profile, profile, overrides, source, target, keys)
    sync = Sync(loaded)
    added = Additions(Pipeline(tuple(stages), before_commit, after_run), transforms, observers)
    of_block: BaseException | None = None
    of_run: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(sync._run, loaded, sync._options(loaded, added))
            try:
                yield sync
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001 - raised again, when the run is over
                of_block = error
                sync.cancel()
            sync._feed.release()  # the reader has left the block
    except BaseExceptionGroup as group:
        of_run = the_cause(group)
    if (failure := of_block or of_run) is not None:
        raise failure
