"""Requests to stop, by signals and by a line on standard input, and a deadline for each of them.

The main thread waits for requests, and nothing else: the run has a thread of its own. So whatever the run is stuck in
(a disk that hangs, a terminal that is stopped, a journal that cannot be written), a request is heard, and when the
time for it is over the process is left as it is. That is safe at any moment: it is what a kill does.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NoReturn, TypeVar

import attrs
import outcome
import trio

__all__ = ["CANCEL_SECONDS", "LEAVE_SECONDS", "Step", "StopRequests", "abortable", "drain_on_enter"]

T = TypeVar("T")

#: After a request to stop at once, the process is gone within this (seconds), ...
LEAVE_SECONDS: Final = 1.0

#: ... and what is tidied up has this much of it.
CANCEL_SECONDS: Final = 0.7

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: In the place of a signal's number: a request that came another way.
_LINE: Final = 0

#: Wakes the main thread, as a signal's number does.
_WAKE: Final = b"\0"

#: Seconds that somebody who does not read his terminal may hold up the last words.
_LAST_WORDS: Final = 0.1


def _say_nothing() -> None:
    """Have no last words."""


@attrs.frozen
class Step:
    """What one request leads to: ``act`` is called on trio's thread, and ``seconds`` later the process is left.

    Seconds that are not known yet are asked for when it comes to that.
    """

    act: Callable[[], object]
    seconds: float | Callable[[], float]

    @property
    def patience(self) -> float:
        """The seconds."""
        return self.seconds() if callable(self.seconds) else self.seconds


@attrs.define(eq=False)
class StopRequests:
    """Takes requests to stop: the n-th does the n-th of the ``steps``; behind the last, the process is left at once.

    A later step never puts off the end. ``last_words`` is called before the process is left. When the process
    ``ends_afterwards``, a signal that comes behind the end of the run finds nothing left to stop, and is ignored.
    """

    steps: Sequence[Step]
    last_words: Callable[[], object] = _say_nothing
    leave: Callable[[int], NoReturn] = os._exit
    """Called with the exit code, in the main thread, when there is no waiting any more."""
    ends_afterwards: bool = False
    last: int = signal.SIGINT
    """The last signal that came."""
    _inbox: deque[int | trio.lowlevel.TrioToken | outcome.Outcome[object]] = attrs.field(
        factory=deque, init=False, repr=False
    )
    _waker: socket.socket | None = attrs.field(default=None, init=False, repr=False)

    @property
    def forced_code(self) -> int:
        """What a shell calls a process that was ended by the last signal."""
        return 128 + self.last

    def stop(self) -> None:
        """Ask for an end once more. In any thread."""
        self._tell(_LINE)

    def _tell(self, message: int | trio.lowlevel.TrioToken | outcome.Outcome[object]) -> None:
        self._inbox.append(message)
        if self._waker is not None:
            with contextlib.suppress(OSError):  # full, so it wakes up anyway; or closed, and nobody is there
                self._waker.send(_WAKE)

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run ``main`` under trio in a thread of its own, and listen to SIGINT, SIGTERM and SIGHUP meanwhile.

        In the main thread. Gives what ``main`` returns, raises what it raises, or leaves the process.
        """

        async def entered() -> T:
            self._tell(trio.lowlevel.current_trio_token())
            return await main()

        def work() -> None:
            self._tell(outcome.capture(trio.run, entered))

        with self._listening() as ear:
            # A daemon: when the process is to end, it does not wait for a run that is stuck.
            threading.Thread(target=work, name="run", daemon=True).start()
            result: outcome.Outcome[T] = self._wait(ear)  # type: ignore[assignment]
        return result.unwrap()

    def _wait(self, ear: socket.socket) -> outcome.Outcome[object]:
        """Do what the requests ask for, until the run has ended."""
        leave_at, asked, begun = math.inf, 0, 0
        token: trio.lowlevel.TrioToken | None = None
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                if isinstance(message, outcome.Value | outcome.Error):
                    return message
                if isinstance(message, trio.lowlevel.TrioToken):
                    token = message
                    continue
                assert isinstance(message, int)
                self.last = message or self.last
                asked += 1
                if asked > len(self.steps):
                    self._leave()
                leave_at = min(leave_at, time.monotonic() + self.steps[asked - 1].patience)
            while token is not None and begun < asked:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(self.steps[begun].act)
                begun += 1
            if (left := leave_at - time.monotonic()) <= 0:
                self._leave()
            ear.settimeout(None if left == math.inf else min(left, threading.TIMEOUT_MAX))
            with contextlib.suppress(TimeoutError):
                self._inbox.extend(number for number in ear.recv(4096) if number in _SIGNALS)

    def _leave(self) -> NoReturn:
        with contextlib.suppress(RuntimeError):  # no thread to be had
            words = threading.Thread(target=self._say_last_words, daemon=True)
            words.start()
            words.join(_LAST_WORDS)
        self.leave(self.forced_code)

    def _say_last_words(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.last_words()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        """Give what can be read from when something came.

        The kernel's signal writes there itself, before Python knows of it. So one that comes just before this thread
        begins to wait ends the waiting, where a handler in Python would be called when it is over.
        """
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        if before[signal.SIGHUP] is signal.SIG_IGN:
            del before[signal.SIGHUP]  # nohup: to outlive the terminal is what was asked for
        ear, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        with ear, self._waker:
            woken_before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
            try:
                for number in before:
                    signal.signal(number, lambda *_: None)
                yield ear
            finally:
                for number, previous in before.items():
                    restored = previous if previous is not None else signal.SIG_DFL
                    signal.signal(number, signal.SIG_IGN if self.ends_afterwards else restored)
                signal.set_wakeup_fd(woken_before)


def abortable(work: Callable[[], Awaitable[T]]) -> tuple[int, T | None]:
    """Do what has nothing to tidy up. Give 0 and its result, or the exit code of the signal that ended it.

    The signals are waited for, not left to Python's own handler: a KeyboardInterrupt that comes up in a callback of the
    interpreter is shown and forgotten, and the user who pressed Ctrl-C waits.
    """
    scope = trio.CancelScope()
    requests = StopRequests([Step(scope.cancel, LEAVE_SECONDS)])
    result: T | None = None

    async def main() -> None:
        nonlocal result
        with scope:
            result = await work()

    requests.run(main)
    return (requests.forced_code if scope.cancelled_caught else 0), result


async def drain_on_enter(descriptor: int, stop: Callable[[], object]) -> None:
    """Ask for an end when a line can be read; the end of the input is no line."""
    while True:
        with contextlib.suppress(OSError):  # a file, or the null device: nothing to wait for
            await trio.lowlevel.wait_readable(descriptor)
        try:
            data = os.read(descriptor, 4096)
        except OSError:
            return
        if b"\n" in data:
            stop()
        if b"\n" in data or not data:
            return
        await trio.lowlevel.checkpoint()
