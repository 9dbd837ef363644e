"""Entries of a tree, the listing of one directory, the end of a scan, and what the journal records."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from actorsync.classes import frozen

__all__ = [
    "WHOLE_TREE",
    "Entry",
    "Kind",
    "Listing",
    "Problem",
    "Record",
    "Root",
    "ScanComplete",
    "Scope",
    "ancestors",
    "join",
    "name_of",
    "parent_of",
]


class Kind(enum.Enum):
    """What an entry is. Only files and directories are mirrored."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"

    __hash__ = object.__hash__  # members are compared by identity; the hash of `Enum` is slow, and used for each entry


@frozen
class Entry:
    """One file or directory of one side, as that side described it.

    ``size`` is in bytes, times are nanoseconds since the epoch (UTC). A value that a side does not report is ``None``:
    an FTP server reports neither ``ctime_ns`` nor ``inode``. The times of a side are compared with earlier times of the
    same side only, so the clock and the time zone of the other side do not matter.

    ``mode`` is the permission bits (``0o644``) of a file or directory, without setuid, setgid and sticky. It does not
    take part in comparisons: a file whose mode alone has changed has the same content, and is not sent again.
    """

    path: str
    kind: Kind
    size: int = 0
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    inode: int | None = None
    mode: int | None = attrs.field(default=None, eq=False)


@frozen
class Problem:
    """The reason why a path could not be read.

    ``vanished``: it was removed before it could be, which is no failure. ``has_no_root``: not even the root of the tree
    exists, which is one.
    """

    path: str
    reason: str
    vanished: bool = False
    has_no_root: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether the path is known not to exist."""
        return self.vanished or self.has_no_root


@frozen
class Listing:
    """Everything in one directory, or the reason why that is unknown.

    With a ``problem`` the directory is *unknown*: ``entries`` is empty, and nothing below may be removed. ``hidden``
    holds the names of entries that exist and are not to be mirrored (excluded, links, sockets): they are never sent,
    and never count as gone.
    """

    directory: str
    entries: tuple[Entry, ...] = ()
    hidden: frozenset[str] = frozenset()
    problem: Problem | None = None


@frozen
class Root:
    """The identity of a root: its entry, with the path ``""``, and the number of its device where that is known."""

    entry: Entry
    device: int | None = None


@frozen
class Scope:
    """The part of a tree that a scan lists: everything in these directories, at any depth.

    With ``is_shallow``, ``directories`` are all that were listed, and nothing below them was.
    """

    directories: frozenset[str]
    is_shallow: bool = False

    @classmethod
    def of(cls, directories: Iterable[str]) -> Scope:
        """Return the scope of a scan that begins at these directories, without those that lie in another one."""
        given = frozenset(directories)
        return cls(frozenset(it for it in given if not it or given.isdisjoint(ancestors(it))))

    def contains(self, path: str) -> bool:
        """Tell whether the scan shows an entry with this path, if there is one.

        The directories at which a scan begins are not contained: the listing of their parent would show them. The root
        has no parent and belongs to the whole tree.
        """
        if self.is_shallow:
            return path != "" and parent_of(path) in self.directories
        return "" in self.directories or not self.directories.isdisjoint(ancestors(path))

    def decides(self, path: str) -> bool:
        """Tell whether the scan shows that there is no such entry: it, or a directory that it was in, was not listed.

        This is more than `contains` where the scan is shallow, and for what is known to be gone only.
        """
        return "" in self.directories or not self.directories.isdisjoint(ancestors(path))


#: The scope of a scan that begins at the root.
WHOLE_TREE: Final = Scope(frozenset({""}))


@frozen
class ScanComplete:
    """The scan has listed everything in its ``scope``. Without this message nothing is removed.

    ``problems`` is how many entries count as failed although their directory was listed, as links do where they are
    errors. No listing shows them.
    """

    root: Root
    scope: Scope
    problems: int = 0


@frozen
class Record:
    """What the journal records of one path: both sides as they were when they last agreed.

    ``source`` is ``None`` for a *foreign* entry: seen on the target, and not put there by this profile. Foreign entries
    are adopted when equal, overwritten when the source has the same path, and removed by an exact mirror alone.

    ``digest`` is set when the source file was written so shortly before it was read that a later change could have the
    same times (the racy-clean rule); the next run compares contents instead of times. An empty digest says that the
    entry, also a foreign one, was to be removed from the target, or moved, and may be missing there.

    ``checksum`` is the digest of what was sent, where that is kept, independent of the times.
    """

    source: Entry | None
    target: Entry
    digest: bytes | None = None
    checksum: bytes | None = None

    @property
    def is_removal_intended(self) -> bool:
        return self.digest == b""

    @property
    def content(self) -> bytes | None:
        """The digest of what was sent, or None."""
        return self.digest or self.checksum


def join(directory: str, name: str) -> str:
    """Return the path of ``name`` in ``directory``."""
    return f"{directory}/{name}" if directory else name


def parent_of(path: str) -> str:
    """Return the directory that holds ``path``; the parent of the root is the root."""
    return path.rpartition("/")[0]


def ancestors(path: str) -> list[str]:
    """Return the directories above ``path``, from the root down."""
    return ["", *(path[:end] for end, letter in enumerate(path) if letter == "/")]


def name_of(path: str) -> str:
    """Return the last component of ``path``."""
    return path.rpartition("/")[2]
