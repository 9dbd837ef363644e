"""A file system in memory, for ``actorsync.endpoints.memory``: synchronous, and with a clock from outside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs

from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of

__all__ = ["Directory", "File", "MemoryTree", "Node"]

_LONGEST_NAME: Final = 255


@attrs.define(eq=False)
class File:
    data: bytes
    mtime_ns: int
    ctime_ns: int
    inode: int


@attrs.define(eq=False)
class Directory:
    mtime_ns: int
    ctime_ns: int
    inode: int
    children: dict[str, Node] = attrs.field(factory=dict)


Node: TypeAlias = File | Directory


class MemoryTree:
    """Files and directories, and the two ways to change them: as the rest of the world, or as a session."""

    def __init__(self, *, now: Callable[[], int], precision_ns: int, inodes: bool, exists: bool) -> None:
        self._now, self._precision_ns, self._inodes = now, precision_ns, inodes
        self._next_inode = itertools.count(1).__next__
        self._root: Directory | None = self._new_directory() if exists else None

    # The rest of the world: what happens to the tree without any session.

    def write(self, path: str, data: bytes, mtime_ns: int | None = None) -> None:
        """Write a file in place, making it and the directories above it where they are missing."""
        self.mkdir(parent_of(path))
        if isinstance(node := self.find(path), File):
            node.data = data
            self.touch(node, mtime_ns)
        else:
            self.put(path, self.new_file(data, mtime_ns))

    def mkdir(self, path: str) -> None:
        """Make a directory, and those above it, where they are missing."""
        if self.find(path) is None:
            if path:
                self.mkdir(parent_of(path))
            self.make(path)

    def delete(self, path: str) -> None:
        """Delete a file, or a directory with everything in it; ``""`` is the root itself."""
        if path:
            self.take(path)
        else:
            self._root = None

    def rename(self, old: str, new: str) -> None:
        """Rename a file or directory, replacing what is there. Who has the replaced file open keeps it."""
        node = self.find(old)
        if node is None:
            raise OperationRefused(f"{old!r} is not there")
        if old != new:
            self.put(new, node)
            self.take(old)

    def files(self) -> dict[str, bytes]:
        """Give the content of every file, temporaries too."""
        return {path: node.data for path, node in self._walk() if isinstance(node, File)}

    def directories(self) -> set[str]:
        """Give every directory but the root."""
        return {path for path, node in self._walk() if path and isinstance(node, Directory)}

    # The file system, for the session.

    def find(self, path: str) -> Node | None:
        """Give what is at ``path``."""
        node: Node | None = self._root
        for name in path.split("/") if path else ():
            if not isinstance(node, Directory):
                return None
            node = node.children.get(name)
        return node

    def entry(self, path: str, node: Node) -> Entry:
        """Describe a node as far as this endpoint tells."""
        is_file = isinstance(node, File)
        return Entry(
            path,
            Kind.FILE if is_file else Kind.DIRECTORY,
            len(node.data) if isinstance(node, File) else 0,
            node.mtime_ns,
            node.ctime_ns if self._inodes else None,
            node.inode if self._inodes else None,
        )

    def new_file(self, data: bytes = b"", mtime_ns: int | None = None) -> File:
        """Make a file that has no name yet."""
        node = File(data, 0, 0, self._next_inode())
        self.touch(node, mtime_ns)
        return node

    def touch(self, node: Node, mtime_ns: int | None = None) -> None:
        """Give a node the time now, or ``mtime_ns``."""
        node.ctime_ns = self._now()
        mtime_ns = node.ctime_ns if mtime_ns is None else mtime_ns
        node.mtime_ns = self.rounded(mtime_ns)

    def rounded(self, mtime_ns: int) -> int:
        """Give the time as this place keeps it."""
        return mtime_ns - mtime_ns % self._precision_ns

    def make(self, path: str) -> Entry:
        """Make one directory, or find it there."""
        node = self.find(path)
        if node is None:
            node = self._new_directory()
            if path:
                self.put(path, node)
            else:
                self._root = node
        if not isinstance(node, Directory):
            raise OperationRefused(f"{path!r} is a file")
        return self.entry(path, node)

    def put(self, path: str, node: Node) -> None:
        """Give a node its name, replacing a file by a file."""
        directory, name = self._parent(path)
        if len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
            raise OperationRefused(f"the name of {path!r} is too long")
        if isinstance(directory.children.get(name), Directory):
            raise OperationRefused(f"{path!r} is a directory")
        directory.children[name] = node
        self.touch(directory)

    def take(self, path: str) -> Node:
        """Take a node out of the tree."""
        directory, name = self._parent(path)
        if name not in directory.children:
            raise OperationRefused(f"{path!r} is not there")
        self.touch(directory)
        return directory.children.pop(name)

    def _parent(self, path: str) -> tuple[Directory, str]:
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise OperationRefused(f"{path!r} is not a path below the root")
        parent = self.find(parent_of(path))
        if not isinstance(parent, Directory):
            raise OperationRefused(f"the directory of {path!r} is not there")
        return parent, name_of(path)

    def _new_directory(self) -> Directory:
        node = Directory(0, 0, self._next_inode())
        self.touch(node)
        return node

    def _walk(self) -> Iterator[tuple[str, Node]]:
        waiting: list[tuple[str, Node]] = [] if self._root is None else [("", self._root)]
        while waiting:
            path, node = waiting.pop()
            yield path, node
            if isinstance(node, Directory):
                waiting.extend((join(path, name), child) for name, child in sorted(node.children.items(), reverse=True))
