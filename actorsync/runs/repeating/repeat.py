"""Passes over a profile, one after the other, until stopped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from actorsync.actors.control import Control
from actorsync.actors.shutdown import Shutdown
from actorsync.classes import define
from actorsync.ending import the_cause
from actorsync.errors import ProfileError
from actorsync.model.report import Report
from actorsync.planning.watching.shrinking import Shrinking
from actorsync.policy import RunOptions
from actorsync.profile import Profile
from actorsync.runs.mirror import Mirror
from actorsync.runs.observing import observing
from actorsync.runs.options import options_for
from actorsync.runs.repeating.endings import GOES_ON

__all__ = ["BREATH", "WakeUp", "Wishes", "repeat", "require_repeatable", "run_forever"]

#: Seconds between the end of a pass and the next pass, at least.
BREATH: Final = 1.0

#: Returns when there is a reason to begin the next pass before its time. Called anew after each pass, and cancelled
#: when the next pass begins: a reason that came up during a pass is to be kept, and makes the next call return at once.
WakeUp = Callable[[], Awaitable[object]]


async def run_forever(profile: Profile, options: RunOptions | None = None, *, is_rebuilding: bool = False) -> int:
    """Mirror until stopped, as `watch_forever` does or every ``sync.every``; return the exit code.

    The journal stays locked between passes, and each secret is looked up once. With ``sync.every`` alone, the endpoints
    are new for each pass: a source that is a symbolic link is followed to its current target, and a password that was
    changed on the server is tried once. From the second pass on, paths that keep failing are parked for longer and
    longer, and the target is looked at every ``audit.every`` only: each look is a login. The removal guards count over
    all passes of an hour, see `Shrinking`.
    """
    require_repeatable(profile)
    options = attrs.evolve(options or options_for(profile), shrinking=Shrinking())
    async with observing(options) as observed:
        observed.control.has_next_pass = True
        try:
            if profile.sync.watch:
                from actorsync.runs.repeating.watched import watch_forever  # needed only here: other runs start faster

                return await watch_forever(Mirror(profile, observed, is_rebuilding))
            assert profile.sync.every is not None, "the profile does not say how often"
            return await _passes(profile, observed, profile.sync.every, is_rebuilding=is_rebuilding)
        finally:
            observed.control.has_next_pass = False


async def _passes(profile: Profile, options: RunOptions, period: float, *, is_rebuilding: bool) -> int:
    first = Mirror(profile, options, is_rebuilding)
    # The user waits for the first pass, and may have mended what failed before. Later passes are patient.
    later = first.with_policy(is_patient=True)
    trusting = later.with_policy(audit=None)
    async with first.ready() as (journal, secrets):
        if first.is_stopped:
            return first.unbegun().exit_code
        mirror, due, wishes = first, trio.current_time(), Wishes(options.control)

        async def one_pass() -> Report:
            nonlocal mirror, due
            wishes.take()
            is_due = trio.current_time() >= due
            if is_due:
                due = trio.current_time() + profile.audit.every
            report = await (mirror if is_due else trusting).one_pass(journal, secrets)
            mirror = later
            return report

        return await repeat(one_pass, period, options.shutdown, wishes.until_any, options.control.until_resumed)


@define(eq=False)
class Wishes:
    """Why the next pass is to begin before its time: a rescan, or a path to try that no pass has been begun for."""

    control: Control
    _retries: set[str] = attrs.Factory(set)
    """The paths that the last pass was to try. It may have ended before it could."""

    def take(self) -> None:
        """Take note that a pass begins, which looks at the whole source and tries the paths."""
        self.control.take_rescan()
        self._retries = set(self.control.retries)

    async def until_any(self) -> None:
        """Return when there is one."""
        while not (self.control.is_rescan_due or self.control.retries - self._retries):
            await self.control.changed()


def require_repeatable(profile: Profile) -> None:
    """Check that each pass can log in by itself. Raises `ProfileError` if one would need a code that is typed."""
    for table, codes in (("source", profile.source.ways.codes), ("target", profile.target.ways.codes)):
        if codes is not None and codes.is_asking:
            raise ProfileError(
                f"{profile.path}: {table}.otp: a run that repeats needs new codes for its logins, and a prompt gives "
                'only one; use otp = { command = ["..."] }, or run with --once'
            )


async def repeat(
    one_pass: Callable[[], Awaitable[Report]],
    period: float,
    shutdown: Shutdown,
    wake_up: WakeUp = trio.sleep_forever,
    until_resumed: WakeUp = trio.lowlevel.checkpoint,
) -> int:
    """Make passes, one after the other, until stopped; return the exit code of the run.

    A pass begins ``period`` seconds after the last one began, or earlier when ``wake_up()`` returns, but never sooner
    than `BREATH` seconds after the last one ended, nor before ``until_resumed()`` returns. Passes that were missed are
    not made up for.

    A pass that failed is followed by another, unless the failure is permanent: a refused login, or a fatal error. Then
    the exit code is that of the pass. A drain during a pass ends with that pass and its exit code. A drain between two
    passes ends at once, with 0. What ``wake_up()`` raises is raised.
    """
    while True:
        began = trio.current_time()
        report = await one_pass()
        if shutdown.draining.is_set() or report.exit_code not in GOES_ON:
            return report.exit_code
        if await _is_stopped_before(began + period, shutdown, wake_up, until_resumed):
            return 0


async def _is_stopped_before(due: float, shutdown: Shutdown, wake_up: WakeUp, until_resumed: WakeUp) -> bool:
    """Wait until the next pass may begin, and return False; or until a drain is requested, and return True."""
    earliest = trio.current_time() + BREATH
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_stopped, nursery.cancel_scope, shutdown)
            with trio.move_on_at(max(due, earliest)):
                await wake_up()
                await trio.sleep_until(earliest)
            await until_resumed()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise the_cause(group) from None
    return shutdown.draining.is_set()


async def _cancel_when_stopped(scope: trio.CancelScope, shutdown: Shutdown) -> None:
    await shutdown.draining.wait()
    scope.cancel()
