"""A synchronous file system in memory, for ``actorsync.endpoints.memory.endpoint``. The caller supplies the clock."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs

from actorsync.classes import define
from actorsync.endpoints.shared.paths import leads_out, why_not_inside
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of

__all__ = ["Directory", "File", "MemoryTree", "Node", "Special", "freeze", "walk"]

_LONGEST_NAME: Final = 255


@define(eq=False)
class File:
    data: bytes
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int = 0o644


@define(eq=False)
class Directory:
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int = 0o755
    children: dict[str, Node] = attrs.field(factory=dict)


@define(eq=False)
class Special:
    """A symbolic link, a pipe, a socket or a device: listed, and never opened."""

    kind: Kind
    mtime_ns: int
    ctime_ns: int
    inode: int


Node: TypeAlias = File | Directory | Special


def _nothing() -> None:
    """Let nothing happen."""


class MemoryTree:
    """Files and directories, and the two ways to change them: as another program, or as a session.

    With ``fold``, two names are one if it returns the same value for both (``str.casefold``: as on Windows or macOS). A
    listing shows the name that was given last. Times are rounded down to a multiple of ``precision_ns``. With
    ``has_modes`` entries show permissions.
    """

    def __init__(
        self,
        *,
        now: Callable[[], int],
        precision_ns: int,
        inodes: bool,
        exists: bool,
        fold: Callable[[str], str] | None = None,
    ) -> None:
        self.has_modes = False
        #: Whether a file can have two names: a tree that shows inodes is like a local one.
        self.has_links = inodes
        self.capacity: int | None = None
        self.trouble: dict[str, ConnectionLost | OperationRefused] = {}
        self.log: list[tuple[str, str]] = []
        #: Whether uploads can be continued, ``overlap`` bytes before their end, after a comparison of ``block`` bytes.
        self.can_resume, self.overlap, self.block = True, 1 << 20, 1 << 16
        #: How many pieces a file is written in.
        self.pieces = 3
        #: The directory beside the root that sessions may use; "" if the root has no directory above it.
        self.outside = "../.trash"
        #: Called in every move, between its check and its rename: what another program does just then comes in between.
        self.in_between: Callable[[], None] = _nothing
        self._now, self.precision_ns, self._inodes, self._fold = now, precision_ns, inodes, fold
        self._next_inode = itertools.count(1).__next__
        self._root: Directory | None = self._new_directory() if exists else None
        self._above = self._new_directory()

    # Changes by another program, without a session.

    def write(self, path: str, data: bytes, mtime_ns: int | None = None) -> None:
        """Write a file in place; make the file and its parents if they are missing."""
        self.mkdir(parent_of(path))
        if isinstance(node := self.find(path), File):
            node.data = data
            self.touch(node, mtime_ns)
        else:
            self.put(path, self.new_file(data, mtime_ns))

    def mkdir(self, path: str) -> None:
        """Make a directory and its parents, if they are missing."""
        if self.find(path) is None:
            if path:
                self.mkdir(parent_of(path))
            self.make(path)

    def delete(self, path: str) -> None:
        """Delete a file, or a directory with all its contents; ``""`` is the root itself."""
        if path:
            self.take(path)
        else:
            self._root = None

    def rename(self, old: str, new: str) -> None:
        """Rename a file or directory, replacing an existing file. A reader of the replaced file keeps it."""
        node = self.find(old)
        if node is None:
            raise OperationRefused(f"{old!r} does not exist")
        if old != new:
            self.put(new, node)
            if name_of(old) in self._parent(old)[0].children:  # with folded names, both may be one
                self.take(old)

    def link(self, old: str, new: str) -> None:
        """Add a second name for a file, as a hard link does."""
        node = self.find(old)
        if not isinstance(node, File):
            raise OperationRefused(f"{old!r} is not a file")
        self.put(new, node)
        self.touch(node, node.mtime_ns)

    def put_special(self, path: str, kind: Kind) -> None:
        """Add a symbolic link or a special file. Its directory must exist."""
        node = Special(kind, 0, 0, self._next_inode())
        self.touch(node)
        self.put(path, node)

    def files(self, outside: str = "") -> dict[str, bytes]:
        """Return the content of every file, including temporaries, by path; with ``".."`` of those beside the root."""
        return {join(outside, path): node.data for path, node in walk(self.find(outside)) if isinstance(node, File)}

    def check_trouble(self, path: str) -> None:
        """Raise the error that the test has set for ``path``, if any."""
        if path in self.trouble:
            raise self.trouble[path]

    def directories(self) -> set[str]:
        """Return the paths of all directories except the root."""
        return {path for path, node in walk(self._root) if path and isinstance(node, Directory)}

    # Operations of a session.

    def find(self, path: str) -> Node | None:
        """Return the node at ``path``, or None."""
        is_outside, names = leads_out(path), path.split("/") if path else []
        node: Node | None = self._above if is_outside else self._root
        for name in names[is_outside:]:
            if not isinstance(node, Directory):
                return None
            node = node.children.get(self._stored(node, name))
        return node

    def shown_as(self, path: str) -> str:
        """Return the path under which the node at ``path`` is listed. It can differ if names are folded."""
        is_outside, names = leads_out(path), path.split("/") if path else []
        node: Node | None = self._above if is_outside else self._root
        shown = ".." if is_outside else ""
        for name in names[is_outside:]:
            stored = self._stored(node, name) if isinstance(node, Directory) else name
            shown = join(shown, stored)
            node = node.children.get(stored) if isinstance(node, Directory) else None
        return shown

    def _stored(self, directory: Directory, name: str) -> str:
        """Return the stored name that ``name`` refers to, or ``name`` itself."""
        if self._fold is None or name in directory.children:
            return name
        folded = self._fold(name)
        return next((other for other in directory.children if self._fold(other) == folded), name)

    def entry(self, path: str, node: Node) -> Entry:
        """Return the entry for a node."""
        return Entry(
            path,
            _kind_of(node),
            len(node.data) if isinstance(node, File) else 0,
            node.mtime_ns,
            node.ctime_ns if self._inodes else None,
            node.inode if self._inodes else None,
            None if isinstance(node, Special) or not self.has_modes else node.mode,
        )

    def new_file(self, data: bytes = b"", mtime_ns: int | None = None) -> File:
        """Return a new file without a name."""
        node = File(data, 0, 0, self._next_inode())
        self.touch(node, mtime_ns)
        return node

    def touch(self, node: Node, mtime_ns: int | None = None) -> None:
        """Set the time of a node to ``mtime_ns``, or to now."""
        node.ctime_ns = self._now()
        mtime_ns = node.ctime_ns if mtime_ns is None else mtime_ns
        node.mtime_ns = self.rounded(mtime_ns)

    def rounded(self, mtime_ns: int) -> int:
        """Return a time as this tree stores it."""
        return mtime_ns - mtime_ns % self.precision_ns

    def make(self, path: str) -> Entry:
        """Make one directory, unless it exists."""
        node = self.find(path)
        if node is None:
            node = self._new_directory()
            if path:
                self.put(path, node)
            else:
                self._root = node
        if not isinstance(node, Directory):
            raise OperationRefused(f"{path!r} is not a directory")
        return self.entry(path, node)

    def put(self, path: str, node: Node) -> None:
        """Add a node under its name, replacing an existing file."""
        directory, name = self._parent(path)
        if len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
            raise OperationRefused(f"the name of {path!r} is too long")
        stored = self._stored(directory, name)
        if isinstance(directory.children.get(stored), Directory):
            raise OperationRefused(f"{path!r} is a directory")
        if stored != name:
            del directory.children[stored]
        directory.children[name] = node
        self.touch(directory)

    def take(self, path: str) -> Node:
        """Remove a node from the tree, and return it."""
        directory, name = self._parent(path)
        name = self._stored(directory, name)
        if name not in directory.children:
            raise OperationRefused(f"{path!r} does not exist")
        self.touch(directory)
        return directory.children.pop(name)

    def _parent(self, path: str) -> tuple[Directory, str]:
        if why := why_not_inside(path, self.outside, "/memory"):
            raise OperationRefused(f"{path!r} cannot be used: {why}")
        parent = self.find(parent_of(path))
        if not isinstance(parent, Directory):
            raise OperationRefused(f"the directory of {path!r} does not exist")
        return parent, name_of(path)

    def _new_directory(self) -> Directory:
        node = Directory(0, 0, self._next_inode())
        self.touch(node)
        return node


def walk(root: Node | None) -> Iterator[tuple[str, Node]]:
    """Yield a node and all below it, with their paths relative to it."""
    waiting: list[tuple[str, Node]] = [] if root is None else [("", root)]
    while waiting:
        path, node = waiting.pop()
        yield path, node
        if isinstance(node, Directory):
            waiting.extend((join(path, name), child) for name, child in sorted(node.children.items(), reverse=True))


def _kind_of(node: Node) -> Kind:
    if isinstance(node, Special):
        return node.kind
    return Kind.FILE if isinstance(node, File) else Kind.DIRECTORY


def freeze(tree: MemoryTree) -> Callable[[], None]:
    """Return a function that makes a tree what it is at this moment, as often as it is called."""
    root = copy.deepcopy(tree._root)

    def thaw() -> None:
        tree._root = copy.deepcopy(root)

    return thaw
