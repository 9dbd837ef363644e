"""Hold a process at each system call that changes something, and kill it at one of them.

This uses seccomp user notification: a filter in the process makes the kernel ask a supervisor about each such call, of
any thread, one after the other. So "the n-th call that changes something" is one definite moment. Linux on x86-64 only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import struct
from collections import Counter
from collections.abc import Callable
from typing import Final

__all__ = ["CALLS", "install", "supervise", "why_not"]

#: System calls that change a disk or send data.
CALLS: Final = {
    "write": 1,
    "pwrite64": 18,
    "writev": 20,
    "sendfile": 40,
    "sendto": 44,
    "sendmsg": 46,
    "fsync": 74,
    "fdatasync": 75,
    "truncate": 76,
    "ftruncate": 77,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "chmod": 90,
    "fchmod": 91,
    "mkdirat": 258,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "fchmodat": 268,
    "utimensat": 280,
    "fallocate": 285,
    "pwritev": 296,
    "sendmmsg": 307,
    "renameat2": 316,
    "copy_file_range": 326,
}
_OPENAT: Final = 257  # with O_CREAT only
#: The calls whose first argument is an open directory, and the second a name in it.
_AT_DIRECTORY: Final = frozenset({"openat", "mkdirat", "unlinkat", "renameat", "renameat2", "linkat"})
_NAMES: Final = {number: name for name, number in CALLS.items()} | {_OPENAT: "openat"}

#: Number of the descriptor at which the process leaves the listener for its supervisor.
_LISTENER: Final = 250

_SECCOMP, _PIDFD_GETFD = 317, 438
_NO_NEW_PRIVS, _SET_MODE_FILTER, _NEW_LISTENER = 38, 1, 8
_X86_64 = 0xC000003E
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, |JSET|K, BPF_RET|K

#: Bytes of the longest path that is read.
_LONGEST, _PAGE = 1024, 4096

_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Return why this cannot work on this machine, or None."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "seccomp is used with the system call numbers of Linux on x86-64; this is another system"
    return None


def _program() -> bytes:
    """Return the BPF filter: notify for `CALLS` and for openat with O_CREAT; allow the rest."""
    calls = list(CALLS.values())
    openat = 3 + len(calls)
    allow, ask = openat + 3, openat + 4
    code = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_EQUAL, 0, allow - 2, _X86_64),
        (_LOAD, 0, 0, 0),  # the number of the call
        *((_EQUAL, ask - at - 1, 0, call) for at, call in enumerate(calls, 3)),  # jumps are relative to the next line
        (_EQUAL, 0, allow - openat - 1, _OPENAT),
        (_LOAD, 0, 0, 16 + 2 * 8),  # its third argument, the flags
        (_ANY_BIT, ask - (openat + 2) - 1, 0, os.O_CREAT),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ASK),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def install() -> None:
    """Install the filter in this process and its future threads, then stop until the supervisor is ready."""
    program = ctypes.create_string_buffer(_program())
    header = struct.pack("HxxxxxxP", len(program.raw) // 8, ctypes.addressof(program))
    if _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    listener = _libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    os.dup2(listener, _LISTENER)
    os.close(listener)
    os.kill(os.getpid(), signal.SIGSTOP)
    os.close(_LISTENER)


def supervise(
    pid: int, kill_at: int | None, on_call: Callable[[int, str], None] | None = None
) -> tuple[int, Counter[str]]:
    """Let a child that has called `install` continue, and kill it at its ``kill_at``-th call that changes something.

    ``on_call`` is called at each such call, before the call is made, with its number from 1 and the path that it is
    about: an absolute one, the argument of an FTP command, or ``""``.

    Returns when it has ended: its wait status, and how often it made each call, including the last one.
    """
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        raise RuntimeError(f"the child ended before it was supervised, with wait status {status}")
    process = os.pidfd_open(pid)
    listener = _libc.syscall(_PIDFD_GETFD, process, _LISTENER, 0)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    os.kill(pid, signal.SIGCONT)
    seen: Counter[str] = Counter()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(process, select.POLLIN)
    try:
        while process not in (ready := dict(poll.poll())):
            if not ready[listener] & select.POLLIN:
                poll.unregister(listener)  # no thread is left to make calls
                continue
            if (asked := _receive(listener)) is None:
                continue
            number, name, thread, arguments = asked
            seen[name] += 1
            if on_call is not None:
                on_call(seen.total(), _path_of(thread, name, arguments))
            if seen.total() == kill_at:
                os.kill(pid, signal.SIGKILL)
                break
            _continue(listener, number)
        return os.waitpid(pid, 0)[1], seen
    finally:
        os.close(listener)
        os.close(process)


def _receive(listener: int) -> tuple[int, str, int, tuple[int, ...]] | None:
    """Receive a notification; return its id, and the name, the thread and the arguments of the call.

    Returns None when the thread has ended.
    """
    question = bytearray(80)
    try:
        fcntl.ioctl(listener, _RECEIVE, question)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EINTR}:
            return None
        raise
    number, thread, call, *arguments = struct.unpack_from("QIxxxxIxxxxxxxxxxxx6Q", question)
    return number, _NAMES[call], thread, tuple(arguments)


def _path_of(thread: int, name: str, arguments: tuple[int, ...]) -> str:
    """Return the path that a call is about, for calls with a directory and a name; of a rename, it is the old path."""
    if name == "sendto":
        line = _memory(thread, arguments[1], min(arguments[2], _LONGEST)).partition(b"\r\n")[0]
        return os.fsdecode(line.partition(b" ")[2]) if line.isascii() else ""
    if name not in _AT_DIRECTORY:
        return ""
    path = os.fsdecode(_memory(thread, arguments[1], _LONGEST).partition(b"\0")[0])
    directory = ctypes.c_int(arguments[0] & 0xFFFFFFFF).value
    folder = f"/proc/{thread}/" + ("cwd" if directory < 0 else f"fd/{directory}")
    return os.path.join(os.readlink(folder), path)


def _memory(thread: int, address: int, size: int) -> bytes:
    """Read from the memory of a held thread, at most to the end of the page."""
    size = min(size, _PAGE - address % _PAGE)
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(size)


def _continue(listener: int, number: int) -> None:
    """Let a held call continue."""
    answer = bytearray(struct.pack("QqiI", number, 0, 0, _CONTINUE))
    try:
        fcntl.ioctl(listener, _SEND, answer)
    except OSError as error:
        if error.errno != errno.ENOENT:  # ENOENT: a signal ended the thread in the meantime
            raise
