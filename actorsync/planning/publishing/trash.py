"""Names in the trash, and which runs leave it. Pure."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from actorsync.classes import define, frozen
from actorsync.model.entry import join, name_of, parent_of

__all__ = ["Places", "TrashRun", "directories_of", "expired", "is_place", "run_directory"]

#: The directory of one run: when it began, the number of the run, and whose it is.
_RUN: Final = re.compile(r"\d{8}T\d{6}Z-\d+-[0-9a-z]{1,16}")


def run_directory(trash: str, began_ns: int, run: int, owner: str) -> str:
    """Return the directory of one run in the trash. No two runs have the same: not of two profiles, nor of two clocks.

    ``owner`` tells apart the profiles that share a trash.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began_ns // 1_000_000_000))
    return join(trash, f"{stamp}-{run}-{owner}")


def is_place(path: str) -> bool:
    """Return whether a path is one of a file in the trash, and not of a temporary."""
    return name_of(path).isdigit() and _RUN.fullmatch(name_of(parent_of(path))) is not None


def directories_of(directory: str) -> list[str]:
    """Return the directories that a run makes for its trash, parents first. Those above the target exist."""
    names = directory.split("/")
    paths = itertools.accumulate(names, join)
    return [path for path, name in zip(paths, names, strict=True) if name != ".."]


@define
class Places:
    """Hands out places in the trash of one run: numbers, so that a web server takes no file there for a program."""

    directory: str
    _count: Iterator[int] = attrs.field(factory=itertools.count, init=False, repr=False, eq=False)

    def next(self) -> str:
        """Return a place that was not handed out before."""
        return join(self.directory, str(next(self._count)))


@frozen
class TrashRun:
    """What the trash has of one run: how many changes can be undone, files and bytes. ``at`` is when the run began.

    ``has_open`` says that it is not known of some files whether they are in the trash: the next run looks.
    """

    run: int
    directory: str
    at: float
    changes: int = 0
    files: int = 0
    size: int = 0
    has_open: bool = False
    is_undo: bool = False


def expired(runs: Iterable[TrashRun], now: float, keep: float, max_size: int | None) -> list[TrashRun]:
    """Return the runs that leave the trash, oldest first: those older than ``keep`` seconds, and then the oldest.

    What then is left has at most ``max_size`` bytes. A run stays or goes as a whole, so it can be undone or it cannot.
    """
    kept = sorted((run for run in runs if not run.has_open), key=lambda run: (run.at, run.run))
    size = sum(run.size for run in kept)
    gone: list[TrashRun] = []
    for run in kept:
        is_too_big = max_size is not None and size > max_size
        if run.at >= now - keep and not is_too_big:
            break
        gone.append(run)
        size -= run.size
    return gone
