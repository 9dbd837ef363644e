"""Hints from inotify: one task reads the descriptor, and adds watches in a thread between two reads."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from itertools import islice
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.hints import HintQueue
from actorsync.endpoints.local.watching.kernel import (
    ATTRIB,
    CREATE,
    DELETE,
    IGNORED,
    ISDIR,
    MASK_ADD,
    MOVED_FROM,
    MOVED_TO,
    ONLYDIR,
    OVERFLOW,
    Happening,
    Inotify,
)
from actorsync.endpoints.local.watching.places import Places
from actorsync.endpoints.local.watching.survey import NAMES_CHANGE, Seen, Surveyor, WatchedTree
from actorsync.endpoints.shared.resource_limits import is_own_limit
from actorsync.model.entry import join, parent_of
from actorsync.planning.selection import Selection

__all__ = ["InotifyWatch"]

#: Directories that a hop is asked to look at.
_BATCH: Final = 512
#: Watches that are removed between two reads. Each makes an event of its own, and too many would fill the queue.
_REMOVALS: Final = 1_000
#: Seconds between two reads. Meanwhile the kernel merges the events of a file that is written in many pieces.
_PAUSE: Final = 0.01
#: Seconds until directories are looked at again after this process or machine had no descriptor or memory left.
_WAIT: Final = 0.5


@define(eq=False)
class InotifyWatch:
    """Watches one tree with one instance of inotify, and puts hints into ``queue``.

    It does not notice that the path of the root leads elsewhere; see `something_at_root`.
    """

    inotify: Inotify
    tree: WatchedTree
    selection: Selection
    queue: HintQueue
    _places: Places = attrs.field(factory=Places, init=False)
    _surveyor: Surveyor = attrs.field(init=False)
    #: Directories to look at. With True, also at the directories in them that are watched already.
    _waiting: dict[str, bool] = attrs.field(factory=lambda: {"": True}, init=False)
    #: The directories above the root, each with the names in it that lead to the root.
    _above: dict[int, set[str]] = attrs.field(factory=dict, init=False)
    _at_root: trio.Event = attrs.field(factory=trio.Event, init=False)
    _is_root_gone: bool = attrs.field(default=False, init=False)
    #: Links that are followed, and the directories with links to a file, by the watch and the name of that file.
    _links: set[str] = attrs.field(factory=set, init=False)
    _files: dict[tuple[int, str], set[str]] = attrs.field(factory=dict, init=False)
    _is_complete: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._surveyor = Surveyor(self.inotify, self.tree, self.selection)

    @property
    def directories(self) -> int:
        """The number of directories that are watched."""
        return len(self._places)

    def watch_above(self, places: Iterable[tuple[str, str]]) -> None:
        """Watch directories above the root for a name in each. One that cannot be watched is left out."""
        for directory, name in places:
            try:
                watch = self.inotify.add(directory, NAMES_CHANGE | ONLYDIR | MASK_ADD)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise
                continue
            self._above.setdefault(watch, set()).add(name)

    async def something_at_root(self) -> bool:
        """Wait until something happens to the root or above it. Return whether it is certain that the root is gone.

        Its path may lead to another directory with the same inode.
        """
        await self._at_root.wait()
        self._at_root = trio.Event()
        return self._is_root_gone

    async def start(self) -> None:
        """Watch all directories.

        Raises ``OSError`` if the system has no watches left.
        """
        await self._survey()
        self._is_complete = True

    async def run(self) -> None:
        """Follow the changes until cancelled. Raises ``OSError`` if the system has no watches left."""
        while True:
            await self._survey()
            for watch in self._unused():
                self.inotify.remove(watch)
            if not self._places.unused:
                await trio.lowlevel.wait_readable(self.inotify.fileno())
            await self._read()
            if not self._waiting:
                await trio.sleep(_PAUSE)

    def _unused(self) -> list[int]:
        batch = self._places.unused[:_REMOVALS]
        del self._places.unused[:_REMOVALS]
        return [it for it in batch if not self._places.is_used(it) and it not in self._above]

    async def _survey(self) -> None:
        """Look at the directories that wait for it, and read events between two hops."""
        while self._waiting:
            batch = list(islice(self._waiting, _BATCH))
            try:
                found = await trio.to_thread.run_sync(self._surveyor.look, batch)
            except OSError as error:
                if not is_own_limit(error):
                    raise
                await trio.sleep(_WAIT)
                continue
            for seen in found:
                self._take(seen, is_deep=self._waiting.pop(seen.path))
            await self._read()

    def _take(self, seen: Seen, *, is_deep: bool) -> None:
        path, places = seen.path, self._places
        if seen.watch < 0:
            places.drop(path)
            if not path:
                self._note_root_gone()
            return
        is_new = places.put(path, seen.watch)
        if is_new and self._is_complete:
            self.queue.add({path, parent_of(path)})
        known = set(places.children(path))
        for name in known.difference(seen.names):
            places.drop(join(path, name))
        for name in seen.names:
            if is_deep or is_new or name not in known:
                self._look_at(join(path, name), is_deep=is_deep)
        self._links.update(join(path, name) for name in seen.links)
        for file in seen.files:
            self._files.setdefault(file, set()).add(path)

    def _look_at(self, path: str, *, is_deep: bool = False) -> None:
        self._waiting[path] = self._waiting.get(path, False) or is_deep

    async def _read(self) -> None:
        while happenings := self.inotify.read():
            for happening in happenings:
                self._note(happening)
            await trio.lowlevel.checkpoint()

    def _note(self, happening: Happening) -> None:
        watch, mask, name = happening
        if mask & OVERFLOW:
            self.queue.lose("more changed at once than the queue of inotify holds")
            self._look_at("", is_deep=True)
        elif mask & IGNORED:
            self._above.pop(watch, None)
            for path in self._places.forget(watch):
                self._look_at(path)
                if not path:
                    self._note_root_gone()
        else:
            if mask & NAMES_CHANGE and name in self._above.get(watch, ()):
                self._at_root.set()
            for path in self._places.paths_of(watch):
                self._note_in(path, mask, name)
            for holder in self._files.get((watch, name), ()):
                self.queue.add([holder])
                self._look_at(holder)  # the link may lead to a directory now

    def _note_root_gone(self) -> None:
        self._is_root_gone = True
        self._at_root.set()

    def _note_in(self, path: str, mask: int, name: str) -> None:
        """Note that something happened to a name in a directory; to the directory itself if the name is ``""``."""
        if not name:
            # The directory above makes the same event, with a name. The root has none that is watched for it.
            self.queue.add([path] if mask & ATTRIB and not path else ())
            return
        below, is_directory = join(path, name), bool(mask & ISDIR)
        if not self._is_mirrored(below, is_directory):
            return
        self.queue.add([path])
        if is_directory and mask & (DELETE | MOVED_FROM):
            self._places.drop(below)
        elif is_directory and (mask & (CREATE | MOVED_TO) or not self._places.is_watched(below)):
            self._look_at(below)
        if self.tree.follow and mask & NAMES_CHANGE:
            self._look_at(path)  # it may be a link
            if is_directory or below in self._links:
                self._look_again_at_links()

    def _is_mirrored(self, path: str, is_directory: bool) -> bool:
        """Tell whether an entry takes part. A link counts as both, as it may lead to either."""
        included = self.selection.is_included
        return included(path, is_directory) or (self.tree.follow and not is_directory and included(path, True))

    def _look_again_at_links(self) -> None:
        """Look at all links again: a directory or a link has changed, so each may lead elsewhere now."""
        holders = {parent_of(link) for link in self._links}
        for directory in holders | self._links:
            self._look_at(directory)
        self.queue.add(holders)
        self._links.clear()
        self._files.clear()
