"""Which logins a two-way run makes, on trees in memory whose logins take a second of virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import ConnectionLost
from actorsync.model.entry import Listing
from actorsync.planning.pairs.sharing import FILE_WEIGHT, shared_out
from tests.support.two_way import TwoTrees, tree_of


@attrs.define(eq=False)
class Server(EndpointWrapper[Endpoint]):
    """A place with slow logins, whose sessions can stay open. ``began`` are the times at which logins began."""

    began: list[float] = attrs.Factory(list)
    listed: list[float] = attrs.Factory(list)
    open: int = 0
    most: int = 0

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        self.began.append(trio.current_time())
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await trio.sleep(1)
            async with self.real.open_session() as session:
                yield _Session(session, self)
        finally:
            self.open -= 1


class _Session(SessionWrapper):
    def __init__(self, real: Session, server: Server) -> None:
        super().__init__(real)
        self._server = server

    async def list_directory(self, directory: str) -> Listing:
        await trio.sleep(0.5)
        self._server.listed.append(trio.current_time())
        return await self._real.list_directory(directory)

    async def keep_alive(self) -> None:
        await trio.sleep(0.1)


async def agreed(lanes: int) -> TwoTrees:
    """Return two trees of the same directories, three deep, on which a first run has been made."""
    trees = TwoTrees(is_target_remote=True, lanes=lanes)
    for number in range(10):
        trees.source.write(f"{number}/x", b"x")
    trees.source.write("9/deep/deeper/x", b"x")
    await trees.run()
    trees.wait()
    return trees


@pytest.mark.parametrize("lanes", [1, 16])
async def test_what_the_scan_has_open_changes_the_side_afterwards(lanes: int, autojump_clock: MockClock) -> None:
    trees = await agreed(lanes)
    trees.source.write("0/x", b"new here")
    trees.target.write("1/x", b"new there")
    server = Server(trees.target)
    report = (await trees.run(target=server)).report
    assert (report.exit_code, report.copied) == (0, 2)
    assert tree_of(trees.source) == tree_of(trees.target)
    assert len(server.began) == server.most == 2, "no connection beyond the limit, and none is opened twice"
    assert server.began[-1] < server.listed[-1], "all logins begin while the scan goes on"
    assert server.open == 0


@pytest.mark.parametrize("is_plan", [False, True])
async def test_no_login_is_made_to_change_a_side_that_is_not_changed(is_plan: bool, autojump_clock: MockClock) -> None:
    trees = await agreed(lanes=16)
    if is_plan:
        trees.source.write("0/x", b"new here")
    server = Server(trees.target)
    await trees.run(target=server, is_plan=is_plan)
    assert len(server.began) == 1


async def test_each_directory_is_listed_once(autojump_clock: MockClock) -> None:
    trees = await agreed(lanes=1)
    server = Server(trees.target)
    await trees.run(target=server)
    assert len(server.listed) == 13, "the root, ten directories, and two below them"


async def test_a_first_run_logs_in_once_to_look_for_the_root_and_to_scan(autojump_clock: MockClock) -> None:
    trees = TwoTrees(is_target_remote=True, lanes=16)
    server = Server(trees.target)
    assert (await trees.run(target=server)).report.exit_code == 0
    assert len(server.began) == 1


async def test_a_root_that_a_server_does_not_have_is_made_by_the_first_run(autojump_clock: MockClock) -> None:
    trees = TwoTrees(is_target_remote=True, lanes=16)
    trees.source.write("x", b"x")
    trees.target = MemoryEndpoint("target", exists=False, is_remote=True, lanes=16, inodes=False, now=trees.tick)
    server = Server(trees.target)
    assert (await trees.run(target=server)).report.exit_code == 0
    assert trees.target.files()["x"] == b"x"
    assert len(server.began) == 2, "one goes on to scan, and another one changes the side"


@pytest.mark.parametrize(
    ("lanes", "reading", "writing", "expected"),
    [
        (1, 0, 1, (0, 1)),
        (1, 0, 1_000, (0, 8)),
        (1, 1_000, 1_000, (4, 4)),
        (1, 2, 1_000, (1, 7)),
        (1, 1_000, 0, (7, 1)),
        (64, 100, 100, (1, 1)),
        (64, 0, 512, (0, 1)),
        (64, 0, 513, (0, 2)),
        (64, 100_000, 100_000, (4, 4)),
    ],
)
def test_connections_are_shared_out_by_the_files_to_move_and_no_login_is_made_for_few_of_them(
    lanes: int, reading: int, writing: int, expected: tuple[int, int]
) -> None:
    assert shared_out(8, lanes, reading=reading * FILE_WEIGHT, writing=writing * FILE_WEIGHT) == expected


@attrs.define(eq=False)
class Dying(EndpointWrapper[Endpoint]):
    """A place whose first session is dead from its second listing on. Each session says that it can be kept open."""

    sessions: int = 0

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        self.sessions += 1
        async with self.real.open_session() as session:
            yield _Mortal(session, listings=1 if self.sessions == 1 else 1_000)


class _Mortal(SessionWrapper):
    def __init__(self, real: Session, listings: int) -> None:
        super().__init__(real)
        self._listings = listings

    async def list_directory(self, directory: str) -> Listing:
        self._listings -= 1
        if self._listings < 0:
            raise ConnectionLost("Connection reset by peer")
        return await self._real.list_directory(directory)

    async def keep_alive(self) -> None:
        if self._listings < 0:
            raise ConnectionLost("Connection reset by peer")


@pytest.mark.parametrize("lanes", [1, 16])
async def test_a_connection_that_was_lost_is_not_used_again(lanes: int, autojump_clock: MockClock) -> None:
    trees = await agreed(lanes)
    trees.source.write("0/x", b"new here")
    trees.target.write("1/x", b"new there")
    server = Dying(trees.target)
    report = (await trees.run(target=server)).report
    assert (report.exit_code, report.copied) == (0, 2), report.error
    assert tree_of(trees.source) == tree_of(trees.target)
