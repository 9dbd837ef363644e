"""An asyncio loop in its own thread, used from trio: results, errors, cancellation, and a clean end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any, NoReturn

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actorsync.endpoints.ssh.asyncio_thread import AsyncioLoop, AsyncioThread, Notifier


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncio"]


def never_called(result: object) -> NoReturn:
    raise AssertionError(result)


async def nothing() -> None:
    """Do nothing in the other thread."""


# Results.


async def test_run_returns_results_and_raises_errors_of_the_coroutine() -> None:
    async def echo(value: object) -> object:
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value, threading.current_thread() in threads()

    error = ZeroDivisionError("a bug")
    async with AsyncioThread().running() as loop:
        assert await loop.run(lambda: echo(1), never_called) == (1, True)
        with pytest.raises(ZeroDivisionError, match="a bug") as caught:
            await loop.run(lambda: echo(error), never_called)
        assert caught.value is error
        assert await loop.run(lambda: echo(None), never_called) == (None, True), "the thread goes on after an error"
    assert threads() == []


async def test_work_that_raises_before_its_coroutine_raises_to_the_caller() -> None:
    async with AsyncioThread().running() as loop:
        with trio.fail_after(0.5), pytest.raises(ZeroDivisionError):
            await loop.run(lambda: 1 / 0, never_called)  # type: ignore[arg-type, return-value]


async def test_two_hundred_concurrent_runs_all_return() -> None:
    found: list[int] = []

    async def one(number: int) -> None:
        async def work() -> int:
            await asyncio.sleep(0)
            return number

        found.append(await loop.run(work, never_called))

    async with AsyncioThread().running() as loop, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)
    assert sorted(found) == list(range(200))


# Posting.


@given(st.lists(st.integers(1, 30), min_size=1, max_size=10))
@settings(max_examples=10, deadline=None)
def test_posted_calls_run_in_order(bursts: list[int]) -> None:
    async def main() -> None:
        taken: list[tuple[int, int]] = []
        async with AsyncioThread().running() as loop:
            for burst, count in enumerate(bursts):
                for number in range(count):
                    loop.post(taken.append, (burst, number))
                if burst % 2:
                    await loop.run(nothing, never_called)
            await loop.run(nothing, never_called)
            assert taken == [(burst, number) for burst, count in enumerate(bursts) for number in range(count)]

    trio.run(main)


async def test_calls_posted_by_posted_calls_run() -> None:
    taken: list[int] = []
    done = threading.Event()

    async with AsyncioThread().running() as loop:

        def post(number: int) -> None:
            taken.append(number)
            if number < 50:
                loop.post(post, number + 1)
            else:
                done.set()

        loop.post(post, 0)
        await trio.to_thread.run_sync(done.wait, 5)
    assert taken == list(range(51))


async def test_calls_posted_to_an_ended_loop_are_dropped() -> None:
    taken: list[int] = []
    thread = AsyncioThread()
    async with thread.running() as old:
        pass
    for number in range(3):
        old.post(taken.append, number)
    async with thread.running() as new:
        assert new is not old
        old.post(taken.append, 9)
        await new.run(nothing, never_called)
    assert taken == []
    assert threads() == []


# Cancellation.


async def test_cancelled_run_returns_at_once_and_cancels_the_coroutine() -> None:
    stopped = trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            token.run_sync_soon(stopped.set)

    async with AsyncioThread().running() as loop:
        await loop.run(nothing, never_called)
        with trio.fail_after(5):
            with trio.move_on_after(0.01) as scope:
                await loop.run(work, never_called)
            assert scope.cancelled_caught
            await stopped.wait()


async def test_result_after_cancellation_is_discarded_in_the_thread() -> None:
    """The work ignores its cancellation. Discarding the result is what closes a connection."""
    discarded: list[tuple[str, bool]] = []
    begun, over = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def stubborn() -> str:
        token.run_sync_soon(begun.set)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "late"
        return "never"

    def discard(result: str) -> None:
        discarded.append((result, threading.current_thread() in threads()))
        token.run_sync_soon(over.set)

    with trio.fail_after(5):
        async with AsyncioThread().running() as loop:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(loop.run, stubborn, discard)
                await begun.wait()
                nursery.cancel_scope.cancel()
            await over.wait()
    assert discarded == [("late", True)]


async def test_run_in_a_cancelled_scope_is_cancelled() -> None:
    async with AsyncioThread().running() as loop:
        with trio.CancelScope() as scope:
            scope.cancel()
            await loop.run(nothing, discard=lambda _: None)  # the thread may finish first
        assert scope.cancelled_caught
        await loop.run(nothing, never_called)


async def test_error_after_cancellation_is_ignored() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    async with AsyncioThread().running() as loop:
        with trio.move_on_after(0.02):
            await loop.run(work, never_called)
        await loop.run(nothing, never_called)


# Starting and stopping.


async def test_concurrent_users_share_one_thread() -> None:
    thread = AsyncioThread()
    loops: set[AsyncioLoop] = set()
    most = 0

    async def use(number: int) -> None:
        nonlocal most
        async with thread.running() as loop:
            loops.add(loop)
            await loop.run(nothing, never_called)
            most = max(most, len(threads()))
            if number < 10:
                await all_in.wait()

    all_in = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(use, number)
        with trio.fail_after(5):
            while len(threads()) != 1:  # noqa: ASYNC110 - other threads have no event for it
                await trio.sleep(0.001)
            await trio.to_thread.run_sync(lambda: None)
        all_in.set()
    assert (len(loops), most) == (1, 1)
    assert threads() == []


async def test_thread_starts_again_after_the_last_user_left() -> None:
    thread = AsyncioThread()
    loops = []
    for _ in range(3):
        async with thread.running() as loop:
            await loop.run(nothing, never_called)
            loops.append(loop)
        assert threads() == []
    assert len(set(loops)) == 3


async def test_last_user_stops_the_newest_thread() -> None:
    """Two users leave while another starts a new thread; the second one to leave finds that new thread."""
    thread = AsyncioThread()
    leave = [trio.Event(), trio.Event()]
    started: list[Any] = []

    async def use(event: trio.Event) -> None:
        async with thread.running():
            await event.wait()

    async def visit() -> None:
        async with thread.running():
            started.append(thread._current)

    async with trio.open_nursery() as nursery:
        for event in leave:
            nursery.start_soon(use, event)
        while thread._users < len(leave):  # noqa: ASYNC110 - there is no event for it
            await trio.sleep(0.001)
        async with thread._lock:
            leave[0].set()
            await wait_all_tasks_blocked()
            nursery.start_soon(visit)
            await wait_all_tasks_blocked()
            leave[1].set()
            await wait_all_tasks_blocked()
    left = threads()
    for running in started:
        await running.stop()  # for the tests that follow
    assert left == []


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
async def test_thread_ends_when_the_block_raises(error: type[BaseException]) -> None:
    with pytest.raises(error):
        async with AsyncioThread().running():
            raise error
    assert threads() == []


async def test_thread_ends_when_the_block_is_cancelled_during_a_run() -> None:
    thread = AsyncioThread()
    with trio.move_on_after(0.05) as scope:
        async with thread.running() as loop:
            await loop.run(asyncio.Event().wait, lambda result: None)
    assert scope.cancelled_caught
    assert threads() == []


PROGRAM = """
import asyncio, threading, trio
from actorsync.endpoints.ssh.asyncio_thread import AsyncioThread

async def fail():
    raise ZeroDivisionError

async def left():
    asyncio.ensure_future(fail())  # nothing retrieves its exception
    asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)

async def main():
    thread = AsyncioThread()
    async with thread.running() as loop:
        await loop.run(left, discard=print)
        with trio.move_on_after(0.05):
            await loop.run(asyncio.Event().wait, discard=print)
    loop.post(print, "dropped")

trio.run(main)
assert threading.active_count() == 1 or all(t.daemon for t in threading.enumerate()[1:])
"""


def test_m136_nothing_is_written_to_standard_error() -> None:
    done = subprocess.run([sys.executable, "-X", "dev", "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The notifier.


async def test_many_notifications_make_one_call_and_a_later_one_another() -> None:
    calls: list[float] = []
    called = trio.Event()

    def callback() -> None:
        calls.append(trio.current_time())
        called.set()

    notifier = Notifier(callback)

    def notify() -> None:
        for _ in range(100):
            notifier.notify()

    for count in (1, 2):
        notify()
        await called.wait()
        assert len(calls) == count
        called = trio.Event()
    await trio.to_thread.run_sync(notify)
    with trio.fail_after(5):
        await called.wait()
    assert 3 <= len(calls) <= 102, "few, depending on the timing of the threads"


async def test_notification_during_the_callback_makes_another_call() -> None:
    calls: list[int] = []
    over = trio.Event()

    def callback() -> None:
        calls.append(1)
        notifier.notify() if len(calls) < 5 else over.set()

    notifier = Notifier(callback)
    notifier.notify()
    with trio.fail_after(5):
        await over.wait()
    assert len(calls) == 5


def test_notification_after_trio_has_ended_is_ignored() -> None:
    async def main() -> Notifier:
        return Notifier(lambda: never_called(None))

    trio.run(main).notify()
