"""The connection: owns one session to the target, and the lanes that work over it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from actorsync.actors.backoff import Lives, restarting
from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.lane import LOSSES, Lane
from actorsync.actors.connections.pool import Place, Role
from actorsync.actors.messages import Fact, holding
from actorsync.actors.statistics import ConnectionLevel, LaneLevel
from actorsync.endpoints.contract import Session
from actorsync.errors import ConnectionLost, LoginRefused, OwnLimit, TargetUnreachable, TooManyConnections
from actorsync.model.event import (
    BreakerOpened,
    Connected,
    LoginDeferred,
    Reconnecting,
    Resized,
    Resumed,
    Retired,
    Warned,
)
from actorsync.model.operation import Batch

__all__ = ["Connection"]


@attrs.define(eq=False)
class Connection:
    """Connection number ``level.number`` of a run. Connects when there is something to do, and stays connected.

    It has as many lanes as the target lets one session carry at once. They share the session and nothing else: each
    takes operations by itself. When the session is lost they all lose it, and go on together over the next one.
    """

    context: ConnectionContext
    level: ConnectionLevel
    retired: ConnectionLost | None = None
    """Why this connection gave up, once it has."""
    _facts: trio.MemorySendChannel[Fact] = attrs.field(init=False)
    _lanes: Sequence[Lane] = attrs.field(init=False)
    _is_lost: bool = False
    _was_let_in: bool = False
    _outages: int = 0

    def __attrs_post_init__(self) -> None:
        self.level.lanes[:] = [LaneLevel() for _ in range(self.context.target.capabilities.lanes)]
        self._lanes = [Lane(self.context, level) for level in self.level.lanes]

    async def run(self, operations: trio.MemoryReceiveChannel[Batch], facts: trio.MemorySendChannel[Fact]) -> None:
        """Work until ``operations`` ends, or until the other side stays away; then ``retired`` says why.

        Raises `TargetUnreachable` when no other connection is there to go on: what one could not reach in all its
        tries, the others need not try all over again, one after the other.
        """
        self._facts = facts
        for lane in self._lanes:
            lane.hold(operations, facts)
        with holding(operations, facts):
            try:
                await restarting(self._serve, self.context.backoff, self._pause)
                self.level.state = "done"
            except ConnectionLost as error:
                self.retired = error
                # The run ends with the last of us, unless that was asked for anyhow, or one comes in after all.
                if is_the_last := not (self.context.shutdown.draining.is_set() or self.context.pool.connected):
                    self.context.pool.bar()
            finally:
                self.context.pool.left(self.level.number)
            if self.retired is not None:
                self.level.state = "retired"
                await self._give_back(str(self.retired))
                await facts.send(Retired(self.level.number, str(self.retired)))
                if is_the_last and not self.context.pool.connected:
                    raise TargetUnreachable(f"{self.context.target.display} stayed away: {self.retired}")

    async def _serve(self, lives: Lives) -> None:
        while await self._has_work():
            try:
                await self._connect(lives)
            except TooManyConnections as error:
                if not await self._make_room(error):
                    raise
            else:
                return

    async def _has_work(self) -> bool:
        """Wait until there is room for a connection, and work for it; False when there will be nothing more."""
        while True:
            self.level.state = "idle"
            if not self._has_something:
                role = await self.context.pool.reserve(self.level.number)
                if role is None:
                    return False
                if role is Role.SCOUT and not await self._lanes[0].receive():
                    self.context.pool.close()
                    return False
            if await self.context.pool.turn(self.level.number, has_something=self._has_something):
                return True
            self.context.pool.left(self.level.number)
            await self._give_back("there are as many connections as there may be")

    @property
    def _has_something(self) -> bool:
        return any(lane.has_something for lane in self._lanes)

    async def _connect(self, lives: Lives) -> None:
        """Connect, and work until there is no more to do."""
        self.level.state = "connecting"
        self._is_lost = self._was_let_in = False
        try:
            async with self.context.target.open_session() as target:
                self.level.is_connected = self._was_let_in = True
                self._outages = self.context.pool.outages
                self.level.state = "connected"
                await self._announce()
                for text in target.warnings():
                    await self._facts.send(Warned(text))
                await self._recover(target, lives)
                self.context.pool.want(self._lanes[0].waiting)
                await self._work(target, lives)
                self.context.pool.close()  # it has taken everything that there was
        except LoginRefused:
            self.context.pool.bar()
            raise
        finally:
            self.level.is_connected = False
            self.context.pool.lost(self.level.number)

    async def _announce(self) -> None:
        """Tell everybody that the server has let us in, and what that means."""
        pool, before = self.context.pool, self._known_size
        is_back = pool.entered(self.level.number)
        pool.sizing.accepted(len(pool.connected))
        await self._facts.send(Connected(self.level.number, self.context.target.display))
        if is_back:
            await self._facts.send(Resumed("down"))
        await self._tell_size("one more was let in", before)

    async def _make_room(self, error: TooManyConnections) -> bool:
        """Leave the work to the connections that there are, if there are any; True when that is settled.

        No operation is at fault: what is in hand is given back, or kept when this connection will soon be let in.
        """
        if self._was_let_in and not isinstance(error, OwnLimit):
            return False
        before = self._known_size
        place = self.context.pool.turned_away(self.level.number, error)
        if place is Place.WAITING:
            await self._facts.send(LoginDeferred(self.level.number, str(error)))
        elif place is Place.OUTSIDE:
            await self._tell_size(str(error), before)
            await self._give_back(str(error))
        return place is not Place.ALONE

    @property
    def _known_size(self) -> tuple[int, int | None]:
        return self.context.pool.sizing.size, self.context.pool.sizing.ceiling

    async def _give_back(self, reason: str) -> None:
        for lane in self._lanes:
            await lane.give_back(reason)

    async def _tell_size(self, reason: str, before: tuple[int, int | None]) -> None:
        """Announce a size that is another than before."""
        sizing = self.context.pool.sizing
        if (sizing.size, sizing.ceiling) != before:
            await self._facts.send(Resized(sizing.size, sizing.ceiling, reason, before[0]))

    async def _recover(self, target: Session, lives: Lives) -> None:
        """After connections were lost in a row, go on with one lane at a time: the one that it is over shows itself."""
        for lane in self._lanes:
            if lane.has_something and lane.losses >= 2:
                try:
                    await lane.serve(target, lives.succeeded, lambda: self._is_lost, takes_more=False)
                except ConnectionLost:
                    lane.note_loss()
                    raise

    async def _work(self, target: Session, lives: Lives) -> None:
        """Have all lanes work. When one loses the connection, all do; raises what the first has lost it by."""
        try:
            async with trio.open_nursery() as nursery:
                for lane in self._lanes:
                    nursery.start_soon(self._run_lane, lane, target, lives)
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

    async def _run_lane(self, lane: Lane, target: Session, lives: Lives) -> None:
        try:
            await lane.serve(target, lives.succeeded, lambda: self._is_lost)
        except ConnectionLost:
            self._is_lost = True
            raise

    async def _pause(self, error: ConnectionLost, delay: float) -> bool:
        """Wait before connecting again; False when there is no point in it: the run is being drained, or nobody of us
        is let in with what was good before.
        """
        if self.context.pool.is_away(self.level.number, error):
            await self._facts.send(BreakerOpened("down", str(error), delay))
        if self.context.pool.is_locked_out:
            return False
        self.level.state = "reconnecting"
        await self._facts.send(Reconnecting(self.level.number, str(error), delay))
        with trio.move_on_after(delay):
            await self.context.shutdown.draining.wait()
        for lane in self._lanes:
            if self.context.pool.outages > self._outages:  # by now the others have noticed, too
                lane.losses = 0
            if lane.losses >= LOSSES and lane.has_something:
                await lane.give_up(error)
        return not self.context.shutdown.draining.is_set()
