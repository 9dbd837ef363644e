"""A local tree: the blocking half of ``actorsync.endpoints.local.endpoint``, one method for each hop to a thread.

Paths are walked as in ``openat``. *Reading* with ``follow`` resolves a path first. The resolved path must be inside the
root, and is then walked like any other, so a link that is swapped in between leads nowhere else.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import Relocation, Staged
from actorsync.endpoints.local.links import KeepsBack, resolved, without_kept_back
from actorsync.endpoints.local.modes import set_mode
from actorsync.endpoints.local.move import move
from actorsync.endpoints.local.name_claims import Names, require_itself
from actorsync.endpoints.local.openat import (
    KINDS_BY_FORMAT,
    Walk,
    components,
    entry_of,
    is_same,
    make_durable,
    reason_of,
    refusal,
    require_regular,
    shown,
    still_listed,
    temporary_beside,
)
from actorsync.endpoints.local.page_cache import Readiness
from actorsync.endpoints.local.remove import remove, unlink
from actorsync.endpoints.local.spelling import Spellings, put_back
from actorsync.endpoints.shared.paths import leads_out
from actorsync.endpoints.shared.resource_limits import is_own_limit
from actorsync.endpoints.shared.unset_modes import UnsetModes
from actorsync.errors import GuardRefused, OperationRefused, RootMissing
from actorsync.model.entry import Entry, Kind, Listing, Problem, Root, join, parent_of
from actorsync.model.row import CODES, ListingRows, Row, entries_of
from actorsync.planning.name_folding import NewSpelling

__all__ = ["Opened", "Tree"]

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: The number of entries, and of seconds, after which a hop ends: a cancelled task waits for its end.
_MANY_ROWS, _LONG_ENOUGH = 2_000, 0.02

#: The code of each kind, indexed by the highest bits of a mode.
_FORMAT_BITS: Final = 12
_FILE, _LINK = CODES[Kind.FILE], CODES[Kind.LINK]
_KINDS: Final = [CODES[KINDS_BY_FORMAT.get(bits << _FORMAT_BITS, Kind.OTHER)] for bits in range(16)]

#: A file up to this size is read whole while it is opened.
_SMALL: Final = 256 << 10

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


@frozen
class Opened:
    """A file open for reading: by descriptor, or already read if it is small."""

    path: str
    status: os.stat_result
    fd: int = -1
    data: bytes = b""
    unchanged: bool = True


@frozen
class Tree:
    """The tree below ``root``. Every method blocks; a batch returns one result for each item, in order."""

    root: str
    follow: bool = False
    keeps_back: KeepsBack | None = None
    names: Names = attrs.Factory(Names)
    unset: UnsetModes = attrs.Factory(UnsetModes)
    outside: str = ""

    def walk(self) -> Walk:
        """Return a walk below the root, and in the directory beside it that may be used as well."""
        return Walk(self.root, self.outside)

    @contextmanager
    def opened(self, directory: str) -> Iterator[int]:
        """Open a directory, by its path without links; return the descriptor."""
        with self.walk() as walk:
            yield walk.directory(directory)

    def identify(self) -> Root:
        """Describe the root. Raises `GuardRefused` if it is not a directory that can be read."""
        try:
            with self.walk() as walk, os.scandir(walk.directory("")) as found:
                next(found, None)
                status = walk.status("")
        except OSError as error:
            raise GuardRefused(f"cannot use {shown(self.root)} as a root: {reason_of(error)}") from error
        except OperationRefused as refused:
            raise GuardRefused(str(refused)) from refused
        return Root(entry_of("", status), status.st_dev)

    def list_directory(self, directory: str) -> Listing:
        """Return the entries of one directory, without those that disappear meanwhile.

        Raises ``OSError`` only if this process or machine has no descriptor or memory left.
        """
        (listed,) = self.list_many([directory])
        return Listing(directory, tuple(entries_of(directory, listed.rows)), listed.hidden, listed.problem)

    def list_many(self, directories: Sequence[str]) -> list[ListingRows]:
        """List the first of the directories, and the following ones until one hop has enough to do.

        Raises as `list_directory` does, and only for the first one.
        """
        results: list[ListingRows] = []
        rows, end = 0, time.monotonic() + _LONG_ENOUGH
        with self.walk() as walk:
            for directory in directories:
                try:
                    results.append(self._listed(walk, directory))
                except OSError as error:
                    if is_own_limit(error):
                        if results:
                            break
                        raise
                    problem = Problem(directory, reason_of(error), vanished=error.errno == errno.ENOENT)
                    results.append(ListingRows(directory, problem=problem))
                except OperationRefused as refused:
                    has_no_root = isinstance(refused, RootMissing)
                    results.append(
                        ListingRows(directory, problem=Problem(directory, str(refused), has_no_root=has_no_root))
                    )
                rows += len(results[-1].rows)
                if rows >= _MANY_ROWS or time.monotonic() >= end:
                    break
        return results

    def _listed(self, walk: Walk, directory: str) -> ListingRows:
        real = self.resolve(directory)
        return without_kept_back(ListingRows(directory, self._rows(walk, directory, real)), real, self.keeps_back)

    def _rows(self, walk: Walk, directory: str, real: str) -> list[Row]:
        """Return a row for each entry of a directory. Hot path: every entry of every run passes here."""
        rows: list[Row] = []
        missing: set[str] = set()
        kinds, is_following = _KINDS, self.follow
        with os.scandir(walk.directory(real)) as found:
            for item in found:
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:
                    missing.add(item.name)
                    continue
                name, kind = item.name, kinds[status.st_mode >> _FORMAT_BITS]
                if is_following and kind == _LINK:
                    status = self.followed(join(directory, name)) or status
                    kind = kinds[status.st_mode >> _FORMAT_BITS]
                rows.append(
                    (
                        name.encode("utf-8", "surrogateescape"),
                        kind,
                        status.st_size if kind == _FILE else 0,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                        status.st_ino,
                        status.st_mode & 0o777,
                    )
                )
        if missing:
            rows += still_listed(walk.directory(real), missing)
        rows.sort()
        return rows

    def open_all(self, paths: Sequence[str]) -> list[Opened | OSError | OperationRefused]:
        """Open regular files. Consecutive files of one directory share one walk to it."""
        results: list[Opened | OSError | OperationRefused] = []
        with self.walk() as walk:
            for path in paths:
                try:
                    opened = self._open(walk, path, _read_whole)
                    assert opened is not None
                    results.append(opened)
                except (OSError, OperationRefused) as error:
                    results.append(error)
        return results

    def open_now(self, path: str, readiness: Readiness) -> Opened | None:
        """Open one regular file as `open_all` does; return None if reading it would wait for a disk."""
        with self.walk() as walk:
            return self._open(walk, path, readiness.read)

    def _open(self, walk: Walk, path: str, read: Callable[[int, int], bytes | None]) -> Opened | None:
        """Open a regular file. A FIFO or a device is refused unopened: opening one may block or have effects."""
        directory, name = walk.parent(self.resolve(path))
        require_regular(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
        fd = os.open(name, _READ, dir_fd=directory)
        try:
            status = os.fstat(fd)
            require_regular(path, status)
            if status.st_size > _SMALL:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
                return Opened(path, status, fd)
            data = read(fd, status.st_size)
            unchanged = data is not None and len(data) == status.st_size and is_same(status, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None if data is None else Opened(path, status, data=data, unchanged=unchanged)

    def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename each temporary over its final name."""
        return self.batch("put in place", staged, lambda item: (item.path,), self._commit)

    def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename unchanged files to free names."""

        def do(walk: Walk, item: Relocation) -> Entry:
            with self.walk() as other:
                return move(walk, other, self.names, item)

        return self.batch("move", relocations, lambda item: (item.path, item.entry.path), do)

    def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories; the root with its parents."""
        return self.batch("make directory", paths, lambda path: (path,), self._make)

    def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set the modes of files and directories. One that the file system refuses is noted in ``unset``."""
        change = partial(set_mode, unset=self.unset)
        return self.batch("set the mode of", entries, lambda entry: (entry.path,), change)

    def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove unchanged entries."""
        spellings = Spellings(self.root) if self.names.are_folded else None

        def do(walk: Walk, entry: Entry) -> bool:
            is_elsewhere = spellings is not None and not spellings.has(walk, entry.path)
            return True if is_elsewhere else remove(walk, entry)

        return self.batch("remove", entries, lambda entry: (entry.path,), do)

    def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names."""
        return Spellings(self.root).change(items)

    def sweep(self, temporaries: Sequence[str], finals: Mapping[str, str]) -> list[bool | OperationRefused]:
        """Remove temporaries in any state. An entry that was set aside gets its final name back."""

        def do(walk: Walk, temporary: str) -> bool:
            if temporary in finals:
                put_back(walk, temporary, finals[temporary])
            return unlink(walk, temporary)

        return self.batch("remove", temporaries, lambda path: (path,), do)

    def batch(
        self,
        doing: str,
        items: Sequence[_ItemT],
        paths_of: Callable[[_ItemT], Sequence[str]],
        do: Callable[[Walk, _ItemT], _ResultT],
    ) -> list[_ResultT | OperationRefused]:
        """Apply ``do`` to each item, then call fsync once for each changed directory.

        The first of the paths of an item names it in messages.
        """
        results: list[_ResultT | OperationRefused] = []
        touched: dict[str, list[int]] = {}
        with self.walk() as walk:
            for index, item in enumerate(items):
                paths = paths_of(item)
                try:
                    results.append(do(walk, item))
                    for path in paths:
                        touched.setdefault(parent_of(path), []).append(index)
                except OSError as error:
                    results.append(refusal(doing, paths[0], error))
                except OperationRefused as refused:
                    results.append(refused)
            for directory, indices in touched.items():
                try:
                    make_durable(walk, directory)
                except OSError as error:
                    for index in indices:
                        results[index] = refusal(doing, paths_of(items[index])[0], error)
        return results

    def _commit(self, walk: Walk, staged: Staged) -> Entry:
        directory, final = walk.parent(staged.path)
        temporary = temporary_beside(staged.path, staged.temporary)
        try:
            found = os.stat(temporary, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return _committed_before(staged, directory, final)
        if not stat.S_ISREG(found.st_mode) or found.st_size != staged.size:
            raise OperationRefused(f"cannot put {shown(staged.path)} in place: its temporary was changed", retry=True)
        with self.names.claimed(directory, staged.path):
            os.rename(temporary, final, src_dir_fd=directory, dst_dir_fd=directory)
        now = os.stat(final, dir_fd=directory, follow_symlinks=False)
        # The inode alone is not enough: a new file may reuse the inode of a removed one. A rename changes the ctime.
        if not os.path.samestat(found, now) or _looks(found) != _looks(now):
            raise OperationRefused(f"{shown(staged.path)} was replaced by another program after the rename", retry=True)
        return entry_of(staged.path, now)

    def _make(self, walk: Walk, path: str) -> Entry:
        if not path:
            return self._make_root(walk)
        directory, name = walk.parent(path)
        try:
            os.mkdir(name, dir_fd=directory)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise
            require_itself(directory, path)
        return entry_of(path, os.stat(name, dir_fd=directory, follow_symlinks=False))

    def _make_root(self, walk: Walk) -> Entry:
        missing = self.root
        while not os.path.lexists(missing):
            missing = os.path.dirname(missing)
        os.makedirs(self.root, exist_ok=True)
        above = self.root
        while above != missing:
            above = os.path.dirname(above)
            with Walk(above) as parent:
                make_durable(parent, "")
        return entry_of("", walk.status(""))

    def resolve(self, path: str) -> str:
        """Return ``path`` with its links resolved, or unchanged if links are not followed."""
        components(path, self.root, self.outside)
        return resolved(self.root, path, self.keeps_back) if self.follow and not leads_out(path) else path

    def followed(self, path: str) -> os.stat_result | None:
        """Return the status of a link's target; None if it cannot be read, or is a parent of the link."""
        try:
            with self.walk() as walk:
                status = walk.status(self.resolve(path))
                names = components(parent_of(path))
                above = ["", *("/".join(names[: depth + 1]) for depth in range(len(names)))]
                circle = stat.S_ISDIR(status.st_mode) and any(
                    os.path.samestat(status, walk.status(self.resolve(directory))) for directory in above
                )
        except (OSError, OperationRefused):
            return None
        return None if circle else status


def _read_whole(fd: int, size: int) -> bytes:
    """Read to the end, or one byte past ``size``: then the file has grown, and the data is not used."""
    data = os.read(fd, size + 1)
    while len(data) <= size and (more := os.read(fd, size + 1 - len(data))):
        data += more
    return data


def _looks(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_size, status.st_mtime_ns


def _committed_before(staged: Staged, directory: int, final: str) -> Entry:
    """Return the final entry if an earlier commit put it there. Raises `OperationRefused` otherwise."""
    try:
        found = entry_of(staged.path, os.stat(final, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        found = None
    if (
        found is None
        or (found.kind, found.size) != (Kind.FILE, staged.size)
        or staged.mtime_ns not in {None, found.mtime_ns}
    ):
        raise OperationRefused(f"cannot put {shown(staged.path)} in place: its temporary is gone", retry=True)
    return found
