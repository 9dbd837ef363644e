"""Messages to systemd, as sd_notify(3) describes them: datagrams to the socket in ``$NOTIFY_SOCKET``.

systemd has no say in how a run ends: a message that cannot be sent is dropped.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import closing, suppress
from typing import Final

from actorsync.classes import define
from actorsync.model.text import display

__all__ = ["Systemd", "from_environment"]

_SOCKET, _PERIOD, _PROCESS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"

#: Characters of a status, at most: `systemctl status` shows it on one line.
_LONGEST: Final = 300


@define(eq=False)
class Systemd:
    """The manager that has started this process. ``watchdog`` is its period in seconds; None without a watchdog."""

    address: str
    watchdog: float | None = None

    def tell(self, *lines: str) -> None:
        """Send lines such as ``READY=1``, as one message. Never waits."""
        with suppress(OSError), closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self.address)

    def ready(self) -> None:
        """Say that the start is over."""
        self.tell("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what goes on."""
        self.tell(f"STATUS={display(text)[:_LONGEST]}")

    def stopping(self, text: str, seconds: float) -> None:
        """Say that the process ends, and that it may take ``seconds`` from now."""
        self.tell("STOPPING=1", f"STATUS={display(text)[:_LONGEST]}", f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def reloading(self) -> None:
        """Say that the profile is read again. `ready` has to follow."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000}")

    def alive(self) -> None:
        """Satisfy the watchdog for one period."""
        self.tell("WATCHDOG=1")


def from_environment(environ: MutableMapping[str, str] = os.environ) -> Systemd | None:
    """Return the manager that the environment names; None without one.

    The variables are removed: a program that a run starts, such as a hook, must not speak for the run.
    """
    address, period, process = (environ.pop(name, "") for name in (_SOCKET, _PERIOD, _PROCESS))
    if not address.startswith(("/", "@")) or len(address) < 2:
        return None
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    is_ours = process in {"", str(os.getpid())}
    watchdog = int(period) / 1e6 if is_ours and period.isascii() and period.isdigit() and int(period) else None
    return Systemd(address, watchdog)
