"""An asyncio event loop in a thread of its own: how a library that speaks asyncio is used from trio.

asyncssh measured twice as fast this way as on trio-asyncio. What crosses between the threads is posted: each side takes
all that has gathered with one wake-up, so a wake-up costs nothing more while there is a lot to do.
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

import attrs
import outcome
import trio

from actorsync.endpoints.shared.resource_limits import unopened

__all__ = ["AsyncioLoop", "AsyncioThread", "Doorbell"]

T = TypeVar("T")

# asyncio warns of writing to a connection that is gone, which asyncssh does; without a handler that is standard error.
logging.getLogger("asyncio").addHandler(logging.NullHandler())

#: How long leaving waits for connections to be closed. The thread is a daemon: nothing is lost when it takes longer.
_GOODBYE_SECONDS = 1.0


class AsyncioThread:
    """Has an asyncio loop running in a thread from the first `held` to the end of the last one, as often as need be."""

    def __init__(self) -> None:
        self._holders = 0
        self._lock = trio.Lock()
        self._running: _Running | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[AsyncioLoop]:
        """Have the thread running for the length of the block."""
        async with self._lock:
            if self._running is None:
                self._running = await _Running.start()
            running = self._running
            self._holders += 1
        try:
            yield running.loop
        finally:
            self._holders -= 1
            with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                async with self._lock:
                    if not self._holders and self._running is not None:  # it may be another one than we came to
                        running, self._running = self._running, None
                        await running.stop()


@attrs.frozen(eq=False)
class _Running:
    loop: AsyncioLoop
    thread: threading.Thread
    end: asyncio.Event
    carrying: trio.CancelScope

    @classmethod
    async def start(cls) -> _Running:
        is_running = trio.Event()
        token = trio.lowlevel.current_trio_token()
        made: list[tuple[AsyncioLoop, asyncio.Event]] = []
        _require_descriptors()

        async def main() -> None:
            loop, end = asyncio.get_running_loop(), asyncio.Event()
            # What asyncssh leaves unretrieved when a connection breaks has been told to us in another way.
            loop.set_exception_handler(lambda *_: None)
            made.append((AsyncioLoop(loop), end))
            token.run_sync_soon(is_running.set)
            await end.wait()

        thread = threading.Thread(target=asyncio.run, args=(main(),), name="asyncio", daemon=True)
        thread.start()
        with trio.CancelScope(shield=True):
            await is_running.wait()
        ((loop, end),) = made
        carrying = trio.CancelScope()
        trio.lowlevel.spawn_system_task(loop.carry, carrying)
        return cls(loop, thread, end, carrying)

    async def stop(self) -> None:
        self.carrying.cancel()
        self.loop.post(self.end.set)
        self.loop.flush()
        await trio.to_thread.run_sync(self.thread.join, abandon_on_cancel=True)


def _require_descriptors() -> None:
    """See that a loop can be made: it does not survive being half made, and nobody would hear of it.

    Raises `OwnLimit` when it cannot.
    """
    try:
        with contextlib.ExitStack() as stack:
            for end in socket.socketpair():
                stack.enter_context(end)
            stack.enter_context(selectors.DefaultSelector())
    except OSError as error:
        raise unopened(f"an event loop cannot be made: {error.strerror}", error) from error


class AsyncioLoop:
    """A loop that runs in another thread, until it does not: what is posted then is dropped. Made in that thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.get_ident()  # made where it runs
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_posted = False
        self._carrier = trio.lowlevel.ParkingLot()

    def post(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have ``call(*arguments)`` run in the thread, behind all that was posted before. It must not raise."""
        self._posted.append((call, arguments))
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._take)
        else:
            self._carrier.unpark()

    async def carry(self, scope: trio.CancelScope) -> None:
        """Wake the thread up when something was posted: once for all that the tasks of one turn of trio have posted.

        Each waking up hands the interpreter over to the other thread, and it takes a while until it comes back.
        """
        with scope:
            while True:
                if not self._posted or self._is_posted:
                    await self._carrier.park()
                    continue
                self.flush()

    def flush(self) -> None:
        """Wake the thread up now, for what was posted."""
        if not self._is_posted:
            self._is_posted = True
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._is_posted = False  # first: what is posted from here on may need another round
        while self._posted:
            call, arguments = self._posted.popleft()
            call(*arguments)

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], discard: Callable[[T], None]) -> T:
        """Run a coroutine in the thread, and give what it returns or raise what it raises.

        Being cancelled never waits: the coroutine is cancelled and left to itself, and ``discard`` is given in the
        thread what it may return all the same.
        """
        task: asyncio.Task[T] | None = None
        is_abandoned = False
        waiting = trio.lowlevel.current_task()
        token = trio.lowlevel.current_trio_token()

        async def begin() -> T:
            return await work()  # also what goes wrong before there is a coroutine is raised where it is waited for

        def start() -> None:
            nonlocal task
            task = asyncio.ensure_future(begin())
            task.add_done_callback(finish)

        def finish(done: asyncio.Task[T]) -> None:
            result = outcome.capture(done.result)
            try:
                token.run_sync_soon(deliver, result)
            except trio.RunFinishedError:
                throw_away(result)

        def deliver(result: outcome.Outcome[T]) -> None:
            if is_abandoned:
                self.post(throw_away, result)
            else:
                trio.lowlevel.reschedule(waiting, outcome.Value(result))

        def throw_away(result: outcome.Outcome[T]) -> None:
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


class Doorbell:
    """Calls ``answer`` in the trio thread soon after `ring` was called in any other; once for many rings."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._token = trio.lowlevel.current_trio_token()
        self._is_rung = False

    def ring(self) -> None:
        """Ask for an answer."""
        if not self._is_rung:
            self._is_rung = True
            with contextlib.suppress(trio.RunFinishedError):  # nobody is in any more
                self._token.run_sync_soon(self._open)

    def _open(self) -> None:
        self._is_rung = False  # first: a ring from here on needs another answer
        self._answer()
