"""Walk a local path one component at a time, by descriptor, never through a symbolic link.

So a link that is planted or swapped during a run cannot lead out of the root. Names become arguments of system calls
here, and errors of the system become refusals.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Final, Self

from actorsync.endpoints.shared.paths import below, is_above, why_not_inside
from actorsync.errors import OperationRefused, RootMissing
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.model.row import CODES, Row, encode
from actorsync.model.text import display
from actorsync.protocols.upload_diagnosis import full

__all__ = [
    "KINDS_BY_FORMAT",
    "Walk",
    "components",
    "entry_of",
    "is_same",
    "make_durable",
    "reason_of",
    "refusal",
    "require_regular",
    "shown",
    "still_listed",
    "temporary_beside",
]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETXTBSY}
)
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
KINDS_BY_FORMAT: Final = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}


def shown(path: str) -> str:
    """Return ``path`` in quotes, escaped for one line of a terminal."""
    return f"'{display(path)}'" if path else "the root"


def refusal(doing: str, path: str, error: OSError) -> OperationRefused:
    """Return the refusal for an error of the system; `TargetFull` if the disk or the quota is full."""
    if error.errno in _NO_ROOM:
        return full(f"cannot {doing} {shown(path)}: {reason_of(error)}")
    retry = error.errno in _PASSING
    return OperationRefused(f"cannot {doing} {shown(path)}: {reason_of(error)}", retry=retry)


def reason_of(error: OSError) -> str:
    """Return the message of the system for an error."""
    if error.errno == errno.EXDEV:
        return "It is on another file system; choose a directory on the same one, as files are not copied"
    if error.errno == errno.ELOOP:
        return "It is a symbolic link"
    if error.errno == errno.ENOTDIR:
        return "Not a directory, or a symbolic link"
    return os.strerror(error.errno) if error.errno else str(error)


def entry_of(path: str, status: os.stat_result) -> Entry:
    """Return the entry for ``path`` with this status."""
    return Entry(
        path,
        KINDS_BY_FORMAT.get(stat.S_IFMT(status.st_mode), Kind.OTHER),
        status.st_size if stat.S_ISREG(status.st_mode) else 0,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_mode & 0o777,
    )


def require_regular(path: str, status: os.stat_result) -> None:
    """Raise `OperationRefused` if ``path`` is not a regular file."""
    if not stat.S_ISREG(status.st_mode):
        raise OperationRefused(f"cannot open {shown(path)}: it is not a regular file")


def still_listed(directory: int, missing: Collection[str]) -> Iterator[Row]:
    """Yield a row for each of the names that were listed and had no status, if a second listing shows them as well.

    Network file systems list names that they cannot find again. The row has no size and no times, so the entry is
    planned, and its failure names it. An entry that is not listed any more was removed meanwhile.
    """
    with os.scandir(directory) as found:
        for item in found:
            if item.name in missing:
                kind = Kind.DIRECTORY if item.is_dir(follow_symlinks=False) else Kind.FILE
                yield encode(item.name), CODES[kind], 0, None, None, None, None


def components(path: str, root: str = "", outside: str = "") -> list[str]:
    """Return the names of ``path``. Raises `OperationRefused` if it is not normalized or cannot be a local name.

    ``outside`` is the directory beside ``root`` that may be used as well, as a path that begins with ``..``.
    """
    names = path.split("/") if path else []
    if (why := why_not_inside(path, outside, root)) is not None or "\0" in path:
        raise OperationRefused(f"{shown(path)} cannot be used: {why or 'it is not a path below the root'}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise OperationRefused(f"{shown(path)} cannot be the name of a local file") from error
    return names


def temporary_beside(path: str, temporary: str) -> str:
    """Return the name of ``temporary``. Raises ``ValueError`` if it is not in the directory of ``path``."""
    if parent_of(temporary) != parent_of(path):
        raise ValueError(f"{temporary!r} is not in the directory of {path!r}")
    components(path)
    return components(temporary)[-1]


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two statuses show the same version of one file."""
    return os.path.samestat(one, other) and (one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    )


class Walk:
    """Opens directories below a root by descriptor, one at a time. Walking down from the last one is cheap.

    A path in ``outside``, the directory beside the root, is walked from the directory above the root in the same way.
    """

    def __init__(self, root: str, outside: str = "") -> None:
        self._root, self._outside = root, outside
        self._at: list[str] = []
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def directory(self, path: str) -> int:
        """Open a directory; the descriptor is valid until the next call."""
        names = components(path, self._root, self._outside)
        ups = names.count("..")
        if self._fd < 0 or names[: len(self._at)] != self._at or len(self._at) < ups:
            self._step(self._open_root(below(self._root, "/".join(names[:ups]))), names[:ups])
        for name in names[len(self._at) :]:
            self._step(os.open(name, _DIRECTORY, dir_fd=self._fd), [*self._at, name])
        return self._fd

    def parent(self, path: str) -> tuple[int, str]:
        """Open the directory that holds ``path``; return its descriptor and the name of ``path`` in it."""
        if is_above(path):
            raise OperationRefused("the root cannot be replaced or removed")
        components(path, self._root, self._outside)
        return self.directory(parent_of(path)), name_of(path)

    def status(self, path: str) -> os.stat_result:
        """Return the status of ``path`` itself, even if it is a link."""
        if not path:
            return os.fstat(self.directory(""))
        directory, name = self.parent(path)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def _open_root(self, root: str) -> int:
        try:
            return os.open(root, _DIRECTORY)
        except FileNotFoundError as error:  # refused, not gone: a missing root must not make its files look removed
            raise RootMissing(f"the root {shown(root)} does not exist") from error

    def _step(self, fd: int, names: list[str]) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._at = fd, names


def make_durable(walk: Walk, directory: str) -> None:
    """Flush a directory to the disk, with the names in it."""
    try:
        os.fsync(walk.directory(directory))
    except OSError as error:
        # The directory was removed meanwhile, or the file system has no fsync for directories.
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.EINVAL}:
            raise
