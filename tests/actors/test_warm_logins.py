"""Runs that follow changes of their sources, at one account: idle sessions count, and make room for those with work.

Trees in memory, virtual time.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.endpoints.wrappers.warm import WarmEndpoint
from actorsync.model.event import Retired
from actorsync.planning.admission.ceiling import Ceiling, Share, Shares
from tests.actors.test_several_targets import POLICY, At, Run, Server, taking


class _Lasting(SessionWrapper):
    async def keep_alive(self) -> None:
        await trio.sleep(0.05)


@attrs.define(eq=False)
class Lasting(EndpointWrapper[Endpoint]):
    """A place whose sessions may stay open, and take a moment to say goodbye."""

    async def _goodbye(self) -> None:
        await trio.sleep(0.1)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _Lasting(session)
            await self._goodbye()


@attrs.define(eq=False)
class Follower:
    """A run that makes pass after pass, over sessions that stay open."""

    ceiling: Ceiling
    server: Server
    limit: int
    rng: random.Random
    passes: int = 0
    cold: int = 0
    """Passes that began without a session."""

    async def follow(self, count: int) -> None:
        source, shares = MemoryEndpoint("source"), Shares(Share(self.ceiling, object()))
        shares.join()
        real = Lasting(At(taking(MemoryEndpoint("target"), {"stage": 0.5}), self.server))
        target = WarmEndpoint(real, 60.0, shares.target)
        run = Run(target, attrs.evolve(POLICY, connections=self.limit), shares)
        async with trio.open_nursery() as hold:
            await hold.start(target.run)
            while self.passes < count:
                for number in range(self.rng.choice([1, 3, 40])):
                    source.write(f"d{number % 5}/{number}", b"%d" % self.passes * 9)
                target.start_pass(self.limit)
                self.cold += not target.open_sessions
                await run.once(source)
                assert run.exit_code == 0
                assert not [event for event in run.events if isinstance(event, Retired)]
                self.passes += 1
                await trio.sleep(self.rng.choice([0.1, 2.0, 20.0]))
            await target.end()


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("allows", [1, 2, 4])
async def test_runs_with_idle_sessions_never_have_too_many_logins(
    autojump_clock: MockClock, count: int, allows: int
) -> None:
    server, ceiling = Server(allows), Ceiling(allows)
    rng = random.Random(count)
    runs = [Follower(ceiling, server, allows, rng) for _ in range(count)]
    with trio.fail_after(20_000):
        async with trio.open_nursery() as nursery:
            for run in runs:
                nursery.start_soon(run.follow, 8)
    assert (server.most, server.rejected, server.open) == (allows, 0, 0)
    assert ceiling.total == 0
    if count < allows:
        assert sum(run.cold for run in runs) < 8 * count, "sessions are kept where there is room"


@pytest.mark.parametrize("allows", [1, 2, 3])
async def test_server_that_allows_fewer_than_the_profile_serves_all_runs(
    autojump_clock: MockClock, allows: int
) -> None:
    server, ceiling = Server(allows), Ceiling(4)
    runs = [Follower(ceiling, server, 4, random.Random(allows)) for _ in range(3)]
    with trio.fail_after(20_000):
        async with trio.open_nursery() as nursery:
            for run in runs:
                nursery.start_soon(run.follow, 8)
    assert server.most == allows
    assert server.open == 0
