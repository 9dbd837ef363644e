"""The queue that merges hints, and the source of the tests that is watched by hand."""

from __future__ import annotations

import pytest
import trio

from actorsync.endpoints.hints import MOST_DIRECTORIES, Dirty, HintQueue, Lost, Watching
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.planning.selection import Selection
from tests.support.fake_hints import HintedSource


async def test_hints_between_two_calls_are_received_as_one() -> None:
    queue = HintQueue()
    queue.add(["a"])
    queue.add(["a", "b/c"])
    assert await queue.receive() == Dirty(frozenset({"a", "b/c"}))
    queue.add([""])
    assert await queue.receive() == Dirty(frozenset({""}))


async def test_receiving_waits_when_no_directory_is_added(autojump_clock: trio.testing.MockClock) -> None:
    queue = HintQueue()
    queue.add([])
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(60):
            await queue.receive()


async def test_cancelled_call_loses_no_hint(autojump_clock: trio.testing.MockClock) -> None:
    queue = HintQueue()
    with trio.move_on_after(1):
        await queue.receive()
    queue.add(["a"])
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.receive()
    assert await queue.receive() == Dirty(frozenset({"a"}))


async def test_lost_covers_directories_and_keeps_the_first_reason() -> None:
    queue = HintQueue()
    queue.add(["a"])
    queue.lose("the queue was full")
    queue.lose("the machine was asleep")
    queue.add(["b"])
    assert await queue.receive() == Lost("the queue was full")
    queue.add(["c"])
    assert await queue.receive() == Dirty(frozenset({"c"}))


async def test_too_many_directories_become_one_lost() -> None:
    queue = HintQueue()
    queue.add(str(number) for number in range(MOST_DIRECTORIES))
    queue.add(["one more"])
    assert await queue.receive() == Lost("more than 4,096 directories have changed")


async def test_as_many_directories_as_fit_are_received() -> None:
    queue = HintQueue()
    queue.add(str(number) for number in range(MOST_DIRECTORIES))
    hint = await queue.receive()
    assert isinstance(hint, Dirty)
    assert len(hint.directories) == MOST_DIRECTORIES


async def test_hinted_source_is_watched_by_the_test() -> None:
    source = HintedSource(MemoryEndpoint())
    assert isinstance(source, Watching)
    async with source.watch(Selection()) as hints:
        assert source.is_watched
        source.hints.add("a")
        assert await hints.receive() == Dirty(frozenset({"a"}))
    assert not source.is_watched
