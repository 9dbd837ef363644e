"""The blocking half of inotify: watch a directory, then list the directories in it.

In this order, a directory or a file that is made meanwhile is either in the list or makes an event.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from actorsync.classes import frozen
from actorsync.endpoints.local.watching.kernel import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DONT_FOLLOW,
    EXCL_UNLINK,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    ONLYDIR,
    Inotify,
)
from actorsync.endpoints.shared.resource_limits import is_own_limit
from actorsync.errors import OperationRefused
from actorsync.model.entry import join, name_of, parent_of
from actorsync.planning.selection import Selection

__all__ = ["NAMES_CHANGE", "Seen", "Surveyor", "WatchedTree"]

#: Names that come and go.
NAMES_CHANGE: Final = CREATE | DELETE | MOVED_FROM | MOVED_TO
#: What is watched in the tree. MODIFY, and not CLOSE_WRITE alone: a log or a database stays open for weeks, and a file
#: that is being written should keep the directory from coming to rest. CLOSE_WRITE as well: writing through a memory
#: map makes no MODIFY. ATTRIB: modes and times, which some editors set last. Nothing is watched that reading causes, so
#: a run causes no hints. EXCL_UNLINK: a file that is removed and still written is no longer in the tree.
_MASK: Final = MODIFY | CLOSE_WRITE | ATTRIB | NAMES_CHANGE | ONLYDIR | EXCL_UNLINK
#: Seconds after which a hop ends. Events wait meanwhile, and a cancelled task waits for its end.
_LONG_ENOUGH: Final = 0.02


class WatchedTree(Protocol):
    """The part of ``actorsync.endpoints.local.tree.Tree`` that is needed here. Every method blocks."""

    @property
    def root(self) -> str:
        """The path of the root, without links."""

    @property
    def follow(self) -> bool:
        """Whether links are followed."""

    def resolve(self, path: str) -> str:
        """Return a path with its links resolved, if they are followed. Raises `OperationRefused` if it leads out."""

    def followed(self, path: str) -> os.stat_result | None:
        """Return the status of what a link leads to; None if that does not take part."""

    def opened(self, directory: str) -> AbstractContextManager[int]:
        """Open a directory by its path without links, which may be of any length; return the descriptor."""


@frozen
class Seen:
    """What a hop found of one directory. ``watch`` is -1 if it cannot be watched.

    ``names`` are the directories in it, and ``links`` the links in it, which are followed. ``files`` are what those
    links lead to that is no directory, or does not exist yet: the watch of the directory that it is in, and its name.
    """

    path: str
    watch: int = -1
    names: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    files: tuple[tuple[int, str], ...] = ()


@frozen
class Surveyor:
    """Watches and lists the directories of a tree that ``selection`` includes. Every method blocks."""

    inotify: Inotify
    tree: WatchedTree
    selection: Selection

    def look(self, directories: Sequence[str]) -> list[Seen]:
        """Look at the first of the directories, and at as many of the following as one hop has time for.

        Raises ``OSError``: ENOSPC if there are no watches left, or a limit for which `is_own_limit` is true.
        """
        found: list[Seen] = []
        end = time.monotonic() + _LONG_ENOUGH
        for path in directories:
            found.append(self._look_at(path))
            if time.monotonic() >= end:
                break
        return found

    def _look_at(self, path: str) -> Seen:
        try:
            real = self.tree.resolve(path)
            try:
                return self._seen(path, join(self.tree.root, real) if real else self.tree.root, DONT_FOLLOW)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
            with self.tree.opened(real) as descriptor:  # the path is too long for one call
                return self._seen(path, f"/proc/self/fd/{descriptor}", 0)
        except OperationRefused:
            return Seen(path)
        except OSError as error:
            if is_own_limit(error) or error.errno == errno.ENOSPC:
                raise
            return Seen(path)  # that it cannot be listed either is shown by the next pass

    def _seen(self, path: str, place: str, flag: int) -> Seen:
        watch = self.inotify.add(place, _MASK | flag)
        names: list[str] = []
        links: list[str] = []
        files: list[tuple[int, str]] = []
        try:
            with os.scandir(place) as found:
                for item in found:
                    below = join(path, item.name)
                    if is_directory := item.is_dir(follow_symlinks=False):
                        is_link = False
                    elif is_link := self.tree.follow and item.is_symlink():
                        status = self.tree.followed(below)
                        is_directory = status is not None and stat.S_ISDIR(status.st_mode)
                    if not (is_directory or is_link) or not self.selection.is_included(below, is_directory):
                        continue
                    if is_directory:
                        names.append(item.name)
                    else:
                        files += self._file(below)
                    if is_link:
                        links.append(item.name)
        except OSError as error:
            if is_own_limit(error):
                raise
            return Seen(path, watch)
        return Seen(path, watch, tuple(names), tuple(links), tuple(files))

    def _file(self, link: str) -> list[tuple[int, str]]:
        """Watch the directory that a link leads into, which may be one that is not mirrored."""
        try:
            real = self.tree.resolve(link)
            return [(self.inotify.add(join(self.tree.root, parent_of(real)), _MASK), name_of(real))]
        except (OperationRefused, FileNotFoundError, NotADirectoryError, PermissionError):
            return []
