"""Conversations with an SFTP server, each a generator that does no I/O (see `actorsync.protocols.sftp.packets`).

What every dialogue here keeps:

* Paths are absolute. A path that cannot be sent raises `OperationRefused` while nothing has happened;
  `why_unsendable` tells beforehand which one it would be.
* A flight never relies on the server's order, save for requests about one file.
* Done again over a new connection after one was lost at any point, it comes to the same end. That is why a refusal is
  never the last word: status 4 means seven different things, so a second flight looks what is true.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import attrs

from actorsync.errors import OperationRefused, ProtocolError
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import packets as sftp
from actorsync.protocols.sftp.packets import Attributes, Dialogue, Handle, Names, Reply, Request, Status
from actorsync.protocols.upload_diagnosis import Attempt, Finding, judge

__all__ = [
    "Rename",
    "Temporary",
    "commit",
    "home",
    "list_directory",
    "look",
    "make_directories",
    "make_root",
    "move_files",
    "remove_directories",
    "remove_files",
    "sweep",
]

#: How many requests go out in one flight: what is in flight has an unknown outcome when the connection is lost.
_BURST = 128
#: No directory that anybody uses has more names. A server that goes on for ever may not fill our memory.
_MAX_NAMES = 300_000
#: What an answer without any name counts for: some servers may send one, and none has reason to go on with them.
_NOTHING = 1_000
_MAX_READS = 16


def exchange(requests: Iterable[Request]) -> Dialogue[list[Reply]]:
    """Send requests that do not depend on each other; give the replies in order."""
    replies: list[Reply] = []
    for burst in _bursts(list(requests)):
        replies += yield burst
    return replies


def _bursts(requests: Sequence[Request]) -> Iterator[list[Request]]:
    for start in range(0, len(requests), _BURST):
        yield list(requests[start : start + _BURST])


def home() -> Dialogue[str]:
    """Ask where the login leads; "/" when the server does not say."""
    (found,) = yield [sftp.real_path(".")]
    path = found.names[0][0] if isinstance(found, Names) and len(found.names) == 1 else ""
    return path if path.startswith("/") else "/"


def look(paths: Sequence[str]) -> Dialogue[list[Attributes | Status]]:
    """Look at names: attributes, or why there are none."""
    replies = yield from exchange(sftp.lstat(path) for path in paths)
    return [reply for reply in replies if isinstance(reply, Attributes | Status)]


def list_directory(path: str) -> Dialogue[list[tuple[str, Attributes]] | Status]:
    """Read all the names in a directory but ``.`` and ``..``; a `Status` when it cannot be read to its end.

    The names are the server's, and nothing is checked about them.
    """
    (opened,) = yield [sftp.open_directory(path)]
    if not isinstance(opened, Handle):
        return _as_status(opened)
    found: list[tuple[str, Attributes]] = []
    reads, count = 2, 0  # most directories are read with the first, and the second says that this was all
    while True:
        replies = yield [sftp.read_directory(opened.handle)] * reads
        ends = [reply for reply in replies if isinstance(reply, Status)]
        for reply in replies:
            if isinstance(reply, Names):
                found += (entry for entry in reply.names if entry[0] not in {".", ".."})
                count += len(reply.names) or _NOTHING
        if count > _MAX_NAMES:
            raise ProtocolError(f"the server lists more than {_MAX_NAMES} names in one directory")
        if ends:
            yield [sftp.part(opened.handle)]
            return next((end for end in ends if not end.is_end), None) or found
        reads = min(2 * reads, _MAX_READS)


class Vague(OperationRefused):
    """A refusal of which the server does not say why: its disk may be full."""

    def __init__(self, reason: str, status: Status) -> None:
        super().__init__(reason)
        self.status = status


def _as_status(reply: Reply) -> Status:
    assert isinstance(reply, Status)
    return reply


# Directories and removals.


def make_directories(paths: Sequence[str], *, follow: bool = False) -> Dialogue[list[OperationRefused | None]]:
    """Make directories, parents standing before children; None for one that is there when it returns.

    One level after the other: a server may take the requests of a flight in any order. A link is no directory, unless
    ``follow`` says otherwise.
    """
    results: dict[str, OperationRefused | None] = {}
    for _, level in groupby(sorted(set(paths), key=_depth), key=_depth):
        group = []
        for path in level:
            if results.get(path.rpartition("/")[0]) is None:
                group.append(path)
            else:  # below a link, it would be made somewhere else
                results[path] = OperationRefused("the directory above it is not there")
        replies = yield from exchange(sftp.make_directory(path) for path in group)
        refused = [(path, _as_status(reply)) for path, reply in zip(group, replies, strict=True) if reply != sftp.OK]
        ask = sftp.stat_path if follow else sftp.lstat
        looked = yield from exchange(ask(path) for path, _ in refused)
        results |= dict.fromkeys(group)
        for (path, status), found in zip(refused, looked, strict=True):
            results[path] = _not_made(status, found)
    return [results[path] for path in paths]


def make_root(path: str) -> Dialogue[OperationRefused | None]:
    """Make a directory with those above it, which may be links. Mostly it is there, which one look tells."""
    (found,) = yield [sftp.stat_path(path or "/")]
    if isinstance(found, Attributes) and found.kind is Kind.DIRECTORY:
        return None
    parts = path.split("/")[1:]
    above = ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
    (*_, refusal) = (yield from make_directories(above, follow=True)) or [None]
    return refusal


def _depth(path: str) -> int:
    return path.count("/")


def _not_made(status: Status, found: Reply) -> OperationRefused | None:
    if not isinstance(found, Attributes):
        if status.is_missing:
            return OperationRefused("the directory above it is not there")
        return Vague(f"the server does not make it: {status}", status)
    if found.kind in {Kind.DIRECTORY, None}:
        return None
    return OperationRefused("a symbolic link is in its place" if found.kind is Kind.LINK else "a file is in its place")


def remove_files(paths: Sequence[str]) -> Dialogue[list[OperationRefused | None]]:
    """Remove files; None for one that is gone, whoever removed it: where a refusal may mean that, it is looked."""
    replies = yield from exchange(sftp.remove(path) for path in paths)
    refusals = [_not_removed(_as_status(reply)) for reply in replies]
    refused = [place for place, refusal in enumerate(refusals) if refusal is not None]
    for place, found in zip(refused, (yield from look([paths[place] for place in refused])), strict=True):
        if isinstance(found, Status) and found.is_missing:
            refusals[place] = None
    return refusals


def remove_directories(paths: Sequence[str]) -> Dialogue[list[bool | OperationRefused]]:
    """Remove directories, children before parents where both are given; False for one that was seen to hold things."""
    results: dict[str, bool | OperationRefused] = {}
    for _, level in groupby(sorted(set(paths), key=_depth, reverse=True), key=_depth):
        group = list(level)
        replies = yield from exchange(sftp.remove_directory(path) for path in group)
        for path, reply in zip(group, replies, strict=True):
            refusal = _not_removed(_as_status(reply))
            results[path] = True if refusal is None else refusal
            if refusal is not None:
                held = yield from list_directory(path)
                if held and not isinstance(held, Status):
                    results[path] = False
    return [results[path] for path in paths]


def _not_removed(status: Status) -> OperationRefused | None:
    if status.is_ok or status.is_missing:
        return None
    return OperationRefused(f"the server does not remove it: {status}")


# Renames.


@attrs.frozen
class Rename:
    """A temporary that is whole, and the name it is to get.

    ``size`` and ``mtime`` (in seconds, None when the server keeps no times) are what it was seen to have. ``aside`` is
    where the old file is while it is replaced, on a server that cannot do that in one stroke; ``trial`` is a plain name
    that is tried when the final one is refused.
    """

    temporary: str
    final: str
    aside: str
    size: int
    mtime: int | None
    trial: str | None = None

    def is_shown_by(self, found: Reply) -> bool:
        """Whether ``found`` is this file, under whatever name."""
        return (
            isinstance(found, Attributes)
            and found.kind in {Kind.FILE, None}
            and found.size == self.size
            and self.mtime in {None, found.mtime}
        )


def commit(renames: Sequence[Rename], *, replaces: bool) -> Dialogue[list[Attributes | OperationRefused]]:
    """Rename, and give what the server then shows under the final names.

    ``replaces`` says that the server can replace a file in one stroke. Where it cannot, the old file is renamed aside,
    the new one to its place, and the old one is removed; at every moment one of them is whole under its name or under
    ``aside``, and `sweep` brings back what a broken connection leaves aside.
    """
    verb = sftp.rename_over if replaces else sftp.rename
    replies = yield from exchange(
        request for item in renames for request in (verb(item.temporary, item.final), sftp.lstat(item.final))
    )
    results: list[Attributes | OperationRefused] = []
    for item, renamed, found in zip(renames, replies[::2], replies[1::2], strict=True):
        status = _as_status(renamed)
        if not replaces and not status.is_ok and not status.is_missing and _is_file(found):
            status, found = yield from _swap(item)
        result = yield from _outcome(item, status, found)
        if not replaces and isinstance(result, Attributes):
            yield [sftp.remove(item.aside)]  # left by an earlier attempt, if at all
        results.append(result)
    return results


def move_files(pairs: Sequence[tuple[str, str]]) -> Dialogue[list[tuple[Status, Attributes | Status]]]:
    """Rename files where nothing has the new name: this request of SFTP replaces nothing. Give what it then shows."""
    replies = yield from exchange(request for old, new in pairs for request in (sftp.rename(old, new), sftp.lstat(new)))
    return [
        (_as_status(renamed), found)
        for renamed, found in zip(replies[::2], replies[1::2], strict=True)
        if isinstance(found, Attributes | Status)
    ]


def _is_file(found: Reply) -> bool:
    return isinstance(found, Attributes) and found.kind in {Kind.FILE, Kind.LINK, None}


def _swap(item: Rename) -> Dialogue[tuple[Status, Reply]]:
    """Replace in two steps; the old file comes back when the second fails.

    Without a temporary nothing is moved: some servers say that the final name is taken before they look for one, also
    when it was taken by our own file, in an attempt whose answer was lost. What such an attempt has left aside is no
    longer needed, because a file has the final name.
    """
    left, _ = yield [sftp.lstat(item.temporary), sftp.remove(item.aside)]
    if isinstance(left, Status):
        (found,) = yield [sftp.lstat(item.final)]
        return left, found
    (moved,) = yield [sftp.rename(item.final, item.aside)]
    if not (status := _as_status(moved)).is_ok and not status.is_missing:
        return status, status
    (renamed,) = yield [sftp.rename(item.temporary, item.final)]
    if renamed != sftp.OK:
        yield [sftp.rename(item.aside, item.final)]
    (found,) = yield [sftp.lstat(item.final)]
    return _as_status(renamed), found


def _outcome(item: Rename, status: Status, found: Reply) -> Dialogue[Attributes | OperationRefused]:
    """Say what became of a rename; look again where the first look does not prove it."""
    if (status.is_ok or status.is_missing) and item.is_shown_by(found):
        assert isinstance(found, Attributes)
        return found
    if status.is_missing:
        return OperationRefused(f"its temporary is gone: {status}", retry=True)
    if not status.is_ok:
        if isinstance(found, Attributes) and found.kind is Kind.DIRECTORY:
            yield [sftp.remove(item.temporary)]
            return OperationRefused("a directory is in its place")
        return (yield from _unnamed(item, status))
    left, found = yield [sftp.lstat(item.temporary), sftp.lstat(item.final)]
    if isinstance(left, Attributes):
        yield [sftp.remove(item.temporary)]
        return OperationRefused("the server says that it renamed it, and has not")
    if isinstance(found, Attributes) and found.size == item.size and found.kind in {Kind.FILE, None}:
        return found  # with the time that the server made of ours
    shown = f"{found.size} bytes" if isinstance(found, Attributes) else str(found)
    return OperationRefused(f"after its rename the server shows {shown} under its name", retry=True)


def _unnamed(item: Rename, status: Status) -> Dialogue[OperationRefused]:
    """Say why a name was refused: when the same file may have another name there, it is the name."""
    if item.trial is not None:
        (renamed,) = yield [sftp.rename(item.temporary, item.trial)]
        if renamed == sftp.OK:
            yield [sftp.remove(item.trial)]
            refused = Attempt(item.size, str(status), status.code, is_begun=False)
            return judge(refused, Finding.NAME)
    yield [sftp.remove(item.temporary)]
    return Vague(f"the server does not give it its name: {status}", status)


# Temporaries.


@attrs.frozen
class Temporary:
    """A temporary of ours, what may stand beside it, and the name it was for, where that is known."""

    path: str
    aside: str
    final: str | None = None
    trial: str | None = None


def sweep(temporaries: Sequence[Temporary]) -> Dialogue[list[OperationRefused | None]]:
    """Remove temporaries, and put back what a broken replacement has left aside; None for one that is gone."""
    known = [(item.path, item.aside, item.final) for item in temporaries if item.final is not None]
    found = yield from look([path for _, *pair in known for path in pair])
    kept: dict[str, OperationRefused] = {}
    for (path, aside, final), left, there in zip(known, found[::2], found[1::2], strict=True):
        if isinstance(left, Attributes):
            (reply,) = yield [sftp.remove(aside) if isinstance(there, Attributes) else sftp.rename(aside, final)]
            if not (status := _as_status(reply)).is_ok and not status.is_missing:
                kept[path] = OperationRefused(f"what it was to replace was set aside, and stays there: {status}")
    trials = [item.trial for item in temporaries if item.trial is not None]
    removed = yield from remove_files([*(item.path for item in temporaries), *trials])
    return [kept.get(item.path, refusal) for item, refusal in zip(temporaries, removed, strict=False)]
