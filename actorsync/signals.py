"""Signals, and the line on standard input: the first drains, the second cancels, the third leaves the process.

A handler runs between any two steps of the interpreter, so it does next to nothing: it asks trio to act, or, at the
third signal, leaves at once, whatever the loop is doing.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Final, TypeVar

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.errors import ActorsyncError

__all__ = ["StopRequests", "abortable", "drain_on_enter", "stopping_on_signals"]

T = TypeVar("T")

#: What is tidied up after the second signal has this long (seconds): the process is gone within one.
_CANCEL_SECONDS: Final = 0.7

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@attrs.define(eq=False)
class StopRequests:
    """Counts how often somebody asked for an end, and does what the number asks for.

    ``announce`` is told, on trio's thread: True for a drain, False for a cancel. ``last_words`` is called from the
    signal handler before the process is left.
    """

    shutdown: Shutdown
    announce: Callable[[bool], None]
    last_words: Callable[[], None]
    _signalled: int = 0
    _stops: int = 0
    last: int = signal.SIGINT

    @property
    def forced_code(self) -> int:
        """What a shell calls a process that was ended by the last signal."""
        return 128 + self.last

    def stop(self) -> None:
        """Ask for an end once more. On trio's thread."""
        self._stops += 1
        if self._stops == 1:
            self.shutdown.drain()
            self.announce(True)
        elif not self.shutdown.cancelling.is_set():
            self.shutdown.cancel(within=_CANCEL_SECONDS)
            self.announce(False)

    def handle(self, number: int, token: trio.lowlevel.TrioToken) -> None:
        """Take a signal, in its handler."""
        self._signalled += 1
        self.last = number
        # Counted here and not by `stop`: that may never be called, if the loop is stuck.
        if self._signalled >= 3:
            self.last_words()
            os._exit(self.forced_code)
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(self.stop)


@contextlib.contextmanager
def stopping_on_signals(requests: StopRequests) -> Iterator[None]:
    """Send SIGINT, SIGTERM and SIGHUP to ``requests`` for the length of the block. In the main thread, under trio."""
    token = trio.lowlevel.current_trio_token()

    def handler(number: int, _: FrameType | None) -> None:
        requests.handle(number, token)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]  # nohup: to outlive the terminal is what was asked for
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)


async def abortable(work: Callable[[], Awaitable[T]]) -> tuple[int, T | None]:
    """Do what has nothing to tidy up. Give 0 and its result, or the exit code of the signal that ended it.

    The signals are waited for, not left to Python's own handler: a KeyboardInterrupt that comes up in a callback of the
    interpreter is shown and forgotten, and the user who pressed Ctrl-C waits.
    """
    code, result, refused = 0, None, None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal code
                code = 128 + await anext(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                result = await work()
            except ActorsyncError as error:
                refused = error
            nursery.cancel_scope.cancel()
    if refused is not None:
        raise refused
    return code, result


async def drain_on_enter(descriptor: int, requests: StopRequests) -> None:
    """Ask for an end when a line can be read; the end of the input is no line."""
    while True:
        with contextlib.suppress(OSError):  # a file, or the null device: nothing to wait for
            await trio.lowlevel.wait_readable(descriptor)
        try:
            data = os.read(descriptor, 4096)
        except OSError:
            return
        if b"\n" in data:
            requests.stop()
        if b"\n" in data or not data:
            return
        await trio.lowlevel.checkpoint()
