"""A run for a program on trio: a block that it lives in, with its events, its levels, and the ways to stop it."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from actorsync.actors.feed import Feed
from actorsync.actors.pipeline import AfterRun, Hook, Pipeline, Stage
from actorsync.actors.recorder import Observer
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import ConnectionLevel, Rate, Statistics
from actorsync.ending import the_cause
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.model.event import Event, Stopped
from actorsync.model.report import Report
from actorsync.policy import RunOptions
from actorsync.profile import Profile
from actorsync.profile import load as loading
from actorsync.runs.options import Additions
from actorsync.runs.runner import run_once

__all__ = ["ConnectionState", "Levels", "Sync", "load_profile", "open_sync", "profile_of"]

#: Seconds between two looks at what was sent, for the rate.
_SAMPLING = 1.0


@attrs.frozen
class ConnectionState:
    """What one connection does at a moment: ``state`` in a word or two, and its biggest upload, if there is one.

    ``path`` is what is being sent, ``sent`` of its ``size`` bytes were handed over. ``uploads`` is how many files are
    on their way over this connection: SFTP carries many at once.
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
    """How far a run is at a moment. Counts are of files, sizes in bytes, ``rate`` in bytes a second.

    The planned figures grow until ``is_total_known``. ``rate`` is over the last few seconds, None when it is too early
    to tell.
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
    """One run that is going on; given by `open_sync`. All of it is for the thread of the block."""

    def __init__(self, profile: Profile) -> None:
        self._shutdown = Shutdown(profile.shutdown.drain, profile.shutdown.cancel)
        self._statistics = Statistics()
        self._bandwidth = Bandwidth(profile.sync.bwlimit)
        self._rate = Rate()
        self._feed = Feed()
        self._report: Report | None = None
        self.stopped = trio.Event()
        """Set when the run is over: every connection is closed, the journal is written and unlocked."""

    @property
    def events(self) -> AsyncIterator[Event]:
        """What happens, as typed events in the order in which they became durable; ends behind `Stopped`.

        For one reader. Who begins to read before he waits for anything else misses nothing. Who reads slowly slows the
        run down, once he is a thousand events behind, until it is being stopped. Who does not read at all is waited for
        by nobody.
        """
        return self._feed

    @property
    def report(self) -> Report:
        """What the run did. Raises `RuntimeError` before the run has announced that it `Stopped`."""
        if self._report is None:
            raise RuntimeError("there is no report before the run has stopped")
        return self._report

    def drain(self, deadline: float = math.inf) -> None:
        """Stop: finish the files that are on their way, begin no more. The next run goes on from there.

        What is not finished by ``deadline``, on trio's clock, is cancelled; in any case after ``[shutdown] drain``.
        """
        self._shutdown.drain(deadline)

    def cancel(self) -> None:
        """Stop: abort what is on its way, and tidy it up, for as long as ``[shutdown] cancel`` says."""
        self._shutdown.cancel()

    def now(self) -> None:
        """Stop: abort, and leave everything as it is. The next run tidies up."""
        self._shutdown.now()

    @property
    def bwlimit(self) -> float | None:
        """The most file data to move in a second, in bytes; None for no limit. May be set while the run goes on."""
        return self._bandwidth.limit

    @bwlimit.setter
    def bwlimit(self, limit: float | None) -> None:
        self._bandwidth.limit = limit

    def statistics(self) -> Levels:
        """Say how far the run is."""
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
                await run_once(profile, options, task_status=task_status)
                nursery.cancel_scope.cancel()
        finally:
            self._feed.close()
            self.stopped.set()

    def _keep(self, event: Event) -> None:
        if isinstance(event, Stopped):
            self._report = event.report

    async def _sample(self) -> None:
        while True:
            self._rate.add(trio.current_time(), self._statistics.bytes_sent)
            await trio.sleep(_SAMPLING)


def _state_of(level: ConnectionLevel) -> ConnectionState:
    lane = level.busiest
    upload = None if lane is None else lane.upload
    if lane is None or upload is None:
        return ConnectionState(level.number, level.state if lane is None else lane.state, level.is_connected)
    return ConnectionState(
        level.number, lane.state, level.is_connected, upload.path, upload.sent, lane.size, level.uploads
    )


@asynccontextmanager
async def open_sync(
    profile: Profile | str | os.PathLike[str],
    *,
    overrides: Mapping[str, str] | None = None,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    before_commit: Hook | None = None,
    after_run: AfterRun | None = None,
    observers: Sequence[Observer] = (),
) -> AsyncIterator[Sync]:
    """Mirror once, beside the block: it begins when the block does, and the block does not end before it.

    ``profile`` is a profile, or the path of one; ``overrides`` are keys that replace its own (``{"sync.delete":
    "true"}``). ``stages``, ``before_commit`` and ``after_run`` are what `actorsync.actors.pipeline` says,
    ``transforms`` make the content of files on their way (`Transform`). ``observers`` are called with each event, at
    once, and must not wait; see also `Sync.events`.

    An error of the block cancels the run, which tidies up, and is then raised as it is; so does a cancellation from
    outside. How the run itself ends is in `Sync.report`, also when it failed: a server that stayed away, a guard that
    refused. Raised, when the block begins: `ProfileError`, `JournalLocked`, `FatalError`; when it ends: `StageFailed`.
    """
    loaded = await trio.to_thread.run_sync(profile_of, profile, overrides)
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
            sync._feed.release()  # there is nobody any more who reads
    except BaseExceptionGroup as group:
        of_run = the_cause(group)
    if (failure := of_block or of_run) is not None:
        raise failure


def load_profile(profile: str | os.PathLike[str], overrides: Mapping[str, str] | None = None) -> Profile:
    """Read and check a profile. ``overrides`` are keys that replace its own: ``{"sync.delete": "true"}``.

    Raises `ProfileError`, one line that names the file, the key, the reason and the way out. Blocks.
    """
    return loading.load_profile(Path(profile), [f"{key}={value}" for key, value in (overrides or {}).items()])


def profile_of(profile: Profile | str | os.PathLike[str], overrides: Mapping[str, str] | None = None) -> Profile:
    """Give a profile as it is, or load it; one that is to be changed is loaded again."""
    if isinstance(profile, Profile):
        return load_profile(profile.path, overrides) if overrides else profile
    return load_profile(profile, overrides)
