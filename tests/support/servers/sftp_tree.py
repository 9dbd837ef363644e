"""A model of an SFTP server: a tree in memory that answers requests of version 3, without SSH and without a disk.

`SftpTree` answers one request at a time, and `play` runs a dialogue with it. ``sftp_tree_wire`` connects it to a
session.

This is one file because the model is one class with a method for each request, and small functions around it.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, TypeVar

import attrs

from actorsync.errors import ConnectionLost
from actorsync.protocols.sftp.replies import Attributes, Data, Extended, Handle, Names, Reply, Status
from actorsync.protocols.sftp.requests import Dialogue, Request

__all__ = ["EXTENSIONS", "POSIX_RENAME", "ROOT", "Call", "Node", "SftpTree", "any_order", "only", "play"]

T = TypeVar("T")

POSIX_RENAME: Final = "posix-rename@openssh.com"
EXTENSIONS: Final = {POSIX_RENAME: "1", "fsync@openssh.com": "1", "statvfs@openssh.com": "2"}
ROOT: Final = "/r"

_OK, _EOF, _MISSING, _FAILURE, _UNSUPPORTED = Status(0), Status(1, "EOF"), Status(2), Status(4), Status(8)
_VERBS: Final = {
    3: "OPEN",
    4: "CLOSE",
    5: "READ",
    6: "WRITE",
    7: "LSTAT",
    8: "FSTAT",
    9: "SETSTAT",
    10: "FSETSTAT",
    11: "OPENDIR",
    12: "READDIR",
    13: "REMOVE",
    14: "MKDIR",
    15: "RMDIR",
    16: "REALPATH",
    17: "STAT",
    18: "RENAME",
}
_BY_HANDLE: Final = frozenset(["CLOSE", "READ", "WRITE", "FSTAT", "FSETSTAT", "READDIR", "FSYNC"])


@attrs.frozen
class Call:
    """A parsed request. ``path`` is also set for a packet with a handle."""

    verb: str
    path: str = ""
    new: str = ""
    handle: bytes = b""
    flags: int = 0
    offset: int = 0
    length: int = 0
    data: bytes = attrs.field(default=b"", repr=False)
    mode: int | None = None
    mtime: int | None = None

    @property
    def touches(self) -> frozenset[str]:
        """The paths of the request. Requests that share a path are answered in order."""
        return frozenset(path for path in (self.path, self.new) if path)


@attrs.define(eq=False)
class Node:
    """A file, a directory or a link, as ``kind`` says (``stat.S_IFREG``, ...)."""

    kind: int
    data: bytes = b""
    mtime: int = 1_000_000
    mode: int = 0o644
    to: str = ""


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def take(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._body)
        self._body = self._body[struct.calcsize(form) :]
        return int(value)

    def string(self) -> bytes:
        length = self.take(">I")
        found, self._body = self._body[:length], self._body[length:]
        assert len(found) == length, "the request is shorter than it says"
        return found

    def text(self) -> str:
        return self.string().decode("utf-8", "surrogateescape")

    def end(self) -> None:
        assert not self._body, "the request is longer than it says"


@attrs.define(eq=False)
class SftpTree:
    """The server. ``nodes`` has everything by its absolute path; the tests' own is below `ROOT`.

    * ``extensions``: announced extensions; the others are rejected.
    * ``sees_target_first``: RENAME to an existing name fails, also when the old name does not exist.
    * ``tells_times``: attributes contain the time.
    * ``is_full``: writing fails, and statvfs reports no space.
    * ``folds``: names are case-insensitive.
    * ``same_handle``: every file and directory gets the same handle, which means the one that was opened last.
    * ``stores``: the name under which the server stores a name; the path of a request is translated first.
    * ``instead``: called with each call before it is executed. A returned reply is sent, and nothing is executed.
    * ``after``: called with each call after it was executed.
    """

    extensions: Mapping[str, str] = EXTENSIONS
    sees_target_first: bool = True
    tells_times: bool = True
    is_full: bool = False
    folds: bool = False
    same_handle: bool = False
    names_at_once: int = 3
    stores: Callable[[str], str] = lambda name: name
    instead: Callable[[Call], Reply | None] = lambda call: None
    after: Callable[[Call], None] = lambda call: None
    nodes: dict[str, Node] = attrs.Factory(lambda: {"/": Node(stat.S_IFDIR), ROOT: Node(stat.S_IFDIR)})
    calls: list[Call] = attrs.Factory(list)
    _handles: dict[bytes, tuple[str, Node, list[tuple[str, Attributes]]]] = attrs.Factory(dict)
    _made: int = 0

    # For tests.

    def write(self, path: str, data: bytes, mtime: int = 1_000_000) -> None:
        """Write a file, and its parent directories."""
        self.mkdir(path.rpartition("/")[0])
        self.nodes[path] = Node(stat.S_IFREG, data, mtime)

    def mkdir(self, path: str) -> None:
        """Make a directory, and its parent directories."""
        while path and path not in self.nodes:
            self.nodes[path] = Node(stat.S_IFDIR)
            path = path.rpartition("/")[0]

    def link(self, path: str, to: str) -> None:
        """Make a link to an absolute path."""
        self.nodes[path] = Node(stat.S_IFLNK, to=to)

    def files(self) -> dict[str, bytes]:
        """Return the content of every file, by path."""
        return {path: node.data for path, node in self.nodes.items() if node.kind == stat.S_IFREG}

    @property
    def open_handles(self) -> int:
        """The number of open handles."""
        return len(self._handles)

    def verbs(self) -> list[str]:
        """Return the verbs of all requests, in order."""
        return [call.verb for call in self.calls]

    # For `play` and channels.

    def read(self, request: Request) -> Call:
        """Parse a request. Raises ``AssertionError`` for one that is too short or too long."""
        body = _Body(request.body + request.content)
        verb = _VERBS[request.kind] if request.kind != 200 else body.text().partition("@")[0].upper()
        rest: dict[str, int | bytes | str | None] = {}
        if verb in _BY_HANDLE:
            handle = body.string()
            path = self._handles[handle][0] if handle in self._handles else ""
            rest["handle"] = handle
        else:
            path = body.text()
        match verb:
            case "OPEN":
                rest["flags"] = body.take(">I")
                assert body.take(">I") == 0
            case "MKDIR":
                assert body.take(">I") == 0
            case "READ":
                rest |= {"offset": body.take(">Q"), "length": body.take(">I")}
            case "WRITE":
                rest |= {"offset": body.take(">Q"), "data": body.string()}
            case "FSETSTAT" | "SETSTAT":
                flags = body.take(">I")
                rest["mode"] = body.take(">I") if flags & 4 else None
                if flags & 8:
                    rest["mtime"] = body.take(">I")
                    assert body.take(">I") == rest["mtime"], "the access time equals the modification time"
            case "RENAME" | "POSIX-RENAME":
                rest["new"] = body.text()
        body.end()
        return Call(verb, path, **rest)  # type: ignore[arg-type]

    def answer(self, request: Request) -> Reply:
        """Execute a request and return the reply."""
        call = self.read(request)
        self.calls.append(call)
        reply = self.instead(call)
        if reply is None:
            method = getattr(self, "_" + call.verb.lower().replace("-", "_"))
            reply = method(call)
        assert isinstance(reply, Reply)
        self.after(call)
        return reply

    def place(self, path: str, *, follow: bool = False) -> str | None:
        """Return the path with all links followed; None when a parent directory is missing."""
        above, _, name = path.rstrip("/").rpartition("/")
        if not name:
            return "/"
        parent = self.place(above or "/", follow=True)
        if parent is None or parent not in self.nodes or self.nodes[parent].kind != stat.S_IFDIR:
            return None
        real = f"{parent.rstrip('/')}/{self.stores(name)}"
        if self.folds:
            real = next((known for known in self.nodes if known.lower() == real.lower()), real)
        node = self.nodes.get(real)
        return self.place(node.to, follow=True) if follow and node is not None and node.kind == stat.S_IFLNK else real

    def _find(self, path: str, *, follow: bool = False) -> Node | None:
        place = self.place(path, follow=follow)
        return None if place is None else self.nodes.get(place)

    def _attributes_of(self, node: Node | None) -> Attributes | Status:
        if node is None:
            return _MISSING
        size = len(node.data) if node.kind == stat.S_IFREG else 4096
        return Attributes(size, node.kind | node.mode, node.mtime if self.tells_times else None)

    def _has_entries(self, place: str) -> bool:
        return any(path.startswith(f"{place}/") for path in self.nodes)

    def _open_handle(self, path: str, node: Node, names: Sequence[tuple[str, Attributes]] = ()) -> Handle:
        self._made += not (self.same_handle and self._made)
        handle = b"handle %d" % self._made
        self._handles[handle] = path, node, list(names)
        return Handle(handle)

    def _open(self, call: Call) -> Reply:
        place = self.place(call.path, follow=call.flags == 1)
        if place is None:
            return _MISSING
        node = self.nodes.get(place)
        if call.flags == 1:
            if node is None:
                return _MISSING
            return self._open_handle(call.path, node) if node.kind == stat.S_IFREG else _FAILURE
        assert call.flags in {0x3A, 0x1A}, "the flags are WRITE, CREAT and TRUNC, with EXCL or without"
        if self.is_full or (node is not None and call.flags == 0x3A):
            return _FAILURE
        self.nodes[place] = Node(stat.S_IFREG)
        return self._open_handle(call.path, self.nodes[place])

    def _close(self, call: Call) -> Reply:
        return _OK if self._handles.pop(call.handle, None) else _FAILURE

    def _read(self, call: Call) -> Reply:
        data = self._handles[call.handle][1].data[call.offset : call.offset + call.length]
        return Data(data) if data else _EOF

    def _write(self, call: Call) -> Reply:
        if self.is_full:
            return _FAILURE
        node = self._handles[call.handle][1]
        data = node.data.ljust(call.offset, b"\0")
        node.data = data[: call.offset] + call.data + data[call.offset + len(call.data) :]
        node.mtime += 1
        return _OK

    def _lstat(self, call: Call) -> Reply:
        return self._attributes_of(self._find(call.path))

    def _stat(self, call: Call) -> Reply:
        return self._attributes_of(self._find(call.path, follow=True))

    def _fstat(self, call: Call) -> Reply:
        return self._attributes_of(self._handles[call.handle][1])

    def _fsetstat(self, call: Call) -> Reply:
        node = self._handles[call.handle][1]
        node.mode = node.mode if call.mode is None else call.mode
        node.mtime = node.mtime if call.mtime is None else call.mtime
        return _OK

    def _setstat(self, call: Call) -> Reply:
        node = self._find(call.path, follow=True)
        if node is None:
            return _MISSING
        node.mode = node.mode if call.mode is None else call.mode
        node.mtime = node.mtime if call.mtime is None else call.mtime
        return _OK

    def _opendir(self, call: Call) -> Reply:
        place = self.place(call.path, follow=True)
        node = None if place is None else self.nodes.get(place)
        if place is None or node is None or node.kind != stat.S_IFDIR:
            return _MISSING  # also for ENOTDIR
        below = place.rstrip("/") + "/"
        found = [path for path in self.nodes if path.startswith(below) and "/" not in path[len(below) :] != ""]
        names = [(path[len(below) :], self.nodes[path]) for path in found]
        listed = [(name, self._attributes_of(child)) for name, child in [(".", node), ("..", node), *names]]
        return self._open_handle(call.path, node, [(name, of) for name, of in listed if isinstance(of, Attributes)])

    def _readdir(self, call: Call) -> Reply:
        names = self._handles[call.handle][2]
        now, names[:] = names[: self.names_at_once], names[self.names_at_once :]
        return Names(tuple(now)) if now else _EOF

    def _remove(self, call: Call) -> Reply:
        place = self.place(call.path)
        if place is None or place not in self.nodes:
            return _MISSING
        if self.nodes[place].kind == stat.S_IFDIR:
            return _FAILURE
        del self.nodes[place]
        return _OK

    def _mkdir(self, call: Call) -> Reply:
        place = self.place(call.path)
        if place is None:
            return _MISSING
        if place in self.nodes:
            return _FAILURE
        self.nodes[place] = Node(stat.S_IFDIR)
        return _OK

    def _rmdir(self, call: Call) -> Reply:
        place = self.place(call.path)
        if place is None or place not in self.nodes or self.nodes[place].kind != stat.S_IFDIR:
            return _MISSING  # also for ENOTDIR
        if self._has_entries(place):
            return _FAILURE
        del self.nodes[place]
        return _OK

    def _realpath(self, call: Call) -> Reply:
        path = call.path if call.path.startswith("/") else f"{ROOT}/{call.path}".removesuffix("/.")
        return Names(((path, Attributes()),))

    def _rename(self, call: Call) -> Reply:
        old, new = self.place(call.path), self.place(call.new)
        is_missing = old is None or new is None or old not in self.nodes
        if new in self.nodes and (self.sees_target_first or not is_missing):
            return _FAILURE
        if is_missing:
            return _MISSING
        return self._moved(old or "", new or "")

    def _posix_rename(self, call: Call) -> Reply:
        if POSIX_RENAME not in self.extensions:
            return _UNSUPPORTED
        old, new = self.place(call.path), self.place(call.new)
        if old is None or new is None or old not in self.nodes:
            return _MISSING
        there = self.nodes.get(new)
        if there is not None and stat.S_IFDIR in {there.kind, self.nodes[old].kind}:
            return _FAILURE
        return self._moved(old, new)

    def _moved(self, old: str, new: str) -> Status:
        for path in [path for path in self.nodes if path == old or path.startswith(f"{old}/")]:
            self.nodes[new + path[len(old) :]] = self.nodes.pop(path)
        return _OK

    def _fsync(self, call: Call) -> Reply:
        return _OK if "fsync@openssh.com" in self.extensions else _UNSUPPORTED

    def _statvfs(self, call: Call) -> Reply:
        free = 0 if self.is_full else 100
        return Extended(struct.pack(">11Q", 4096, 4096, 1000, free, free, 1000, 900, 900, 1, 0, 255))


def only(
    verb: str, reply: Reply | Callable[[Call], Reply | None], *, path: str | None = None
) -> Callable[[Call], Reply | None]:
    """Answer requests with ``verb``, and with ``path`` if it is passed, with ``reply``. For `SftpTree.instead`."""

    def instead(call: Call) -> Reply | None:
        if call.verb != verb or path not in {None, call.path}:
            return None
        return reply if isinstance(reply, Reply) else reply(call)

    return instead


# Order.


def any_order(calls: Sequence[Call], rng: Random) -> list[int]:
    """Return the indexes of ``calls`` in a random order that a server may use: calls that share a path keep theirs."""
    left, order = list(range(len(calls))), []
    while left:
        ready = [n for n in left if not any(m < n and calls[m].touches & calls[n].touches for m in left)]
        order.append(rng.choice(ready))
        left.remove(order[-1])
    return order


def play(dialogue: Dialogue[T], tree: SftpTree, *, order: Random | None = None, requests: int | None = None) -> T:
    """Run a dialogue with ``tree`` and return its result.

    After ``requests`` requests the connection is lost, and no others are executed. With ``order``, the server executes
    the requests of a flight in a random order.
    """
    left = -1 if requests is None else requests
    try:
        flight = next(dialogue)
        while True:
            assert flight, "a dialogue must not send an empty flight"
            places = range(len(flight))
            replies: dict[int, Reply] = {}
            for place in any_order([tree.read(one) for one in flight], order) if order else places:
                if left == 0:
                    raise ConnectionLost("cut")
                left -= 1
                replies[place] = tree.answer(flight[place])
            flight = dialogue.send([replies[place] for place in places])
    except StopIteration as done:
        result: T = done.value
        return result
