"""Mirroring a profile whenever its source changes: the watch, the passes, and the sessions that stay open between."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import trio

from actorsync.actors.watching.watcher import Watcher
from actorsync.classes import define
from actorsync.ending import the_cause
from actorsync.endpoints import polling
from actorsync.endpoints.contract import Endpoint, Source
from actorsync.endpoints.wrappers.warm import WarmEndpoint
from actorsync.journal import Journal
from actorsync.model.event import Event, PassBegan
from actorsync.model.operation import Side
from actorsync.model.report import Report
from actorsync.planning.admission.ceiling import Share, Shares
from actorsync.planning.pairs.settling import Settling
from actorsync.planning.selection import Selection
from actorsync.planning.watching.agenda import Agenda, Left, Turn
from actorsync.profile import BothSecrets, Profile
from actorsync.runs.mirror import Mirror, Places
from actorsync.runs.open_endpoints import open_source, open_target
from actorsync.runs.repeating.endings import Aftermath
from actorsync.runs.repeating.watch import WatchLoop

__all__ = ["watch_forever", "watch_sides"]

#: What the spread of full passes is where the user says how often they are: none.
_EXACTLY: Final = 0.5

#: Seconds of rest that a canary waits for beside ``watch.settle``.
_AFTER_OTHERS: Final = 0.05


async def watch_forever(mirror: Mirror) -> int:
    """Mirror the whole source, and then each change of it, until stopped; return the exit code.

    A full pass follows every ``sync.every`` or, without it, about every ``watch.reconcile-every``. The journal stays
    locked, each secret is looked up once, and sessions stay logged in for ``watch.idle`` after their use.
    """
    mirror = mirror.with_policy(delete_settle=mirror.profile.watch.delete_settle)
    if mirror.options.policy.pair is not None:
        settling = Settling(mirror.profile.watch.delete_settle)
        mirror = attrs.evolve(mirror, options=attrs.evolve(mirror.options, settling=settling))
    async with mirror.ready() as (journal, secrets):
        if mirror.is_stopped:
            return mirror.unbegun().exit_code
        async with _places_kept(mirror, secrets or BothSecrets()) as places:
            passes = _Passes(mirror, journal, secrets, places)
            agenda = mirror.options.upcoming.agenda = agenda_of(mirror.profile)
            loop = WatchLoop(agenda, mirror.options.shutdown, mirror.options.control)
            source, target = await places.open()

            def wake() -> None:
                places.refresh()  # while the source comes to rest
                loop.wake()

            changing = [source] if mirror.options.policy.pair is None else [source, target]
            watch = partial(watch_sides, changing, mirror.options.policy.selection, agenda, mirror.publish, wake)
            code = await loop.run(watch, passes.one)
        return mirror.unbegun().exit_code if code is None else code


async def watch_sides(
    sides: Sequence[Source],
    selection: Selection,
    agenda: Agenda,
    publish: Callable[[Event], None],
    wake: Callable[[], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Watch the source, and the target too where it may change, and hint the agenda at what has changed on either.

    ``task_status`` is started when no change is missed any more.
    """
    async with trio.open_nursery() as nursery:
        for side, place in zip(Side, sides, strict=False):
            real = place.real if isinstance(place, WarmEndpoint) else place  # polling keeps a session of its own
            watch = partial(polling.watch, real, selection, side.value)
            await nursery.start(Watcher(watch, agenda, publish, wake).run)
        task_status.started()


def agenda_of(profile: Profile) -> Agenda:
    """Return the agenda of a run that begins, as the profile says."""
    watch, every = profile.watch, profile.sync.every
    # Others wait for a pass of the canary that began no earlier than their own: it lets them go first.
    settle = watch.settle + _AFTER_OTHERS if profile.is_canary else watch.settle
    spread: Callable[[], float] = random.random if every is None else lambda: _EXACTLY
    return Agenda(settle, watch.settle_max, every or watch.reconcile_every, spread)


@define(eq=False)
class _Places:
    """Source and target of all passes. ``hold`` keeps the sessions of a `WarmEndpoint` open."""

    profile: Profile
    secrets: BothSecrets
    hold: trio.Nursery
    shares: Shares
    _source: WarmEndpoint | None = None
    _target: WarmEndpoint | None = None

    def source(self) -> Endpoint:
        """Return the source as it is now. One on this machine is found anew: it may be behind a link."""
        return self._source or open_source(self.profile, self.secrets)

    async def open(self) -> Places:
        """Return source and target for the next pass."""
        if self._source is None and self.profile.source.is_remote:
            self._source = await self._warm(open_source(self.profile, self.secrets), self.shares.source)
        if self._target is None and self.profile.target.is_remote:
            self._target = await self._warm(open_target(self.profile, self.secrets), self.shares.target)
        return self.source(), self._target or open_target(self.profile, self.secrets)

    async def _warm(self, real: Endpoint, share: Share) -> WarmEndpoint:
        warm = WarmEndpoint(real, self.profile.watch.idle, share)
        await self.hold.start(warm.run)
        return warm

    @property
    def _open(self) -> Sequence[WarmEndpoint]:
        return [it for it in (self._source, self._target) if it is not None]

    def refresh(self) -> None:
        """Ask the idle sessions of the target whether they still work."""
        if self._target is not None:
            self._target.refresh()

    def start_pass(self, most: int) -> None:
        """Forget what was seen of the trees, and let go of idle sessions above the limit."""
        for warm in self._open:
            warm.start_pass(most)

    async def replace(self) -> None:
        """Close everything. The next pass begins with new endpoints.

        An endpoint whose login worked once tries a rejected one again. A new one takes the first rejection for final:
        so a password that was changed is tried a few times, and not for ever.
        """
        async with trio.open_nursery() as nursery:
            for warm in self._open:
                nursery.start_soon(warm.end)
        self._source = self._target = None


@asynccontextmanager
async def _places_kept(mirror: Mirror, secrets: BothSecrets) -> AsyncIterator[_Places]:
    try:
        async with trio.open_nursery() as hold:
            places = _Places(mirror.profile, secrets, hold, mirror.options.shares)
            yield places
            if not mirror.options.shutdown.cancelling.is_set():
                await places.replace()
            hold.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise the_cause(group) from None


@define(eq=False)
class _Passes:
    """Makes the passes of one profile."""

    first: Mirror
    journal: Journal
    secrets: BothSecrets | None
    places: _Places
    _is_first: bool = True
    _audit_at: float = attrs.Factory(trio.current_time)

    async def one(self, turn: Turn) -> tuple[Report, Left]:
        """Make a pass, and return its report and what it has left undone."""
        directories = None if turn.within is None else tuple(sorted(turn.within))
        self.first.publish(PassBegan(turn.reason, directories))
        options = self.first.options
        after = Aftermath(options.clock.wall_ns)
        mirror = self._mirror(turn)
        of_pass = attrs.evolve(mirror.options, within=turn.within, observers=[*options.observers, after.observe])
        places = await self.places.open()
        self.places.start_pass(options.control.connections or options.policy.connections)
        report = await attrs.evolve(mirror, options=of_pass).one_pass(self.journal, self.secrets, places)
        left = after.left(report)
        if left.is_unreachable:
            await self.places.replace()
        return report, left

    def _mirror(self, turn: Turn) -> Mirror:
        """Return the mirror of a pass. The user waits for the first one, and may have mended what failed before."""
        later = self.first.with_policy(is_patient=not self._is_first)
        self._is_first = False
        now = trio.current_time()
        if turn.within is None and now >= self._audit_at:
            self._audit_at = now + self.first.profile.audit.every
            return later
        return later.with_policy(audit=None)
