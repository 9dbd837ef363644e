"""How a run ends: its report, its exit code, its error text, the hook ``after_run``, and the event `Stopped`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from actorsync.actors.pipeline import Hook
from actorsync.actors.planner.audits import Audits
from actorsync.actors.planner.planner import Planner
from actorsync.actors.stages import blamed
from actorsync.assembly import Actors
from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint
from actorsync.errors import DRIFTED, ActorsyncError, GuardRefused, HookFailed, StageFailed, TargetUnreachable
from actorsync.model.event import Stopped, Warned
from actorsync.model.report import Report
from actorsync.planning.publishing.canary import PASSED
from actorsync.policy import RunOptions

if TYPE_CHECKING:
    from actorsync.pair_assembly import PairActors

__all__ = ["Ending", "is_from_outside", "the_cause"]


@frozen(eq=False)
class Ending:
    """The end of a run over ``actors``, whichever way it ends."""

    actors: Actors | PairActors
    target: Endpoint
    options: RunOptions
    started_at: float
    """When the run began, in seconds since the epoch."""
    began: float
    """The same moment on trio's clock, in seconds."""

    async def after(self, run: Callable[[], Awaitable[None]]) -> Report:
        """Await ``run()``, then report how it ended, whatever it raises. `Stopped` is published last.

        Raises what ``run()`` or the hook ``after_run`` raises, except refusals, which only the report tells.
        """
        error: BaseException | None = None
        try:
            await run()
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is reported first and raised afterwards
            error = the_cause(raised)
        report = self._report(error)
        try:
            await self._call_after_run(report)
            if await self._is_cut_short(report):
                report = self._report(error)
        except BaseException as raised:  # noqa: BLE001 - as above
            if error is None:
                error = the_cause(raised)
                report = self._report(error)
        self.actors.recorder.publish(Stopped(report))
        error = error or self.actors.recorder.failure.error
        if error is not None and (isinstance(error, StageFailed) or not isinstance(error, ActorsyncError)):
            raise error
        return report

    def _report(self, error: BaseException | None) -> Report:
        planner, shutdown, tally = self.actors.planner, self.options.shutdown, self.actors.recorder.tally
        audits, one_way = self._audits, planner if isinstance(planner, Planner) else None
        return tally.report(
            exit_code=self._exit_code(error),
            started_at=self.started_at,
            seconds=trio.current_time() - self.began,
            left=planner.planned - tally.settled,
            left_is_minimum=not planner.is_planned,
            left_out=attrs.evolve(tally.left_out, foreign=0 if one_way is None else one_way.foreign),
            drifted=0 if audits is None else len(audits.drifted),
            is_partial=self.options.within is not None,
            is_audit=self.options.policy.audit is not None and self.options.policy.audit.is_alone,
            looked_at=None if audits is None else audits.looked_at,
            held=0 if one_way is None else one_way.held,
            drained=shutdown.draining.is_set() and not planner.is_complete,
            cancelled=shutdown.cancelling.is_set() or is_from_outside(error),
            error=self._error_text(error),
        )

    @property
    def _audits(self) -> Audits | None:
        """What the run has found on a target that it knew; None if it did not look, or looks at both sides anyway."""
        planner = self.actors.planner
        return planner.audits if isinstance(planner, Planner) else None

    def _exit_code(self, error: BaseException | None) -> int:
        shutdown, tally = self.options.shutdown, self.actors.recorder.tally
        if is_from_outside(error) or (error is None and shutdown.cancelling.is_set()):
            return 130
        if error is not None:
            return error.exit_code if isinstance(error, ActorsyncError) else ActorsyncError.exit_code
        if not self.actors.planner.is_complete:
            return 3 if shutdown.draining.is_set() else TargetUnreachable.exit_code
        if tally.refused is not None:
            return GuardRefused.exit_code
        if tally.failures.count or tally.conflicts or tally.releases.why_not is not None:
            return 1
        audits = self._audits
        return DRIFTED if audits is not None and audits.drifted else 0

    def _error_text(self, error: BaseException | None) -> str | None:
        if is_from_outside(error):
            return None
        if error is not None:
            return str(error) if isinstance(error, ActorsyncError) else f"{type(error).__name__}: a bug in actorsync"
        if not self.actors.planner.is_complete and not self.options.shutdown.draining.is_set():
            reasons = [str(it.retired) for it in self.actors.connections if it.retired is not None]
            return f"{self.target.display} could not be reached: {reasons[-1]}" if reasons else "the run ended early"
        return None

    async def _call_after_run(self, report: Report) -> None:
        """Await the hook ``after_run`` if the run changed anything. In a run that is stopped, its time is limited."""
        hook = self.options.pipeline.after_run
        changes = report.copied + report.moved + report.removed + report.directories_made + report.modes_set
        if hook is None or not changes:
            return
        if not await self._has_returned(partial(hook, report), "after_run", is_cancelled=report.cancelled):
            text = "the hook after_run was cancelled: it did not return in the time that a stop allows"
            self.actors.recorder.publish(Warned(text))

    async def _is_cut_short(self, report: Report) -> bool:
        """Make the last check of a run that leaves the target in sync. Return whether the user cancels it meanwhile.

        An audit makes none. Raises what the check raises.
        """
        hook = self.options.pipeline.last_check
        if hook is None or report.is_audit or report.exit_code not in PASSED:
            return False
        has_returned = await self._has_returned(hook, "last_check", is_cancelled=report.cancelled)
        if has_returned or self.options.shutdown.cancelling.is_set():
            return not has_returned
        raise HookFailed("the last check was stopped before its end")

    async def _has_returned(self, hook: Hook, name: str, *, is_cancelled: bool) -> bool:
        """Await a hook; in a run that is stopped, for a limited time. Return whether it has returned in it."""
        shutdown = self.options.shutdown
        has_returned = False
        if is_cancelled:
            with shutdown.cleanup(), blamed(f"the hook {name}"):
                await hook()
                has_returned = True
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shutdown.enforce, nursery.cancel_scope)
                with blamed(f"the hook {name}"):
                    await hook()
                    has_returned = True
                nursery.cancel_scope.cancel()
        return has_returned


def is_from_outside(error: BaseException | None) -> bool:
    """Return whether the caller ended the run: by a cancellation, alone or in a group, or by Ctrl-C."""
    return error is not None and not isinstance(error, Exception)


def the_cause(raised: BaseException) -> BaseException:
    """Return the exception that ended a run, out of the group that its nurseries raised.

    A bug comes before a refusal, and either comes before a cancellation, which is only a consequence.
    """

    def rank(leaf: BaseException) -> int:
        if isinstance(leaf, trio.Cancelled):
            return 2
        return 1 if isinstance(leaf, ActorsyncError) else 0

    first = min(_leaves(raised), key=rank)
    # A cancellation belongs to the caller's scope, and must reach it in the shape in which it came.
    return raised if isinstance(first, trio.Cancelled) else first


def _leaves(raised: BaseException) -> Iterator[BaseException]:
    if isinstance(raised, BaseExceptionGroup):
        for inner in raised.exceptions:
            yield from _leaves(inner)
    else:
        yield raised
