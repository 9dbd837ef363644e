"""The connection: owns one session to the target, and the lanes that work over it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from actorsync.actors.backoff import Failures, restarting
from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.facts import FactChannel
from actorsync.actors.connections.lane import LOSSES, Lane
from actorsync.actors.connections.pool import AfterRejection, Pool, Role
from actorsync.actors.messages import holding
from actorsync.actors.statistics import ConnectionLevel, LaneLevel
from actorsync.classes import define
from actorsync.endpoints.contract import Session, traits_of
from actorsync.endpoints.releases import free_space
from actorsync.errors import ConnectionLost, LoginRefused, OwnLimit, TargetUnreachable, TooManyConnections
from actorsync.model.event import (
    BreakerOpened,
    Connected,
    Learned,
    LoginDeferred,
    Reconnecting,
    Resized,
    Resumed,
    Retired,
    Warned,
)
from actorsync.model.operation import Batch
from actorsync.model.text import counted

__all__ = ["Connection"]


@define(eq=False)
class Connection:
    """Connection number ``level.number`` of a run. It connects when there is work, and then stays connected.

    It has as many lanes as the target lets one session carry at once. The lanes share the session and nothing else:
    each takes operations by itself. A lost session is lost for all lanes, and all go on over the next one. What a lane
    has in hand survives; see `Lane`.
    """

    context: ConnectionContext
    level: ConnectionLevel
    retired: ConnectionLost | None = attrs.field(default=None, init=False)
    """Why the connection gave up; None as long as it has not."""
    _facts: FactChannel = attrs.field(init=False)
    _lanes: Sequence[Lane] = attrs.field(init=False)
    _failures: Failures = attrs.field(factory=Failures, init=False)
    """Failed attempts since the last success, as `restarting` counts them."""
    _is_lost: bool = attrs.field(default=False, init=False)
    """Whether a lane has found the current session lost."""
    _was_connected: bool = attrs.field(default=False, init=False)
    """Whether the last attempt to connect succeeded."""
    _outages: int = attrs.field(default=0, init=False)
    """`Pool.outages` when the session was opened."""

    def __attrs_post_init__(self) -> None:
        self.level.lanes[:] = [LaneLevel() for _ in range(self.context.target.capabilities.lanes)]

    @property
    def _pool(self) -> Pool:
        return self.context.pool

    async def run(self, operations: trio.MemoryReceiveChannel[Batch], facts: FactChannel) -> None:
        """Work until ``operations`` ends, or until the target cannot be reached; then ``retired`` says why.

        Raises `TargetUnreachable` if no other connection is left to go on. The target is down, and connections that
        have not been opened yet need not try it one after the other.
        """
        self._facts = facts
        self._lanes = [Lane(self.context, level, operations, facts, self.level.number) for level in self.level.lanes]
        with holding(operations, facts):
            is_last = False
            try:
                await restarting(self._serve, self.context.backoff, self._pause)
                self.level.state = "done"
            except ConnectionLost as error:
                self.retired = error
                # The run ends with the last connection, unless it is draining, or a login in progress succeeds.
                is_last = not (self.context.shutdown.draining.is_set() or self._pool.connected)
                if is_last:
                    self._pool.forbid_logins()
            finally:
                self._pool.leave(self.level.number)
            if self.retired is not None:
                await self._retire(self.retired, is_last=is_last)

    async def _retire(self, error: ConnectionLost, *, is_last: bool) -> None:
        self.level.state = "retired"
        await self._give_back(str(error))
        await self._facts.send(Retired(self.level.number, str(error)))
        if is_last and not self._pool.connected:
            tries = self.context.backoff.tries
            after = f" after {counted(tries, 'attempt')}" if self._failures.count >= tries else ""
            raise TargetUnreachable(f"{self.context.target.display} could not be reached{after}: {error}")

    async def _serve(self, failures: Failures) -> None:
        self._failures = failures
        while await self._has_turn():
            try:
                await self._connect()
            except TooManyConnections as error:
                if not await self._is_settled(error):
                    raise
            else:
                if not self._has_left:
                    return
                self._pool.leave(self.level.number)

    @property
    def _has_left(self) -> bool:
        """Whether the session ended because there are to be fewer connections."""
        return any(lane.has_left for lane in self._lanes)

    async def _has_turn(self) -> bool:
        """Wait until there is work for this connection, and room for it; return False when there will be no more."""
        while True:
            self.level.state = "idle"
            if not self._has_work:
                role = await self._pool.reserve(self.level.number)
                if role is None:
                    return False
                if role is Role.FIRST and not await self._lanes[0].take():
                    self._pool.close()
                    return False
            if await self._pool.may_log_in(self.level.number, has_work=self._has_work):
                return True
            self._pool.leave(self.level.number)
            await self._give_back("the limit of connections is reached")

    @property
    def _has_work(self) -> bool:
        return any(lane.has_work for lane in self._lanes)

    # One session.

    async def _connect(self) -> None:
        """Connect, and work until there is no more to do."""
        self.level.state = "connecting"
        self._is_lost = self._was_connected = False
        try:
            async with self.context.target.open_session() as target:
                self.level.is_connected = self._was_connected = True
                self._outages = self._pool.outages
                self.level.state = "connected"
                await self._report_connected(target)
                await self._work_one_at_a_time(target)
                self._pool.request(self._lanes[0].waiting)
                await self._work(target)
                await self._report_warnings(target)  # some things only the work shows
                await self._report_learned()
                if not self._has_left:
                    self._pool.close()  # the channel of operations has ended
        except LoginRefused:
            self._pool.forbid_logins()
            raise
        finally:
            self.level.is_connected = False
            self._pool.note_lost(self.level.number)

    async def _report_connected(self, target: Session) -> None:
        """Report that the login succeeded, and what follows from that."""
        pool, before = self._pool, self._known_size
        is_back = pool.note_connected(self.level.number)
        pool.sizing.accepted(len(pool.connected))
        await self._facts.send(Connected(self.level.number, self.context.target.display))
        if is_back:
            await self._facts.send(Resumed("down"))
        await self._report_size("the server accepted one more", before)
        room = self.context.statistics.room
        if self.context.is_burst and not room.is_told.is_set():
            room.tell(await free_space(target))
        await self._report_warnings(target)
        await self._report_learned()

    async def _report_warnings(self, target: Session) -> None:
        """Report what the user should know. The work of a session adds to it; each text is shown once in a run."""
        for text in (*self.context.warnings, *target.warnings()):
            await self._facts.send(Warned(text))

    async def _report_learned(self) -> None:
        """Report what the session has shown of the server, for the journal."""
        for name, text in traits_of(self.context.target).take_news():
            await self._facts.send(Learned(self.context.side, name, text))

    async def _is_settled(self, error: TooManyConnections) -> bool:
        """Handle a rejected login if other connections are open. Return False if it counts as a failed attempt.

        No operation is at fault. The work in hand is given back, or kept if the login is repeated soon.
        """
        if self._was_connected and not isinstance(error, OwnLimit):
            return False
        before = self._known_size
        decision = self._pool.note_rejected(self.level.number, error)
        if decision is AfterRejection.RETRY:
            await self._facts.send(LoginDeferred(self.level.number, str(error)))
        elif decision is AfterRejection.LEAVE:
            await self._report_size(str(error), before)
            await self._give_back(str(error))
        return decision is not AfterRejection.BACK_OFF

    @property
    def _known_size(self) -> tuple[int, int | None]:
        return self._pool.sizing.size, self._pool.sizing.ceiling

    async def _report_size(self, reason: str, before: tuple[int, int | None]) -> None:
        """Report the size of the pool if it differs from ``before``."""
        size, ceiling = self._known_size
        if (size, ceiling) != before:
            await self._facts.send(Resized(size, ceiling, reason, before[0]))

    async def _give_back(self, reason: str) -> None:
        for lane in self._lanes:
            await lane.give_back(reason)

    # Working, and losing the session.

    async def _work_one_at_a_time(self, target: Session) -> None:
        """After several losses in a row, let the lanes finish one after the other: this shows which one causes them."""
        for lane in self._lanes:
            if lane.has_work and lane.losses >= 2:
                try:
                    await lane.serve(target, self._failures.reset, lambda: self._is_lost, takes_more=False)
                except ConnectionLost:
                    lane.note_loss()
                    raise

    async def _work(self, target: Session) -> None:
        """Run all lanes. When one finds the session lost, all end; raises the `ConnectionLost` of that one."""
        try:
            async with trio.open_nursery() as nursery:
                for lane in self._lanes:
                    nursery.start_soon(self._run_lane, lane, target)
        except BaseExceptionGroup as group:
            lost, others = group.split(ConnectionLost)
            if lost is None or others is not None:
                raise
            error: BaseException = lost
        else:
            return
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        for lane in self._lanes:
            lane.note_loss()
        raise error

    async def _run_lane(self, lane: Lane, target: Session) -> None:
        try:
            await lane.serve(target, self._failures.reset, lambda: self._is_lost)
        except ConnectionLost:
            self._is_lost = True
            raise

    async def _pause(self, error: ConnectionLost, delay: float) -> bool:
        """Wait before the next attempt. Return False if there must be none.

        That is when the run is draining, or when a login that worked before was rejected too often.
        """
        await self._report_learned()
        if self._pool.note_failure(self.level.number, error):
            await self._facts.send(BreakerOpened("down", str(error), delay))
        if self._pool.is_locked_out:
            return False
        self.level.state = "reconnecting"
        await self._facts.send(Reconnecting(self.level.number, str(error), delay))
        with trio.move_on_after(delay):
            await self.context.shutdown.draining.wait()
        for lane in self._lanes:
            if self._pool.outages > self._outages:  # all connections were lost together: no operation caused that
                lane.losses = 0
            if lane.losses >= LOSSES and lane.has_work:
                await lane.give_up(error)
        return not self.context.shutdown.draining.is_set()
