"""A visitor: reads a folder again and again while something is deployed into it, and tells what was to be seen there.

It trusts neither who deploys nor the server: it opens each file, as a web server does for a visitor, and compares it
with the versions that there are to be seen, byte for byte::

    visitor = Visitor(server.root, versions=[old, new])
    with visitor.watching():
        deploy()
    assert visitor.seen().is_whole

It looks at random instants, so what it sees has happened, and what it does not see may have.
"""

from __future__ import annotations

import os
import random
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import attrs

__all__ = ["Broken", "Seen", "Version", "Visitor", "Watcher", "is_temporary"]

_TEMPORARY = re.compile(r"\.actorsync[-+][0-9a-z]+|^actorsync-[0-9a-z]+\.try$")
_CHUNK: Final = 1 << 18
_PAUSE: Final = 0.002
#: After a look that took a while: how many times as long nobody looks, on average.
_REST: Final = 3


def is_temporary(path: str) -> bool:
    """Tell whether this is a name that actorsync makes for itself, for a file that has no name yet or no longer."""
    return _TEMPORARY.search(path.rpartition("/")[2]) is not None


def _selects_all(path: str, is_directory: bool) -> bool:  # noqa: ARG001 - whoever asks gives them
    return True


_Stamp = tuple[int, int, int]
_Inode = tuple[int, int]


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ino


@attrs.frozen
class Version:
    """One version of a tree: the files below ``root`` as they are at one moment, by their paths."""

    root: Path
    files: Mapping[str, _Stamp] = attrs.field(factory=dict, repr=lambda files: f"{len(files)} files")

    @classmethod
    def of(
        cls,
        root: Path,
        *,
        selects: Callable[[str, bool], bool] = _selects_all,
        follows_links: bool = False,
        visit: Callable[[], object] | None = None,
    ) -> Version:
        """Look at the tree. ``selects`` says of a path, and whether it is a directory, whether it takes part.

        ``visit`` is called for each directory. What cannot be looked at is left out; a root that is no directory raises
        ``OSError``.
        """
        files: dict[str, _Stamp] = {}
        waiting: list[tuple[str, tuple[_Inode, ...]]] = [("", (_inode(os.stat(root)),))]
        os.listdir(root)
        while waiting:
            folder, above = waiting.pop()
            if visit is not None:
                visit()
            for name, status in _listed(root / folder if folder else root, follows_links):
                path = f"{folder}/{name}" if folder else name
                is_directory = stat.S_ISDIR(status.st_mode)
                if not selects(path, is_directory):
                    continue
                if is_directory and _inode(status) not in above:  # or a link leads back to where it is
                    waiting.append((path, (*above, _inode(status))))
                elif stat.S_ISREG(status.st_mode):
                    files[path] = _stamp(status)
        return cls(root, files)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(size for size, _, _ in self.files.values())

    def has_changed(self, path: str) -> bool:
        """Tell whether a file has changed since, has come, or is gone."""
        try:
            return self.files.get(path) != _stamp(os.stat(self.root / path))
        except OSError:
            return path in self.files

    def holds(self, path: str, file: BinaryIO) -> bool | None:
        """Tell whether ``file`` is this version of ``path``; None when it is not, but the version has changed since."""
        if path not in self.files:
            return False
        try:
            with open(self.root / path, "rb") as own:
                is_equal = os.fstat(own.fileno()).st_size == os.fstat(file.fileno()).st_size and _are_equal(own, file)
                if is_equal:
                    return True
                return False if _stamp(os.fstat(own.fileno())) == self.files[path] else None
        except OSError:
            return None


def _listed(folder: Path, follows_links: bool) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    yield entry.name, entry.stat(follow_symlinks=follows_links)
                except OSError:
                    continue
    except OSError:
        return


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino


def _are_equal(one: BinaryIO, other: BinaryIO) -> bool:
    other.seek(0)
    while True:
        piece = one.read(_CHUNK)
        if piece != other.read(_CHUNK):
            return False
        if not piece:
            return True


class Watcher:
    """Somebody who looks again and again, in a thread of its own."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._wanted = threading.Event()

    def look(self) -> None:
        """Look at everything once."""
        raise NotImplementedError

    def look_soon(self) -> None:
        """Have the thread look at once. In any thread."""
        self._wanted.set()

    @contextmanager
    def watching(self, *, pause: float = _PAUSE) -> Iterator[None]:
        """Look again and again, for the length of a ``with`` block; and once more at its end.

        Between two looks passes a random time, of ``pause`` seconds on average; longer where a look itself takes long,
        so that whoever is watched gets on. An error of the thread is raised at the end of the block.
        """
        failures: list[BaseException] = []
        chance = random.Random()  # noqa: S311 - nobody has to be fooled

        def run() -> None:
            try:
                while not self._stopping.is_set():
                    self._wanted.clear()
                    began = time.monotonic()
                    self.look()
                    took = time.monotonic() - began
                    self._wanted.wait(chance.uniform(0, 2 * max(pause, _REST * took)))
            except BaseException as error:  # noqa: BLE001 - raised again below
                failures.append(error)

        self._stopping.clear()
        thread = threading.Thread(target=run, name="visitor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._wanted.set()
            thread.join()
        if failures:
            raise failures[0]
        self.look()


@attrs.frozen
class Broken:
    """A file that was of no version when it was looked at."""

    path: str
    size: int
    look: int


@attrs.frozen
class Seen:
    """What was to be seen so far."""

    looks: int
    """How often everything was looked at."""
    broken: tuple[Broken, ...]
    """Files that were of no version: half a file, or one that nobody meant."""
    missing: tuple[str, ...]
    """Files of the newest version that had been there, and were gone at a later look."""
    changed: tuple[str, ...]
    """Files of which nothing is said, because they have changed in the version itself, have come there, or are gone."""
    strangers: tuple[str, ...]
    """Files that are there now, and in no version."""
    temporaries: int
    """The most temporaries at a time."""
    left: tuple[str, ...]
    """Temporaries that are there now."""
    showing: tuple[int, ...]
    """Of each version, how many files are there now. What is equal in two of them counts for both."""
    complete: tuple[bool, ...]
    """Of each version, whether all of its files are there now, and nothing of the others besides."""
    mixed_seconds: float
    """How long the folder was no version as a whole."""

    @property
    def is_whole(self) -> bool:
        """Whether no file was ever seen broken, or missed."""
        return not (self.broken or self.missing)


class Visitor(Watcher):
    """Looks at a folder again and again, and tells what was to be seen there (`seen`).

    ``versions`` are the trees that may be seen, the newest last: folders, or what `Version.of` has taken stock of. Each
    file should be as in one of them at every moment. Names that ``is_temporary`` knows are counted, and not looked
    into. A file that was looked at is looked at again when it is another one, or has changed.

    One thread looks at a time: use `look` and `seen` as you like before and after `watching`, and `seen` meanwhile.
    """

    def __init__(
        self,
        root: Path,
        versions: Sequence[Version | Path],
        *,
        is_temporary: Callable[[str], bool] = is_temporary,
    ) -> None:
        super().__init__()
        self.root, self.is_temporary = root, is_temporary
        self.versions = [one if isinstance(one, Version) else Version.of(one) for one in versions]
        self.looks = 0
        self._known: dict[str, tuple[_Stamp, frozenset[int] | None]] = {}
        self._was_there: set[str] = set()
        self._broken: list[Broken] = []
        self._missing: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._temporaries: list[str] = []
        self._most_temporaries = 0
        self._mixed_seconds = 0.0
        self._mixed_since: float | None = None

    def look(self) -> None:
        """Look at everything once."""
        self.looks += 1
        there: set[str] = set()
        temporaries = []
        for path, stamp in self._walk():
            if self.is_temporary(path):
                temporaries.append(path)
            elif self._is_known(path, stamp) or self._look_at(path):
                there.add(path)
        for path in self._was_there - there:
            del self._known[path]
            if self.versions and path in self.versions[-1].files:
                kind = self._changed if self.versions[-1].has_changed(path) else self._missing
                kind[path] = None
        self._was_there = there
        self._temporaries = temporaries
        self._most_temporaries = max(self._most_temporaries, len(temporaries))
        self._take_time(is_mixed=not any(self._complete()))

    def seen(self) -> Seen:
        """Give what was seen until the last look."""
        known = self._known.copy()
        return Seen(
            looks=self.looks,
            broken=tuple(self._broken),
            missing=tuple(self._missing),
            changed=tuple(self._changed),
            strangers=tuple(sorted(path for path in known if self._is_strange(path))),
            temporaries=self._most_temporaries,
            left=tuple(self._temporaries),
            showing=tuple(sum(n in (shown or ()) for _, shown in known.values()) for n in range(len(self.versions))),
            complete=tuple(self._complete()),
            mixed_seconds=self._mixed_seconds,
        )

    def _walk(self) -> Iterator[tuple[str, _Stamp]]:
        """Give every file that is there, and how it looks from outside."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for name, status in _listed(self.root / folder if folder else self.root, follows_links=True):
                path = f"{folder}/{name}" if folder else name
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path)
                else:
                    yield path, _stamp(status)

    def _is_known(self, path: str, stamp: _Stamp) -> bool:
        return path in self._known and self._known[path][0] == stamp

    def _look_at(self, path: str) -> bool:
        """Read a file and judge it; False when it is gone."""
        try:
            with open(self.root / path, "rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                verdicts = [version.holds(path, file) for version in self.versions]
                size = os.fstat(file.fileno()).st_size
        except (FileNotFoundError, NotADirectoryError):
            return False
        shown: frozenset[int] | None = frozenset(n for n, verdict in enumerate(verdicts) if verdict)
        if not shown and None in verdicts:
            shown = None
            self._changed[path] = None
        elif not shown and self._is_of_a_version(path):
            self._broken.append(Broken(path, size, self.looks))
        elif not shown and any(version.has_changed(path) for version in self.versions):
            self._changed[path] = None  # it came after stock was taken
        self._known[path] = stamp, shown
        return True

    def _complete(self) -> Iterator[bool]:
        known = self._known.copy()
        for number, version in enumerate(self.versions):
            judged = [path for path in version.files if path not in self._changed]
            is_all = all(path in known and number in (known[path][1] or ()) for path in judged)
            others = any(path not in version.files and self._is_of_a_version(path) for path in known)
            yield is_all and not others

    def _is_strange(self, path: str) -> bool:
        return not self._is_of_a_version(path) and path not in self._changed

    def _is_of_a_version(self, path: str) -> bool:
        return any(path in version.files for version in self.versions)

    def _take_time(self, *, is_mixed: bool) -> None:
        now = time.monotonic()
        if self._mixed_since is not None:
            self._mixed_seconds += now - self._mixed_since
        self._mixed_since = now if is_mixed else None
