"""Which directories of the source a scan lists, and in which order. Pure: listings in, directories out.

A scan of the whole source begins at the root and goes down. A partial one begins at directories in which something may
have changed, and goes down only into what is new: a directory that the journal does not know, or knows as another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import attrs

from actorsync.classes import define
from actorsync.model.entry import Kind, Root, Scope, ancestors, join, name_of, parent_of
from actorsync.model.row import CODES, ListingRows, decode, encode

__all__ = ["KnownDirectories", "PartialWalk", "Walk", "WholeWalk", "directories_of", "is_same_root"]

_DIRECTORY = CODES[Kind.DIRECTORY]


class KnownDirectories(Protocol):
    """What a partial walk asks of a journal: the directories of the mirror, without those that are gone or to go."""

    def knows(self, path: str) -> bool:
        """Return whether there is a directory of this path."""

    def inside(self, directory: str) -> Mapping[str, int | None]:
        """Return the directories in a directory by name, with their inodes."""


class Walk(Protocol):
    """What a scan asks: which directories are next, and what follows from their listings."""

    @property
    def is_empty(self) -> bool:
        """Whether no directory is to be listed at the moment. Listings that are under way may add some."""

    @property
    def scope(self) -> Scope:
        """What was listed, at the end of the scan."""

    def __len__(self) -> int: ...

    def next(self, count: int) -> list[str]:
        """Return so many directories that are to be listed next."""

    def put_back(self, directories: Sequence[str]) -> None:
        """Take directories back that were not listed."""

    def add(self, directories: Sequence[str]) -> None:
        """Take the directories that `below` has returned."""

    def judge(self, found: Sequence[ListingRows]) -> Sequence[ListingRows]:
        """Return the listings that count, in an order in which they can be planned."""

    def below(self, selected: ListingRows) -> list[str]:
        """Return the directories that are to be listed because of what of a directory is mirrored.

        Call it before that is planned, which changes what the journal knows. Then plan it, and then `add` these: a
        directory is planned before the directories in it.
        """


@define(eq=False)
class WholeWalk:
    """A walk that lists everything below some directories, breadth first."""

    scope: Scope
    _queue: deque[str] = attrs.field(init=False)

    @_queue.default
    def _begin(self) -> deque[str]:
        return deque(sorted(self.scope.directories, key=encode))

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_empty(self) -> bool:
        return not self._queue

    def next(self, count: int) -> list[str]:
        return [self._queue.popleft() for _ in range(count)]

    def put_back(self, directories: Sequence[str]) -> None:
        self._queue.extendleft(reversed(directories))

    def judge(self, found: Sequence[ListingRows]) -> Sequence[ListingRows]:
        return found

    def add(self, directories: Sequence[str]) -> None:
        self._queue.extend(directories)

    def below(self, selected: ListingRows) -> list[str]:
        return directories_of(selected)


@define(eq=False)
class PartialWalk:
    """A walk that lists ``hints``, and everything below what is new in them.

    ``hides`` tells which directories are not mirrored, ``known`` what the journal has. A directory that is not in the
    mirror, or not there any more, stands for the nearest one above it that is. With ``has_inodes``, a directory with
    another inode than before is another one. With ``is_careful`` the walk begins at the root, and lists the directories
    above a hint as well: on a server a path may lead through a symbolic link, and only the listings of the directories
    above tell.
    """

    hints: Collection[str]
    hides: Callable[[str], bool]
    known: KnownDirectories
    has_inodes: bool = True
    is_careful: bool = False
    _queue: deque[str] = attrs.field(factory=deque, init=False)
    _is_deep: dict[str, bool] = attrs.field(factory=dict, init=False)  # what is listed, and whether with all below it
    _given: set[str] = attrs.field(factory=set, init=False)  # not shown by a listing: they may not be there
    _shown: dict[str, frozenset[str]] = attrs.field(factory=dict, init=False)  # directories in those that were listed
    _doubtful: dict[str, list[ListingRows]] = attrs.field(factory=dict, init=False)  # by the directory that decides
    _passed: dict[str, list[str]] = attrs.field(factory=dict, init=False)  # known directories that were not entered
    _listed: set[str] = attrs.field(factory=set, init=False)
    _on_the_way: frozenset[str] = attrs.field(default=frozenset(), init=False)

    def __attrs_post_init__(self) -> None:
        if self.is_careful:
            self._on_the_way = frozenset(above for hint in self.hints for above in (hint, *ancestors(hint)))
            begin = [""] if self.hints else []
        else:
            begin = sorted({self._nearest(hint) for hint in self.hints}, key=encode)
        for directory in begin:
            self._given.add(directory)
            self._queue += self._wanted(directory, is_deep=False)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_empty(self) -> bool:
        return not self._queue

    @property
    def scope(self) -> Scope:
        return Scope(frozenset(self._listed), is_shallow=True)

    def next(self, count: int) -> list[str]:
        return [self._queue.popleft() for _ in range(count)]

    def put_back(self, directories: Sequence[str]) -> None:
        self._queue.extendleft(reversed(directories))

    def judge(self, found: Sequence[ListingRows]) -> Sequence[ListingRows]:
        """Return the listings that count. One that failed does only if the directory above shows its directory.

        If that was not listed, it is. So no hint is a failure because of what it names.
        """
        counting: list[ListingRows] = []
        waiting = list(found)
        while waiting:
            listed = waiting.pop(0)
            directory, parent = listed.directory, parent_of(listed.directory)
            is_in_doubt = listed.problem is not None and directory in self._given and directory != ""
            if is_in_doubt and parent not in self._shown:
                self._doubtful.setdefault(parent, []).append(listed)
                if parent not in self._is_deep:
                    self._given.add(parent)
                    self._queue += self._wanted(parent, is_deep=False)
                continue
            is_there = not is_in_doubt or directory in self._shown[parent]
            self._shown[directory] = frozenset(directories_of(listed)) if is_there else frozenset()
            waiting += self._doubtful.pop(directory, ())
            if is_there:
                self._listed.add(directory)
                counting.append(listed)
        return counting

    def add(self, directories: Sequence[str]) -> None:
        self._queue.extend(directories)

    def below(self, selected: ListingRows) -> list[str]:
        directory = selected.directory
        inside = directories_of(selected)
        if not inside:
            return []
        if self._is_deep[directory]:
            return [it for path in inside for it in self._wanted(path, is_deep=True)]
        known = self.known.inside(directory)
        inodes = {decode(row[0]): row[5] for row in selected.rows if row[1] == _DIRECTORY}
        following: list[str] = []
        for path in inside:
            name = name_of(path)
            if name not in known or (self.has_inodes and known[name] != inodes[name]):
                following += self._wanted(path, is_deep=True)
            elif path in self._on_the_way:
                following += self._wanted(path, is_deep=False)
            else:
                self._passed.setdefault(directory, []).append(path)
        return following

    def _wanted(self, directory: str, *, is_deep: bool) -> list[str]:
        """Return a directory if it is not listed yet; if it is to be entered deeply after all, what was passed."""
        new: list[str] = []
        wanted = [directory]
        while wanted:
            path = wanted.pop()
            if path not in self._is_deep:
                self._is_deep[path] = is_deep
                new.append(path)
            elif is_deep and not self._is_deep[path]:
                self._is_deep[path] = True
                wanted += self._passed.pop(path, ())
                wanted += sorted(self._shown.get(path, frozenset()) & self._is_deep.keys(), key=encode)
        return new

    def _nearest(self, hint: str) -> str:
        """Return a directory, or else the nearest one above it, that is in the mirror as far as the journal knows.

        What is in a directory that the journal does not know is planned after that directory.
        """
        nearest = ""
        for path in (*ancestors(hint)[1:], hint) if hint else ():
            if self.hides(path) or not self.known.knows(path):
                break
            nearest = path
        return nearest


def directories_of(listed: ListingRows) -> list[str]:
    """Return the paths of the directories in a directory."""
    return [join(listed.directory, decode(row[0])) for row in listed.rows if row[1] == _DIRECTORY]


def is_same_root(then: Root, now: Root, *, has_inodes: bool = True) -> bool:
    """Tell whether a root is the directory that it was: its device and its inode, as far as both are known."""
    devices, inodes = (then.device, now.device), (then.entry.inode, now.entry.inode)
    pairs = (devices, inodes) if has_inodes else (devices,)
    return all(first == second or None in {first, second} for first, second in pairs)
