"""The servers' password is a canary: a word that may be nowhere but on the wire. This looks for it, in every test.

Looked at are all log records, the arguments of every process that is started, what tests print, and every file below
the folders for state, where journals are.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tests.support.servers.debian_servers import PASSWORD

__all__ = ["Watch", "seen_in"]

_WORD = PASSWORD.encode()
_MOST = 64 * 1024 * 1024


def seen_in(folder: Path) -> list[str]:
    """Give the files below ``folder`` that hold the word."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < _MOST:
                with open(path, "rb") as file:
                    if _WORD in file.read():
                        found.append(path)
    return found


class Watch(logging.Handler):
    """Takes note of every place where the word is seen. Installed once, for good: an audit hook cannot be removed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.is_on = True

    def install(self) -> None:
        """Look at what all loggers say, and at what every new process is told."""
        logging.getLogger().addHandler(self)
        sys.addaudithook(self._audit)

    def emit(self, record: logging.LogRecord) -> None:
        self._look(record.getMessage(), f"the log of {record.name}")

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
            self._look(repr(arguments[:2]), f"the arguments of a process ({event})")

    def _look(self, text: str, where: str) -> None:
        if self.is_on and PASSWORD in text:
            self.seen.append(where)
