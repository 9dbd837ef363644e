"""Entries that the source lists, and says do not exist when they are asked for by name. In memory, on virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.second_look import SecondLook
from actorsync.endpoints.contract import Content, ReadSession
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.errors import Vanished
from actorsync.model.entry import Listing, Problem
from actorsync.model.operation import Skipped
from tests.support.world.memory_mirror import Mirror

NAMES = ("tab\tname", "caf\udce9.txt", "d/closed")


@attrs.define(eq=False)
class Forgetful(EndpointWrapper[MemoryEndpoint]):
    """A source whose server does not find the paths ``missing`` by their names.

    ``looking`` is called before each answer that something is missing, with its path. A listing takes ``seconds``.
    ``used`` are the numbers of the sessions that listed, in order.
    """

    missing: set[str] = attrs.Factory(set)
    looking: Callable[[str], None] = lambda path: None
    seconds: float = 0.0
    sessions: int = 0
    used: list[int] = attrs.Factory(list)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        self.sessions += 1
        async with self.real.open_session() as session:
            yield _Session(session, self, self.sessions)


class _Session(ReadSessionWrapper):
    def __init__(self, real: ReadSession, source: Forgetful, number: int) -> None:
        super().__init__(real)
        self._source, self._number = source, number

    async def list_directory(self, directory: str) -> Listing:
        await trio.sleep(self._source.seconds)
        self._source.used.append(self._number)
        if directory in self._source.missing:
            self._source.looking(directory)
            return Listing(directory, problem=Problem(directory, "550 No such directory", vanished=True))
        return await self._real.list_directory(directory)

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        if path in self._source.missing:
            self._source.looking(path)
            raise Vanished(f"cannot open {path!r}: it is gone")
        async with self._real.open(path) as content:
            yield content


def a_mirror(*, is_remote: bool) -> Mirror:
    mirror = Mirror(source=MemoryEndpoint("source", is_remote=is_remote))
    for name in (*NAMES, "plain", "d/plain"):
        mirror.source.write(name, b"content of " + name.encode(errors="surrogateescape"))
    return mirror


@pytest.mark.parametrize("is_remote", [False, True])
async def test_listed_files_that_are_not_found_by_name_fail_in_every_run(
    is_remote: bool, autojump_clock: MockClock
) -> None:
    mirror = a_mirror(is_remote=is_remote)
    source = Forgetful(mirror.source, set(NAMES))
    for copied in (2, 0):
        report = await mirror.run(source=source)
        assert (report.exit_code, report.copied, report.failed, report.skipped) == (1, copied, len(NAMES), 0)
        assert {path for path, _ in report.failures} == set(NAMES)
        assert all("but the source still lists it" in reason for _, reason in report.failures)
    source.missing.clear()
    assert (await mirror.run(source=source)).copied == len(NAMES)


@pytest.mark.parametrize("is_remote", [False, True])
async def test_file_that_no_listing_shows_any_more_has_vanished(is_remote: bool, autojump_clock: MockClock) -> None:
    mirror = a_mirror(is_remote=is_remote)
    source = Forgetful(mirror.source, {"plain"}, looking=mirror.source.delete)
    report = await mirror.run(source=source)
    assert (report.exit_code, report.failed, report.skipped) == (0, 0, 1)
    assert [skipped.operation.path for skipped in mirror.seen(Skipped)] == ["plain"]


async def test_file_that_vanished_with_its_directory_is_no_failure(autojump_clock: MockClock) -> None:
    mirror = a_mirror(is_remote=False)

    def looking(path: str) -> None:
        if mirror.source.find("d") is not None:
            mirror.source.delete("d")

    source = Forgetful(mirror.source, {"d/closed", "d/plain"}, looking=looking)
    report = await mirror.run(source=source)
    assert (report.exit_code, report.failed, report.skipped) == (0, 0, 2)


async def test_file_that_is_found_at_the_second_try_is_sent(autojump_clock: MockClock) -> None:
    mirror = a_mirror(is_remote=False)
    source = Forgetful(mirror.source, {"plain"})
    source.looking = source.missing.discard
    report = await mirror.run(source=source)
    assert (report.exit_code, report.copied, report.skipped) == (0, 5, 0)


@pytest.mark.parametrize("is_remote", [False, True])
async def test_listed_directory_that_is_not_found_by_name_is_a_failure(
    is_remote: bool, autojump_clock: MockClock
) -> None:
    mirror = a_mirror(is_remote=is_remote)
    assert (await mirror.run()).exit_code == 0
    source = Forgetful(mirror.source, {"d"})
    report = await mirror.run(source=source)
    assert (report.exit_code, report.removed, [path for path, _ in report.failures]) == (1, 0, ["d"])


async def test_root_that_cannot_be_found_after_the_start_is_a_failure(autojump_clock: MockClock) -> None:
    mirror = a_mirror(is_remote=False)
    report = await mirror.run(source=Forgetful(mirror.source, {""}))
    assert (report.exit_code, report.files_seen) == (1, 0)


async def test_second_listing_is_made_over_another_connection(autojump_clock: MockClock) -> None:
    mirror = a_mirror(is_remote=True)
    source = Forgetful(mirror.source, {"plain"})
    assert (await mirror.run(source=source)).exit_code == 1
    assert source.sessions == 2, "a second login, and no more"
    assert source.used[-1] == 2


async def test_second_listing_uses_the_only_connection_that_the_server_allows(autojump_clock: MockClock) -> None:
    mirror = a_mirror(is_remote=True)
    mirror.source.max_sessions = 1
    report = await mirror.run(source=Forgetful(mirror.source, {"plain"}))
    assert (report.exit_code, [path for path, _ in report.failures]) == (1, ["plain"])


async def test_many_missing_files_of_a_slow_directory_share_listings(autojump_clock: MockClock) -> None:
    mirror = Mirror(source=MemoryEndpoint("source"))
    names = {f"d/{number}" for number in range(200)}
    for name in names:
        mirror.source.write(name, b"x")
    source = Forgetful(mirror.source, names, seconds=10)
    report = await mirror.run(source=source)
    assert (report.exit_code, report.failed) == (1, 200)
    assert len(source.used) < 10


async def test_what_cannot_be_listed_again_has_not_vanished(autojump_clock: MockClock) -> None:
    source = MemoryEndpoint("source")
    source.write("d", b"a file where a directory was")
    look = SecondLook(source)
    assert not await look.has_vanished("d/file")
    assert not await look.has_vanished("")
    assert await look.has_vanished("nothing/below/here")
