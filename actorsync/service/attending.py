"""What the profiles of some mirrors ask for beside their runs: servers, files with metrics, pings, traces."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from actorsync.classes import define
from actorsync.ending import the_cause
from actorsync.errors import ActorsyncError, JournalUnusable, ProfileError
from actorsync.journal import read_conflicts, read_drifts, read_runs, read_troubles, state_directory
from actorsync.model.event import Warned
from actorsync.model.report import Report
from actorsync.observe.board import Board
from actorsync.observe.history import KEPT
from actorsync.policy import RunOptions
from actorsync.profile import Profile, Secret
from actorsync.profile.values.service_readers import Listen
from actorsync.runs.profile_journal import lock_journal_of
from actorsync.runs.runner import run_once
from actorsync.service.control import control
from actorsync.service.jobs import Job, job_for

if TYPE_CHECKING:
    from actorsync.observe.traces import Traces

__all__ = ["attended", "require_observable", "run_attended"]

#: Seconds that the end of a run may be delayed by what is beside it.
_ENDING: Final = 1.5


class Attendant(Protocol):
    """Something that goes on beside runs."""

    async def run(self) -> None:
        """Go on until cancelled."""

    async def finish(self) -> None:
        """Do what is to be done when the runs have ended. May be cancelled."""


@define(eq=False)
class _Warnings:
    """Warnings about what is beside the runs, as events of the first of them. Each is published once.

    `Stopped` is the last event of a run. What comes later goes to the logger ``actorsync``, which shows it on standard
    error unless the program has set logging up.
    """

    jobs: Sequence[Job]
    is_late: bool = False
    _known: set[str] = attrs.Factory(set)

    def publish(self, text: str) -> None:
        if text in self._known:
            return
        self._known.add(text)
        if self.is_late:
            logging.getLogger("actorsync").warning("%s", text)
            return
        with contextlib.suppress(Exception):  # an observer fails again with an event of the run, which then ends
            self.jobs[0].options.publish(Warned(text))


@asynccontextmanager
async def attended(jobs: Sequence[Job]) -> AsyncIterator[Board]:
    """Do beside the block what the profiles of ``jobs`` ask for in ``[observe]``; yield the board of all of them.

    Jobs with the same ``listen`` share a server, jobs with the same ``metrics-file`` a file, and jobs with the same
    ``ping`` its requests.

    None of it slows a run, or ends it: what does not work is a warning. After the block it takes at most a second and a
    half. Raises what the block raises. Before the block:

    Raises:
        FatalError: it is not possible to listen there.
        JournalLocked: that is so because another run of the profile goes on.
        ProfileError: two profiles contradict each other, or a token is not available.
    """
    board = Board()
    for job in jobs:
        board.add(job.state)
        control(job, board.of([job.state]))
    observed = [job for job in jobs if _is_observed(job)]
    if not observed:
        yield board
        return
    warnings = _Warnings(observed)
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        attendants = await _attendants(observed, board, warnings.publish, stack)
        await trio.to_thread.run_sync(_restore, observed)
        try:
            async with trio.open_nursery() as nursery:
                for it in attendants:
                    nursery.start_soon(_kept_from_harm, it.run, warnings.publish)
                try:
                    yield board
                except Exception as error:  # noqa: BLE001 - raised again, when the rest has ended
                    failure = error
                warnings.is_late = True
                with trio.move_on_after(_ENDING):
                    async with trio.open_nursery() as ending:
                        for it in attendants:
                            ending.start_soon(_kept_from_harm, it.finish, warnings.publish)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            failure = failure or the_cause(group)
    if failure is not None:
        raise failure


async def run_attended(profile: Profile, options: RunOptions) -> Report:
    """Mirror once, as `run_once` does, with what the profile asks for beside it."""
    job = job_for(profile, options)
    async with attended([job]):
        return await run_once(profile, job.options)


def _is_observed(job: Job) -> bool:
    table = job.profile.observe
    return not (table.listen is None and table.metrics_file is None and table.ping is None) or table.traces


async def _attendants(
    jobs: Sequence[Job], board: Board, warn: Callable[[str], None], stack: AsyncExitStack
) -> Sequence[Attendant]:
    """Return what goes on beside the runs. The sockets are closed with ``stack``."""
    attendants: list[Attendant] = []
    listens = dict.fromkeys(job.profile.observe.listen for job in jobs)
    for listen in listens:
        if listen is not None:
            of_it = [job for job in jobs if job.profile.observe.listen == listen]
            attendants.append(await _server(listen, of_it, board, warn, stack))
    for path in dict.fromkeys(job.profile.observe.metrics_file for job in jobs):
        if path is not None:
            from actorsync.observe.metrics_file import MetricsFile  # most profiles have none

            of_file = [job.state for job in jobs if job.profile.observe.metrics_file == path]
            attendants.append(MetricsFile(path, board.of(of_file), warn))
    for url in dict.fromkeys(job.profile.observe.ping for job in jobs):
        if url is not None:
            from actorsync.observe.ping import Ping  # http.client takes a while to import

            of_url = [job.state for job in jobs if job.profile.observe.ping == url]
            attendants.append(Ping(url, of_url, warn))
    attendants.extend(_traces(job, warn) for job in jobs if job.profile.observe.traces)
    return attendants


def require_observable(profile: Profile) -> None:
    """Look for what a run needs for ``[observe]``: the token, and the packages for traces. Blocks.

    Raises:
        ProfileError: one of them is missing, so a run would not begin.
    """
    table = profile.observe
    if table.listen is not None and table.token is not None:
        table.token.resolve()
    if table.traces:
        _traces_of(profile)


def _traces(job: Job, warn: Callable[[str], None]) -> Attendant:
    """Return the traces of a mirror. Raises `ProfileError` without the packages for them."""
    return _traces_of(job.profile)(job.state, warn)


def _traces_of(profile: Profile) -> type[Traces]:
    try:
        from actorsync.observe.traces import Traces  # takes 65 ms to import, and is an extra
    except ImportError:
        way_out = 'install them: pip install "actorsync[otel]"'
        raise ProfileError(
            f"{profile.path}: observe.traces: the packages of OpenTelemetry are missing; {way_out}"
        ) from None
    return Traces


async def _server(
    listen: Listen, jobs: Sequence[Job], board: Board, warn: Callable[[str], None], stack: AsyncExitStack
) -> Attendant:
    from actorsync.service.web import open_server  # h11 takes 12 ms to import

    where = f"{jobs[0].profile.path}: observe.listen"
    token = await _token_of(jobs)
    try:
        return await open_server(listen, token, board.of(job.state for job in jobs), warn, stack, where)
    except ActorsyncError:
        await trio.to_thread.run_sync(_require_unlocked, jobs)
        raise


async def _token_of(jobs: Sequence[Job]) -> Secret | None:
    """Return the token of a server; it must be the same for all its profiles."""
    sources = {job.profile.observe.token for job in jobs}
    if len(sources) > 1:
        first, second = (str(job.profile.path) for job in (jobs[0], next(it for it in jobs if _differs(it, jobs[0]))))
        raise ProfileError(
            f"{second}: observe.token: {first} listens on the same address with another token; use one token, or two "
            "addresses"
        )
    (source,) = sources
    return None if source is None else await trio.to_thread.run_sync(source.resolve, abandon_on_cancel=True)


def _differs(one: Job, other: Job) -> bool:
    return one.profile.observe.token != other.profile.observe.token


def _require_unlocked(jobs: Iterable[Job]) -> None:
    """Raise `JournalLocked` if one of the profiles is being mirrored: that explains why its address is in use."""
    for job in jobs:
        with contextlib.suppress(JournalUnusable), lock_journal_of(job.profile):
            pass


def _restore(jobs: Iterable[Job]) -> None:
    """Show on the board what the journals have of earlier processes. A journal that cannot be read fails its run."""
    directory = state_directory()
    for job in jobs:
        identity = job.profile.identity
        with contextlib.suppress(ActorsyncError):
            job.state.history.restore(read_runs(directory, identity, KEPT))
            job.state.troubles.restore(
                read_troubles(directory, identity),
                read_drifts(directory, identity),
                read_conflicts(directory, identity),
            )


async def _kept_from_harm(work: Callable[[], Awaitable[None]], warn: Callable[[str], None]) -> None:
    """Do something beside a run. An error of it is a warning, and the run goes on."""
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - what is beside a run must not end it
        warn(f"[observe] stopped working: {type(error).__name__}; the run goes on without it, please report this")
