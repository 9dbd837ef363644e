"""Questions to the user on the controlling terminal, wherever input and output are redirected."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

__all__ = ["ask"]

_TERMINAL: Final = "/dev/tty"
_LOCAL_MODES, _CONTROL_CHARACTERS = 3, 6  # indexes in the list of termios.tcgetattr
_DISABLED: Final = b"\0"
#: Seconds between two checks for a signal that arrived just before a wait.
_POLL_SECONDS: Final = 0.2


def ask(question: str, *, is_hidden: bool) -> str:
    """Ask on the terminal and return the line that was typed; ``""`` at the end of input (Ctrl-D).

    With ``is_hidden``, the input is not echoed, and the terminal is restored afterwards, also after Ctrl-C, SIGTERM and
    SIGHUP. Bytes that are not UTF-8 become surrogate escapes. Raises `OSError` when there is no terminal.
    """
    descriptor = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        with _unseen(descriptor) if is_hidden else contextlib.nullcontext():
            os.write(descriptor, question.encode("utf-8", "backslashreplace"))
            line = _line(descriptor)
        if is_hidden:
            os.write(descriptor, b"\n")  # the typed line break was not echoed
    finally:
        os.close(descriptor)
    return line.decode("utf-8", "surrogateescape")


def _line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # No blocking read: a Ctrl-C just before it would take effect only at the next key press.
        while not select.select([descriptor], [], [], _POLL_SECONDS)[0]:
            pass
        more = os.read(descriptor, 4096)
        if not more:
            break
        line += more
    return line.removesuffix(b"\n")


@contextlib.contextmanager
def _unseen(descriptor: int) -> Iterator[None]:
    """Turn echo off, and Ctrl-Z too: a shell that takes the terminal back would turn echo on again."""
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error as error:
        raise OSError(*error.args) from None
    unseen = termios.tcgetattr(descriptor)
    unseen[_LOCAL_MODES] &= ~termios.ECHO
    unseen[_CONTROL_CHARACTERS][termios.VSUSP] = _DISABLED

    def restore() -> None:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)

    with _restoring_when_killed(restore):
        try:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, unseen)
            yield
        finally:
            restore()


@contextlib.contextmanager
def _restoring_when_killed(restore: Callable[[], None]) -> Iterator[None]:
    """Call ``restore`` before a signal ends the process. Signals that already have a handler keep it."""

    def handler(number: int, _: FrameType | None) -> None:
        restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    taken: list[signal.Signals] = []
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, handler)
                    taken.append(number)
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
