"""A visitor: reads a folder repeatedly during a deployment, and reports which versions of the files it saw.

It does not rely on the deployment or on the server: it opens each file, as a web server does, and compares it byte for
byte with the versions that may be there::

    visitor = Visitor(server.root, versions=[old, new])
    with visitor.watching():
        deploy()
    assert visitor.seen().is_whole

It looks at random moments, so it can miss a broken file, but a broken file that it reports was really there.
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

from actorsync.classes import frozen

__all__ = ["Broken", "Seen", "Version", "Visitor", "Watcher", "is_temporary"]

_TEMPORARY = re.compile(r"\.actorsync[-+][0-9a-z]+|^actorsync-[0-9a-z]+\.try$")
_CHUNK: Final = 1 << 18
#: Average pause between two looks, in seconds.
_PAUSE: Final = 0.002
#: Average pause between two looks, as a multiple of the time that a look takes.
_PAUSE_FACTOR: Final = 3


def is_temporary(path: str) -> bool:
    """Return whether a path ends in a temporary name of actorsync's, used for uploads and probes."""
    return _TEMPORARY.search(path.rpartition("/")[2]) is not None


def _selects_all(path: str, is_directory: bool) -> bool:  # noqa: ARG001 - the signature of `selects`
    return True


def _ignores_nothing(path: str) -> bool:  # noqa: ARG001 - the signature of `ignores`
    return False


_Fingerprint = tuple[int, int, int]
_Inode = tuple[int, int]


def _fingerprint(status: os.stat_result) -> _Fingerprint:
    return status.st_size, status.st_mtime_ns, status.st_ino


@frozen
class Version:
    """One version of a tree: for each file below ``root`` its fingerprint, by path, at one moment."""

    root: Path
    files: Mapping[str, _Fingerprint] = attrs.field(factory=dict, repr=lambda files: f"{len(files)} files")

    @classmethod
    def of(
        cls,
        root: Path,
        *,
        selects: Callable[[str, bool], bool] = _selects_all,
        follows_links: bool = False,
        visit: Callable[[], object] | None = None,
    ) -> Version:
        """Read the tree. ``selects`` gets a path and whether it is a directory, and returns whether to include it.

        ``visit`` is called for each directory. Entries that cannot be read are left out. Raises ``OSError`` when the
        root is not a readable directory.
        """
        files: dict[str, _Fingerprint] = {}
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
                if is_directory and _inode(status) not in above:  # a link may lead to a directory above
                    waiting.append((path, (*above, _inode(status))))
                elif stat.S_ISREG(status.st_mode):
                    files[path] = _fingerprint(status)
        return cls(root, files)

    @property
    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(size for size, _, _ in self.files.values())

    def has_changed(self, path: str) -> bool:
        """Return whether a file was changed, added or removed since the tree was read."""
        try:
            return self.files.get(path) != _fingerprint(os.stat(self.root / path))
        except OSError:
            return path in self.files

    def holds(self, path: str, file: BinaryIO) -> bool | None:
        """Return whether ``file`` equals this version of ``path``; None when the version itself has changed since."""
        if path not in self.files:
            return False
        try:
            with open(self.root / path, "rb") as own:
                is_equal = os.fstat(own.fileno()).st_size == os.fstat(file.fileno()).st_size and _are_equal(own, file)
                if is_equal:
                    return True
                return False if _fingerprint(os.fstat(own.fileno())) == self.files[path] else None
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
    """Calls `look` repeatedly in a thread of its own."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._wanted = threading.Event()

    def look(self) -> None:
        """Look at everything once."""
        raise NotImplementedError

    def look_soon(self) -> None:
        """Make the thread look without a pause. Can be called in any thread."""
        self._wanted.set()

    @contextmanager
    def watching(self, *, pause: float = _PAUSE) -> Iterator[None]:
        """Look repeatedly during a ``with`` block, and once more at its end.

        The pause between two looks is random, ``pause`` seconds on average. It is longer when a look takes long, so
        that looking does not slow down the deployment. An error in the thread is raised at the end of the block.
        """
        failures: list[BaseException] = []
        rng = random.Random()  # noqa: S311 - not for security

        def run() -> None:
            try:
                while not self._stopping.is_set():
                    self._wanted.clear()
                    began = time.monotonic()
                    self.look()
                    took = time.monotonic() - began
                    self._wanted.wait(rng.uniform(0, 2 * max(pause, _PAUSE_FACTOR * took)))
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


@frozen
class Broken:
    """A file whose content matched no version, with its size and the number of the look."""

    path: str
    size: int
    look: int


@frozen
class Seen:
    """What a visitor has seen so far."""

    looks: int
    """How often the visitor looked at the folder."""
    broken: tuple[Broken, ...]
    """Files whose content matched no version, for example half a file."""
    missing: tuple[str, ...]
    """Files of the newest version that were there at one look and gone at a later one."""
    changed: tuple[str, ...]
    """Files that are not judged, because they were changed, added or removed in a version itself."""
    strangers: tuple[str, ...]
    """Files that are there now and in no version."""
    temporaries: int
    """The largest number of temporary files at one look."""
    left: tuple[str, ...]
    """Temporary files that are there now."""
    showing: tuple[int, ...]
    """For each version, how many of its files are there now. A file that is equal in two versions counts for both."""
    complete: tuple[bool, ...]
    """For each version, whether all of its files are there now and no file of another version."""
    mixed_seconds: float
    """For how long the folder was not one whole version."""

    @property
    def is_whole(self) -> bool:
        """Whether no file was ever seen broken or missing."""
        return not (self.broken or self.missing)


class Visitor(Watcher):
    """Looks at a folder repeatedly; `seen` returns what it saw.

    ``versions`` are the trees that may be there, the newest last: folders, or results of `Version.of`. At every moment,
    each file should equal the file in one of them. Names for which ``is_temporary`` is true are counted and not read. A
    file is read again only after it was replaced or changed. Paths for which ``ignores`` is true are not looked at, nor
    is what is below them.

    Only one thread may look at a time: do not call `look` during `watching`. `seen` can be called at any time.
    """

    def __init__(
        self,
        root: Path,
        versions: Sequence[Version | Path],
        *,
        is_temporary: Callable[[str], bool] = is_temporary,
        ignores: Callable[[str], bool] = _ignores_nothing,
    ) -> None:
        super().__init__()
        self.root, self.is_temporary, self.ignores = root, is_temporary, ignores
        self.versions = [one if isinstance(one, Version) else Version.of(one) for one in versions]
        self.looks = 0
        self._known: dict[str, tuple[_Fingerprint, frozenset[int] | None]] = {}
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
        for path, fingerprint in self._walk():
            if self.is_temporary(path):
                temporaries.append(path)
            elif self._is_known(path, fingerprint) or self._look_at(path):
                there.add(path)
        for path in self._was_there - there:
            del self._known[path]
            if self.versions and path in self.versions[-1].files:
                kind = self._changed if self.versions[-1].has_changed(path) else self._missing
                kind[path] = None
        self._was_there = there
        self._temporaries = temporaries
        self._most_temporaries = max(self._most_temporaries, len(temporaries))
        self._count_time(is_mixed=not any(self._complete()))

    def seen(self) -> Seen:
        """Return what was seen up to the last look."""
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

    def _walk(self) -> Iterator[tuple[str, _Fingerprint]]:
        """Yield the path and the fingerprint of every file in the folder."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for name, status in _listed(self.root / folder if folder else self.root, follows_links=True):
                path = f"{folder}/{name}" if folder else name
                if self.ignores(path):
                    continue
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path)
                else:
                    yield path, _fingerprint(status)

    def _is_known(self, path: str, fingerprint: _Fingerprint) -> bool:
        return path in self._known and self._known[path][0] == fingerprint

    def _look_at(self, path: str) -> bool:
        """Read a file and compare it with the versions; return False when it does not exist any more."""
        try:
            with open(self.root / path, "rb") as file:
                fingerprint = _fingerprint(os.fstat(file.fileno()))
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
            self._changed[path] = None  # added after the version was read
        self._known[path] = fingerprint, shown
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

    def _count_time(self, *, is_mixed: bool) -> None:
        now = time.monotonic()
        if self._mixed_since is not None:
            self._mixed_seconds += now - self._mixed_since
        self._mixed_since = now if is_mixed else None
