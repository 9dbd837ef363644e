"""What a visitor of a site sees while it is deployed: from which moment to which, and in which order.

It reads the server's disk, so neither the line nor the server delays it. It looks every few milliseconds, and a moment
is as exact as the time between two looks.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final

import attrs

from actorsync.testing.visitor import Version, Watcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Seen", "Site"]

PAGE: Final = ".html"
PAUSE: Final = 0.005
"""Average seconds between two looks, as long as a look does not take a third of it."""
#: The states of a file.
OLD, NEW, AWAY, BROKEN = "old", "new", "away", "broken"


@attrs.frozen
class Seen:
    """What was seen of the changed files. Moments are seconds since the start of the run."""

    first: float | None
    """When the first file was not the old one any more; None if no change was seen."""
    last: float | None
    """When the last file was the new one; None if that was not reached."""
    ahead: float
    """For how many seconds a page was new while a file that pages load was not."""
    broken: int
    """How many files were seen with contents that are neither the old nor the new ones."""
    away: int
    """How many files were not there at a look."""
    looks: int

    @property
    def window(self) -> float | None:
        """Seconds in which the site was neither the old nor the new one."""
        return None if self.first is None or self.last is None else self.last - self.first


class Site(Watcher):
    """Looks at the changed files of a target. ``old`` and ``new`` are trees with what the files were and shall be."""

    def __init__(self, root: Path, old: Path, new: Path, changed: Iterable[str]) -> None:
        super().__init__()
        self._root, self._old, self._new = root, Version.of(old), Version.of(new)
        self._states = dict.fromkeys(changed, OLD)
        self._looked: dict[str, tuple[int, int, int] | None] = {}
        self._began, self._before = time.monotonic(), 0.0
        self._first: float | None = None
        self._last: float | None = None
        self._ahead, self._looks = 0.0, 0
        self._ever: dict[str, set[str]] = {AWAY: set(), BROKEN: set()}

    @contextlib.contextmanager
    def watching_from_now(self) -> Iterator[None]:
        """Look at all files once, then repeatedly during a ``with`` block, and count the seconds from its start."""
        self.look()
        self._began, self._before = time.monotonic(), 0.0
        with self.watching(pause=PAUSE):
            yield

    def look(self) -> None:
        """Look at every changed file once; read those that are others than at the last look."""
        self._looks += 1
        for path in self._states:
            self._look_at(path)
        now = time.monotonic() - self._began
        states = self._states.values()
        if self._first is None and any(state != OLD for state in states):
            self._first = now
        if all(state == NEW for state in states):
            self._last = now if self._last is None else self._last
        else:
            self._last = None
        if self._is_ahead():
            self._ahead += now - self._before
        self._before = now

    def seen(self) -> Seen:
        """Return what was seen up to the last look."""
        ever = self._ever
        return Seen(self._first, self._last, self._ahead, len(ever[BROKEN]), len(ever[AWAY]), self._looks)

    def _is_ahead(self) -> bool:
        pages = {path for path in self._states if path.endswith(PAGE)}
        loaded = self._states.keys() - pages
        return any(self._states[path] == NEW for path in pages) and any(self._states[path] != NEW for path in loaded)

    def _fingerprint(self, path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._root / path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_ctime_ns

    def _look_at(self, path: str) -> None:
        if (found := self._fingerprint(path)) == self._looked.get(path, ()):
            return
        self._looked[path] = found
        self._states[path] = state = self._state(path)
        if state in self._ever:
            self._ever[state].add(path)

    def _state(self, path: str) -> str:
        try:
            with open(self._root / path, "rb") as file:
                if self._new.holds(path, file):
                    return NEW
                return OLD if self._old.holds(path, file) else BROKEN
        except OSError:
            return AWAY
