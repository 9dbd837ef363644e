"""Runs for a script: calls that block, and that Ctrl-C stops as gracefully as the command line."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import NoReturn, TypeVar

import trio

from actorsync.actors.observers import Observer
from actorsync.actors.pipeline import AfterRun, Hook, Pipeline, Stage
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.library.given_profile import Given, given_profile
from actorsync.model.report import Report
from actorsync.policy import RunOptions
from actorsync.profile import Profile
from actorsync.runs.options import Additions
from actorsync.runs.runner import apply_once, ask_first, make_plan
from actorsync.runs.saved_plan import Plan
from actorsync.runs.stop_signals import CANCEL_SECONDS, LEAVE_SECONDS, Step, StopRequests
from actorsync.service.attending import run_attended

__all__ = ["Stop", "apply", "plan", "require_no_trio", "run", "run_stoppable"]

T = TypeVar("T")


class Stop:
    """Stops runs from any thread, or from a signal handler. One object may be passed to many calls; it stops them all.

    A stop stays requested: a run that begins later ends at once. A stronger stop replaces a weaker one, and never the
    other way round.
    """

    def __init__(self) -> None:
        self._asked = 0
        self._runs: list[tuple[trio.lowlevel.TrioToken, Shutdown]] = []
        self._lock = threading.RLock()  # a signal handler may run while its own thread holds it

    @property
    def is_asked(self) -> bool:
        """Whether a stop of any kind was requested."""
        return self._asked > 0

    def drain(self) -> None:
        """Finish the files in progress, begin no others."""
        self._ask(1)

    def cancel(self) -> None:
        """Abort the files in progress, and remove their temporaries."""
        self._ask(2)

    def now(self) -> None:
        """Abort, and leave everything as it is. The next run removes the temporaries."""
        self._ask(3)

    def ask(self) -> None:
        """Request a stop, one step stronger each time: drain, cancel, now. Ctrl-C does the same."""
        self._ask(min(self._asked + 1, 3))

    def _ask(self, how: int) -> None:
        with self._lock:
            if how > self._asked:
                self._asked = how
                for token, shutdown in self._runs:
                    with suppress(trio.RunFinishedError):
                        token.run_sync_soon(_stop, shutdown, how)

    @contextmanager
    def _stopping(self, shutdown: Shutdown) -> Iterator[None]:
        """Connect a run to this object for the duration of the block. Call it in the thread of trio."""
        entry = trio.lowlevel.current_trio_token(), shutdown
        with self._lock:
            self._runs.append(entry)
            if self._asked:
                _stop(shutdown, self._asked)
        try:
            yield
        finally:
            with self._lock:
                self._runs.remove(entry)


def _stop(shutdown: Shutdown, how: int) -> None:
    (shutdown.drain, shutdown.cancel, shutdown.now)[how - 1]()


def run(
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
    stop: Stop | None = None,
    **keys: object,
) -> Report:
    """Mirror once, and return the report when the run has ended or was stopped. For programs without an event loop.

    Ignores ``sync.every``. ``profile`` and ``overrides`` are as in `actorsync.load_profile`. Without a profile,
    ``source``, ``target`` and ``keys`` are as in `actorsync.make_profile`. ``stages``, ``before_commit`` and
    ``after_run`` are as in `actorsync.actors.pipeline`. ``transforms`` make the content of some files, see `Transform`.
    ``observers`` are called with each event, in another thread. A plain function must not wait; an async function may.

    In the main thread, SIGINT (Ctrl-C), SIGTERM and SIGHUP stop the run. The first signal finishes the files in
    progress. The second aborts them, and removes their temporaries within a second. The third returns at once; if the
    run cannot be stopped by then, `KeyboardInterrupt` is raised, and the run continues in a background thread. In other
    threads (under asyncio: ``await asyncio.to_thread(actorsync.run, ...)``) signals do not stop the run; pass a `Stop`.

    The report says what was done, even if the run failed: a server that could not be reached, a guard that refused. Its
    ``exit_code`` is the exit code of the command line. Raises `ProfileError`, `JournalLocked`, `FatalError` (including
    its subclass `StageFailed`), and `RuntimeError` if trio is running in this thread: then use `open_sync`.
    """
    added = Additions(Pipeline(tuple(stages), before_commit, after_run), transforms, observers)
    loading = partial(given_profile, profile, overrides, source, target, keys)
    return _blocking(loading, ask_first, added, run_attended, stop)


def plan(
    profile: Profile | str | os.PathLike[str] | None = None,
    *,
    source: Given | None = None,
    target: Given | None = None,
    overrides: Mapping[str, object] | None = None,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    observers: Sequence[Observer] = (),
    stop: Stop | None = None,
    **keys: object,
) -> Plan:
    """Return what `run` would do, and change nothing. The plan can be saved, reviewed, and passed to `apply` later.

    Otherwise as `run`. Raises `KeyboardInterrupt` if it is stopped, because the plan is then incomplete.
    """
    added = Additions(Pipeline(tuple(stages)), transforms, observers)

    async def work(loaded: Profile, options: RunOptions) -> Plan:
        made = await make_plan(loaded, options)
        if made.report.drained or made.report.cancelled:
            raise KeyboardInterrupt
        return made

    return _blocking(
        partial(given_profile, profile, overrides, source, target, keys),
        partial(ask_first, is_plan=True),
        added,
        work,
        stop,
    )


def apply(
    profile: Profile | str | os.PathLike[str],
    plan: Plan,
    *,
    overrides: Mapping[str, object] | None = None,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    before_commit: Hook | None = None,
    after_run: AfterRun | None = None,
    observers: Sequence[Observer] = (),
    stop: Stop | None = None,
) -> Report:
    """Do all that a plan says, and nothing else. Otherwise as `run`.

    Raises `PlanOutdated`, and changes nothing, if either side has changed since the plan was made: a file of the
    source, or an entry of the target that the plan changes. ``overrides``, ``stages`` and ``transforms`` must be those
    that the plan was made with.
    """
    if isinstance(profile, Plan):
        raise TypeError("the arguments are swapped: actorsync.apply(profile, plan)")
    added = Additions(Pipeline(tuple(stages), before_commit, after_run), transforms, observers)

    async def work(loaded: Profile, options: RunOptions) -> Report:
        return await apply_once(loaded, plan, options)

    return _blocking(partial(given_profile, profile, overrides, None, None, {}), ask_first, added, work, stop)


def _blocking(
    load: Callable[[], Profile],
    ask: Callable[[Profile], Profile],
    added: Additions,
    work: Callable[[Profile, RunOptions], Awaitable[T]],
    stop: Stop | None,
) -> T:
    """Load the profile and do ``work`` under trio. In the main thread, signals stop it.

    A signal that arrives while the profile is read drains the run before it begins. During a prompt for a password,
    Ctrl-C acts as at any prompt.
    """
    require_no_trio()
    shutdown = Shutdown()

    async def main(known: Profile | None = None) -> T | Profile:
        profile = await trio.to_thread.run_sync(load) if known is None else known
        shutdown.allow(profile.shutdown.drain, profile.shutdown.cancel)
        asks = known is None and (profile.target.is_asking or profile.source.is_asking)
        if asks and not shutdown.draining.is_set():
            return profile
        return await work(profile, added.options(profile, shutdown))

    result = run_stoppable(main, [shutdown], stop)
    if isinstance(result, Profile):
        result = run_stoppable(partial(main, ask(result)), [shutdown], stop)
        assert not isinstance(result, Profile)
    return result


def run_stoppable(main: Callable[[], Awaitable[T]], shutdowns: Sequence[Shutdown], stop: Stop | None = None) -> T:
    """Do ``main`` under trio, and stop it with ``shutdowns``: by ``stop`` and, in the main thread, by signals."""

    async def stoppable() -> T:
        with ExitStack() as stack:
            if stop is not None:
                for shutdown in shutdowns:
                    stack.enter_context(stop._stopping(shutdown))
            return await main()

    if threading.current_thread() is not threading.main_thread():
        return trio.run(stoppable)

    def all_of_them(step: Callable[[Shutdown], object]) -> None:
        for shutdown in shutdowns:
            step(shutdown)

    steps = [
        Step(partial(all_of_them, Shutdown.drain), lambda: max(it.longest for it in shutdowns)),
        Step(partial(all_of_them, lambda it: it.cancel(within=CANCEL_SECONDS)), LEAVE_SECONDS),
        Step(partial(all_of_them, Shutdown.now), LEAVE_SECONDS),
    ]
    return StopRequests(steps, leave=_abandon).run(stoppable)


def require_no_trio() -> None:
    """Raise `RuntimeError` if trio is running in this thread: a call that blocks would stop it."""
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("trio is running in this thread; use actorsync.open_sync, or call this in another thread")


def _abandon(_: int) -> NoReturn:
    raise KeyboardInterrupt("the run could not be stopped, and continues in a background thread")
