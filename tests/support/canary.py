"""The servers' password is a canary: it may appear on the wire only. The suite searches for it in every test.

It searches all log records, the arguments of every started process, the output of tests, and every file in the folders
for state, which hold journals.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tests.support.servers.debian_servers import PASSWORD

__all__ = ["Watch", "seen_in"]

_WORD = PASSWORD.encode()
#: Files of this size and larger are not read.
_MAX_SIZE = 64 * 1024 * 1024


def seen_in(folder: Path) -> list[str]:
    """Return the files below ``folder`` that contain the password."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < _MAX_SIZE:
                with open(path, "rb") as file:
                    if _WORD in file.read():
                        found.append(path)
    return found


class Watch(logging.Handler):
    """Records in ``seen`` every place where the password appears. Install it once: an audit hook cannot be removed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def install(self) -> None:
        """Watch all loggers, and the arguments of all new processes."""
        logging.getLogger().addHandler(self)
        sys.addaudithook(self._audit)

    def emit(self, record: logging.LogRecord) -> None:
        self._look(record.getMessage(), f"the log of {record.name}")

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
            self._look(repr(arguments[:2]), f"the arguments of a process ({event})")

    def _look(self, text: str, where: str) -> None:
        if PASSWORD in text:
            self.seen.append(where)
