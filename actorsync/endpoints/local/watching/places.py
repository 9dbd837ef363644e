"""Which directory each watch is for. A watch belongs to an inode, and the name of an inode changes with renames."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import attrs

from actorsync.classes import define

__all__ = ["Places"]


@define(eq=False)
class _Place:
    """A directory, by its place in the tree. ``watch`` is -1 if it is not watched."""

    name: str
    parent: _Place | None
    watch: int = -1
    children: dict[str, _Place] | None = None

    def path(self) -> str:
        """Return the path below the root."""
        names: list[str] = []
        place = self
        while place.parent is not None:
            names.append(place.name)
            place = place.parent
        return "/".join(reversed(names))


@define(eq=False)
class Places:
    """The watched directories of one tree.

    One watch is for several directories where links lead to the same inode. A rename inside the tree drops the old
    place and then finds the new one. The watch stays if that happens before `unused` is emptied.
    """

    _root: _Place = attrs.field(factory=lambda: _Place("", None), init=False)
    _by_watch: dict[int, _Place] = attrs.field(factory=dict, init=False)
    _others: dict[int, list[_Place]] = attrs.field(factory=dict, init=False)
    #: Watches that may be for nothing any more. `is_used` tells.
    unused: list[int] = attrs.field(factory=list, init=False)

    def __len__(self) -> int:
        """Return the number of watches in use."""
        return len(self._by_watch)

    def is_used(self, watch: int) -> bool:
        """Tell whether a watch is for a directory."""
        return watch in self._by_watch

    def paths_of(self, watch: int) -> list[str]:
        """Return the directories that a watch is for."""
        place = self._by_watch.get(watch)
        if place is None:
            return []
        return [place.path(), *(other.path() for other in self._others.get(watch, ()))]

    def is_watched(self, path: str) -> bool:
        """Tell whether a directory is watched."""
        place = self._at(path)
        return place is not None and place.watch >= 0

    def children(self, path: str) -> Collection[str]:
        """Return the names of the known directories in a directory."""
        place = self._at(path)
        return () if place is None or place.children is None else tuple(place.children)

    def put(self, path: str, watch: int) -> bool:
        """Note that a directory is watched. Return whether that is new, or another inode than before.

        The watch is unused if the directory above is not known: then it was removed meanwhile.
        """
        place = self._at(path)
        if place is None:
            above, _, name = path.rpartition("/")
            parent = self._at(above)
            if parent is None:
                self.unused.append(watch)
                return False
            place = _Place(name, parent)
            if parent.children is None:
                parent.children = {}
            parent.children[name] = place
        if place.watch == watch:
            return False
        self._release(place)
        place.watch = watch
        if watch in self._by_watch:
            self._others.setdefault(watch, []).append(place)
        else:
            self._by_watch[watch] = place
        return True

    def drop(self, path: str) -> None:
        """Forget a directory and all below it."""
        place = self._at(path)
        if place is None:
            return
        if place.parent is not None and place.parent.children is not None:
            del place.parent.children[place.name]
        for below in _with_all_below(place):
            self._release(below)
        place.children = None

    def forget(self, watch: int) -> list[str]:
        """Note that the kernel has removed a watch, and return the directories that it was for."""
        paths = self.paths_of(watch)
        for place in (self._by_watch.pop(watch, None), *self._others.pop(watch, ())):
            if place is not None:
                place.watch = -1
        return paths

    def _at(self, path: str) -> _Place | None:
        place: _Place | None = self._root
        for name in path.split("/") if path else ():
            if place is None or place.children is None:
                return None
            place = place.children.get(name)
        return place

    def _release(self, place: _Place) -> None:
        """Take a place off its watch."""
        watch, place.watch = place.watch, -1
        if watch < 0:
            return
        others = self._others.get(watch, [])
        if self._by_watch.get(watch) is not place:
            others.remove(place)
        elif others:
            self._by_watch[watch] = others.pop()
        else:
            del self._by_watch[watch]
            self.unused.append(watch)
        if not others:
            self._others.pop(watch, None)


def _with_all_below(place: _Place) -> Iterator[_Place]:
    waiting = [place]
    while waiting:
        here = waiting.pop()
        waiting += (here.children or {}).values()
        yield here
