"""Hints from comparing listings, on trees in memory and virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import ReadSession, Source
from actorsync.endpoints.hints import Dirty, Hints, Lost
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.polling import polled as polled_without_asking
from actorsync.endpoints.polling import watch
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.model.entry import Listing, Problem
from actorsync.planning.selection import Selection

FIRST_LOOK = Lost("polling has only just begun")


def tree(*, is_remote: bool = False) -> MemoryEndpoint:
    """Return a source with three directories and a file in each."""
    source = MemoryEndpoint(is_remote=is_remote)
    for directory in ("a", "a/b"):
        source.mkdir(directory)
    for path in ("top", "a/file", "a/b/file"):
        source.write(path, b"old")
    return source


@asynccontextmanager
async def polled(source: MemoryEndpoint, selection: Selection | None = None) -> AsyncIterator[Hints]:
    """Poll a source; the first look at it is done."""
    async with watch(source, selection or Selection()) as hints:
        assert await hints.receive() == FIRST_LOOK
        yield hints


async def directories(hints: Hints) -> set[str]:
    """Return the directories that the next hint names."""
    hint = await hints.receive()
    assert isinstance(hint, Dirty), hint
    return set(hint.directories)


async def is_quiet(hints: Hints) -> bool:
    """Tell whether nothing is hinted in ten rounds."""
    with trio.move_on_after(300):
        await hints.receive()
        return False
    return True


async def test_source_that_tells_nothing_is_polled(autojump_clock: MockClock) -> None:
    async with polled(tree()) as hints:
        assert (hints.how, hints.directories, hints.why) == ("polling", 3, "the source does not report changes")
        assert await is_quiet(hints)


async def test_changed_file_hints_its_directory_alone(autojump_clock: MockClock) -> None:
    source = tree()
    async with polled(source) as hints:
        source.write("a/b/file", b"new")
        assert await directories(hints) == {"a/b"}
        assert await is_quiet(hints)


async def test_file_of_the_same_size_is_noticed_by_its_time(autojump_clock: MockClock) -> None:
    source = tree()
    async with polled(source) as hints:
        source.write("a/file", b"dlo")
        assert await directories(hints) == {"a"}


async def test_removed_file_hints_its_directory(autojump_clock: MockClock) -> None:
    source = tree()
    async with polled(source) as hints:
        source.delete("a/b/file")
        assert await directories(hints) == {"a/b"}


async def test_new_tree_is_hinted_at_all_levels(autojump_clock: MockClock) -> None:
    source = tree()
    async with polled(source) as hints:
        source.mkdir("new")
        source.mkdir("new/below")
        source.write("new/below/file", b"x")
        assert await directories(hints) == {"", "new", "new/below"}
        assert hints.directories == 5


async def test_removed_tree_hints_its_parent_and_is_forgotten(autojump_clock: MockClock) -> None:
    source = tree()
    async with polled(source) as hints:
        source.delete("a")
        assert await directories(hints) == {""}
        assert await is_quiet(hints)
        assert hints.directories == 1


async def test_renamed_tree_hints_both_parents(autojump_clock: MockClock) -> None:
    source = tree()
    source.mkdir("to")
    async with polled(source) as hints:
        source.rename("a/b", "to/c")
        assert await directories(hints) == {"a", "to", "to/c"}


async def test_excluded_and_private_entries_make_no_hint(autojump_clock: MockClock) -> None:
    source = tree()
    source.mkdir("node_modules")
    async with polled(source, Selection(exclude=["node_modules/", "*.tmp"], private=frozenset({"a/b"}))) as hints:
        source.write("node_modules/x", b"x")
        source.write("a/x.tmp", b"x")
        source.write("a/b/file", b"new")
        assert await is_quiet(hints)
        assert hints.directories == 2


async def test_remote_source_is_polled_at_most_every_half_minute(autojump_clock: MockClock) -> None:
    source = tree(is_remote=True)
    async with polled(source) as hints:
        began = trio.current_time()
        for text in (b"1", b"2", b"3"):
            source.write("top", text)
            assert await directories(hints) == {""}
        assert trio.current_time() - began >= 90


class Troubled(ReadSessionWrapper):
    """A session of an `Unreliable` source."""

    def __init__(self, real: ReadSession, source: Unreliable) -> None:
        super().__init__(real)
        self._source = source

    async def list_directory(self, directory: str) -> Listing:
        """List a directory, or raise the trouble."""
        self._source.check()
        return await super().list_directory(directory)


class Unreliable(EndpointWrapper[MemoryEndpoint]):
    """A source whose connections fail as ``trouble`` says."""

    def __init__(self, real: MemoryEndpoint) -> None:
        super().__init__(real)
        self.trouble: Exception | None = None
        self.logins: list[float] = []

    def check(self) -> None:
        """Raise the trouble, if there is one."""
        if self.trouble is not None:
            raise self.trouble

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Open a session, or raise the trouble."""
        self.logins.append(trio.current_time())
        self.check()
        async with self.real.open_session() as session:
            yield Troubled(session, self)


@asynccontextmanager
async def polled_by_itself(source: Source) -> AsyncIterator[Hints]:
    """Poll a wrapper, and not what it wraps."""
    async with polled_without_asking(source, Selection()) as hints:
        assert await hints.receive() == FIRST_LOOK
        yield hints


async def test_change_while_the_source_is_unreachable_is_hinted_afterwards(autojump_clock: MockClock) -> None:
    source = Unreliable(tree(is_remote=True))
    async with polled_by_itself(source) as hints:
        source.trouble = ConnectionLost("no route")
        source.real.write("a/file", b"new")
        assert await is_quiet(hints)
        source.trouble = None
        assert await directories(hints) == {"a"}
        assert await is_quiet(hints)


async def test_source_that_stays_unreachable_is_tried_less_and_less_often(autojump_clock: MockClock) -> None:
    source = Unreliable(tree(is_remote=True))
    async with polled_by_itself(source):
        source.trouble = ConnectionLost("no route")
        await trio.sleep(86_400)
    rests = [later - sooner for sooner, later in pairwise(source.logins[1:])]
    assert rests[:4] == [60, 120, 240, 480]
    assert max(rests) <= 3_600
    assert len(rests) > 24


async def test_refused_login_is_told_and_not_repeated(autojump_clock: MockClock) -> None:
    source = Unreliable(tree(is_remote=True))
    async with polled_by_itself(source) as hints:
        source.trouble = LoginRefused("the password is wrong")
        assert await hints.receive() == Lost("the password is wrong")
        before = len(source.logins)
        await trio.sleep(3_000)
        assert len(source.logins) == before


async def test_connection_is_kept_between_rounds(autojump_clock: MockClock) -> None:
    source = Unreliable(tree(is_remote=True))
    async with polled_by_itself(source) as hints:
        assert await is_quiet(hints)
    assert len(source.logins) == 1


class Unlistable(ReadSessionWrapper):
    """A session to which some directories cannot be listed."""

    def __init__(self, real: ReadSession, unlistable: set[str]) -> None:
        super().__init__(real)
        self._unlistable = unlistable

    async def list_directory(self, directory: str) -> Listing:
        """List a directory, or return the problem."""
        if directory in self._unlistable:
            return Listing(directory, problem=Problem(directory, "Permission denied"))
        return await super().list_directory(directory)


class ClosedSource(EndpointWrapper[MemoryEndpoint]):
    """A source with directories that cannot be listed: those in ``closed``."""

    def __init__(self, real: MemoryEndpoint) -> None:
        super().__init__(real)
        self.closed: set[str] = set()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Open a session."""
        async with self.real.open_session() as session:
            yield Unlistable(session, self.closed)


async def test_directory_that_cannot_be_listed_for_a_while_keeps_what_is_below_it(autojump_clock: MockClock) -> None:
    source = ClosedSource(tree())
    async with polled_by_itself(source) as hints:
        source.closed.add("a")
        assert await directories(hints) == {"a"}
        assert await is_quiet(hints)
        source.closed.clear()
        assert await directories(hints) == {"a"}
        assert hints.directories == 3
