"""Requests to stop, by signals and by a line on standard input, each with a deadline.

The main thread only waits for requests: the run has a thread of its own. So a request is handled whatever blocks the
run (a disk that hangs, a terminal that is stopped, a journal that cannot be written), and at its deadline the process
exits. That is safe at any moment, as a kill is.
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

from actorsync.classes import define, frozen

__all__ = ["CANCEL_SECONDS", "LEAVE_SECONDS", "Step", "StopRequests", "abortable", "drain_on_enter", "has_terminal"]

T = TypeVar("T")

#: After a request to stop at once, the process exits within this many seconds, ...
LEAVE_SECONDS: Final = 1.0

#: ... of which the removal of temporaries may take this many.
CANCEL_SECONDS: Final = 0.7

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: In place of the number of a signal: a request of another kind.
_LINE: Final = 0

#: Wakes the main thread, as the number of a signal does.
_WAKE: Final = b"\0"

#: Seconds for the last words, if the terminal does not accept them.
_LAST_WORDS: Final = 0.1


def _say_nothing() -> None:
    """Do nothing: the default for ``last_words``."""


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal: it is gone when SIGHUP arrives, and the run is to end."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@frozen
class Step:
    """The effect of one request: ``act`` is called in trio's thread, and ``seconds`` later the process exits.

    ``seconds`` may be a function, which is called when the request arrives.
    """

    act: Callable[[], object]
    seconds: float | Callable[[], float]

    @property
    def patience(self) -> float:
        """The seconds."""
        return self.seconds() if callable(self.seconds) else self.seconds


@define(eq=False)
class StopRequests:
    """Handles requests to stop: the n-th request takes the n-th of the ``steps``; after the last, the process exits.

    A later step never extends the deadline. ``last_words`` is called before the process exits. If the process
    ``ends_afterwards``, signals after the end of the run are ignored.
    """

    steps: Sequence[Step]
    last_words: Callable[[], object] = _say_nothing
    leave: Callable[[int], NoReturn] = os._exit
    """Called with the exit code, in the main thread, when the deadline is over."""
    ends_afterwards: bool = False
    reload: Callable[[], object] | None = None
    """Called in trio's thread on SIGHUP, which is then no request to stop."""
    last: int = signal.SIGINT
    """The last signal that arrived."""
    _inbox: deque[int | trio.lowlevel.TrioToken | outcome.Outcome[object]] = attrs.field(
        factory=deque, init=False, repr=False
    )
    _waker: socket.socket | None = attrs.field(default=None, init=False, repr=False)

    @property
    def forced_code(self) -> int:
        """The exit code that a shell reports for a process that the last signal ended."""
        return 128 + self.last

    def stop(self) -> None:
        """Request a stop, as a signal does. May be called in any thread."""
        self._tell(_LINE)

    def _tell(self, message: int | trio.lowlevel.TrioToken | outcome.Outcome[object]) -> None:
        self._inbox.append(message)
        if self._waker is not None:
            with contextlib.suppress(OSError):  # full: the main thread wakes up anyway; or closed: the run has ended
                self._waker.send(_WAKE)

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run ``main`` under trio in a thread of its own, and handle SIGINT, SIGTERM and SIGHUP meanwhile.

        Call it in the main thread. Returns what ``main`` returns, raises what it raises, or exits the process.
        """

        async def entered() -> T:
            self._tell(trio.lowlevel.current_trio_token())
            return await main()

        def work() -> None:
            self._tell(outcome.capture(trio.run, entered))

        with self._listening() as ear:
            # A daemon thread: the process can exit while the run is blocked.
            threading.Thread(target=work, name="run", daemon=True).start()
            result: outcome.Outcome[T] = self._wait(ear)  # type: ignore[assignment]
        return result.unwrap()

    def _wait(self, ear: socket.socket) -> outcome.Outcome[object]:
        """Handle requests until the run has ended, and return its outcome."""
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
                if message == signal.SIGHUP and self.reload is not None:
                    if token is not None:  # before that, the run has not begun
                        with contextlib.suppress(trio.RunFinishedError):
                            token.run_sync_soon(self.reload)
                    continue
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
        with contextlib.suppress(RuntimeError):  # no thread can be started
            words = threading.Thread(target=self._say_last_words, daemon=True)
            words.start()
            words.join(_LAST_WORDS)
        self.leave(self.forced_code)

    def _say_last_words(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.last_words()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        """Yield a socket that becomes readable when a request arrives.

        The signal handler of the interpreter writes to it directly. So a signal just before this thread begins to wait
        ends the wait, where a handler written in Python would be called only after it.
        """
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        if before[signal.SIGHUP] is signal.SIG_IGN:
            del before[signal.SIGHUP]  # nohup: the run is meant to outlive the terminal
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
    """Await work that needs no cleanup. Return 0 and its result, or the exit code of the signal that ended it.

    Python's own handler is not used: a KeyboardInterrupt in a callback of the interpreter is printed and dropped, and
    the program would go on after Ctrl-C.
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
    """Call ``stop`` when a line can be read. The end of the input does not count as a line."""
    while True:
        with contextlib.suppress(OSError):  # a file or the null device is always readable
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
