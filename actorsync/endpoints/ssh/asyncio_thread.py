"""An asyncio event loop in its own thread, to use an asyncio library from trio.

asyncssh measured twice as fast this way as on trio-asyncio. The threads post calls to each other. One wake-up makes a
thread run all calls that were posted so far, so under load there are few wake-ups.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import outcome
import trio

from actorsync.classes import frozen
from actorsync.endpoints.shared.resource_limits import unopened

__all__ = ["AsyncioLoop", "AsyncioThread", "Notifier"]

T = TypeVar("T")

# asyncssh writes to closed connections, and asyncio logs a warning. Without a handler it would go to standard error.
logging.getLogger("asyncio").addHandler(logging.NullHandler())

#: How long the last user waits for connections to close. After that the thread, a daemon, goes on without it.
_STOP_SECONDS = 1.0


class AsyncioThread:
    """Runs an asyncio loop in a thread while at least one `running` block is open. It can start and stop repeatedly."""

    def __init__(self) -> None:
        self._users = 0
        self._lock = trio.Lock()
        self._current: _Running | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[AsyncioLoop]:
        """Keep the thread running for the length of the block."""
        async with self._lock:
            if self._current is None:
                self._current = await _Running.start()
            current = self._current
            self._users += 1
        try:
            yield current.loop
        finally:
            self._users -= 1
            with trio.move_on_after(_STOP_SECONDS, shield=True):
                async with self._lock:
                    if not self._users and self._current is not None:  # may be a newer thread than this block's
                        current, self._current = self._current, None
                        await current.stop()


@frozen(eq=False)
class _Running:
    """A started thread, its loop, the event that ends the loop, and the scope of the task that wakes it."""

    loop: AsyncioLoop
    thread: threading.Thread
    end: asyncio.Event
    forwarding: trio.CancelScope

    @classmethod
    async def start(cls) -> _Running:
        is_running = trio.Event()
        token = trio.lowlevel.current_trio_token()
        started: list[tuple[AsyncioLoop, asyncio.Event]] = []
        _require_descriptors()

        async def main() -> None:
            loop, end = asyncio.get_running_loop(), asyncio.Event()
            # asyncssh leaves exceptions unretrieved when a connection breaks. The channel reports the loss.
            loop.set_exception_handler(lambda *_: None)
            started.append((AsyncioLoop(loop), end))
            token.run_sync_soon(is_running.set)
            await end.wait()

        thread = threading.Thread(target=asyncio.run, args=(main(),), name="asyncio", daemon=True)
        thread.start()
        with trio.CancelScope(shield=True):
            await is_running.wait()
        ((loop, end),) = started
        forwarding = trio.CancelScope()
        trio.lowlevel.spawn_system_task(loop.forward_posts, forwarding)
        return cls(loop, thread, end, forwarding)

    async def stop(self) -> None:
        self.forwarding.cancel()
        self.loop.post(self.end.set)
        self.loop.flush()
        await trio.to_thread.run_sync(self.thread.join, abandon_on_cancel=True)


def _require_descriptors() -> None:
    """Check that an event loop can be created. A failure in the new thread would not be reported.

    Raises:
        OwnLimit: this machine has no descriptors or memory left.
    """
    try:
        with contextlib.ExitStack() as stack:
            for end in socket.socketpair():
                stack.enter_context(end)
            stack.enter_context(selectors.DefaultSelector())
    except OSError as error:
        raise unopened(f"cannot create an event loop: {error.strerror}", error) from error


class AsyncioLoop:
    """A loop in another thread, and created there. Once the loop has ended, posted calls are dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()  # this is the loop's own thread
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_woken = False
        self._sleeper = trio.lowlevel.ParkingLot()

    def post(self, call: Callable[..., object], *arguments: Any) -> None:
        """Run ``call(*arguments)`` in the thread, after all calls that were posted before. The call must not raise."""
        self._posted.append((call, arguments))
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._run_posted)
        else:
            self._sleeper.unpark()

    async def forward_posts(self, scope: trio.CancelScope) -> None:
        """Wake the thread when calls were posted, once for all calls of one iteration of the trio loop.

        Each wake-up lets the other thread take the interpreter lock, and it takes a while to get the lock back.
        """
        with scope:
            while True:
                if not self._posted or self._is_woken:
                    await self._sleeper.park()
                    continue
                self.flush()

    def flush(self) -> None:
        """Wake the thread now, to run the posted calls."""
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._run_posted)

    def _run_posted(self) -> None:
        self._is_woken = False  # first, because calls that are posted from here on may need another wake-up
        while self._posted:
            call, arguments = self._posted.popleft()
            call(*arguments)

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], discard: Callable[[T], None]) -> T:
        """Run a coroutine in the thread, and return its result or raise its exception.

        Cancellation does not wait: the coroutine is cancelled and left alone. If it returns a result nevertheless,
        ``discard`` is called with the result in the thread.
        """
        task: asyncio.Task[T] | None = None
        is_abandoned = False
        waiting = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()

        async def begin() -> T:
            return await work()  # an exception of `work` itself is raised to the caller, too

        def start() -> None:
            nonlocal task
            task = asyncio.ensure_future(begin())
            task.add_done_callback(finish)

        def finish(done: asyncio.Task[T]) -> None:
            result = outcome.capture(done.result)
            try:
                token.run_sync_soon(deliver, result)
            except trio.RunFinishedError:
                discard_result(result)

        def deliver(result: outcome.Outcome[T]) -> None:
            if is_abandoned:
                self.post(discard_result, result)
            else:
                trio.lowlevel.reschedule(waiting, outcome.Value(result))

        def discard_result(result: outcome.Outcome[T]) -> None:
            if isinstance(result, outcome.Value):
                discard(result.value)

        def abandon(_: object) -> trio.lowlevel.Abort:
            nonlocal is_abandoned
            is_abandoned = True
            self.post(lambda: task.cancel() if task is not None else None)
            return trio.lowlevel.Abort.SUCCEEDED

        self.post(start)
        result: outcome.Outcome[T] = await trio.lowlevel.wait_task_rescheduled(abandon)
        return result.unwrap()


class Notifier:
    """Calls ``callback`` in the trio thread soon after `notify` was called in any thread; once for many calls."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._token = trio.lowlevel.current_trio_token()
        self._is_notified = False

    def notify(self) -> None:
        """Have the callback called, unless a call is due already. Does nothing once trio has ended."""
        if not self._is_notified:
            self._is_notified = True
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._call)

    def _call(self) -> None:
        self._is_notified = False  # first, because a notification from here on needs another call
        self._callback()
