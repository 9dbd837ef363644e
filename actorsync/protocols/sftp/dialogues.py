"""Dialogues with an SFTP server, each a generator without I/O (see `actorsync.protocols.sftp.requests`).

Every dialogue here keeps three rules:

* Paths are absolute. A path that cannot be sent raises `OperationRefused` before anything is sent;
  `why_unsendable` checks a path beforehand.
* A flight relies on the server's order only for requests about the same file.
* A dialogue can be repeated over a new connection after the old one was lost at any point, with the same result. A
  refusal is therefore never trusted alone: status 4 has seven meanings, so a second flight reads the actual state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from actorsync.classes import frozen
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.looks import are_gone, exchange, list_directory, login_facts, lstat_all
from actorsync.protocols.sftp.replies import (
    OK,
    Attributes,
    Reply,
    Status,
    as_status,
)
from actorsync.protocols.sftp.requests import Dialogue
from actorsync.protocols.upload_diagnosis import Attempt, Finding, judge

__all__ = [
    "Rename",
    "Temporary",
    "UnexplainedRefusal",
    "are_gone",
    "commit",
    "list_directory",
    "login_facts",
    "lstat_all",
    "make_directories",
    "make_root",
    "move_files",
    "remove_directories",
    "remove_files",
    "set_modes",
    "sweep",
]

#: What a user can check after a refusal without a reason.
_HINT = "check the permissions, the free space and the rules for names on the server"


class UnexplainedRefusal(OperationRefused):
    """A refusal for which the server gives no reason. The server's disk may be full."""

    def __init__(self, reason: str, status: Status) -> None:
        super().__init__(reason)
        self.status = status


# Directories and removals.


def make_directories(
    paths: Sequence[str], *, follow: bool = False, existed: Callable[[str], None] | None = None
) -> Dialogue[list[OperationRefused | None]]:
    """Make directories; the result is None for each that exists at the end, whether it was made now or before.

    ``existed`` is called with each directory that was not made now.

    Levels are made one after the other, because a server may carry out the requests of a flight in any order. A
    symbolic link is refused, unless ``follow`` is set.
    """
    results: dict[str, OperationRefused | None] = {}
    for _, level in groupby(sorted(set(paths), key=_depth), key=_depth):
        group = []
        for path in level:
            if results.get(path.rpartition("/")[0]) is None:
                group.append(path)
            else:  # below a link, the directory would be made in another place
                results[path] = OperationRefused("parent directory missing or inaccessible")
        replies = yield from exchange(sftp.make_directory(path) for path in group)
        refused = [(path, as_status(reply)) for path, reply in zip(group, replies, strict=True) if reply != OK]
        attributes_of = sftp.stat_path if follow else sftp.lstat
        checked = yield from exchange(attributes_of(path) for path, _ in refused)
        results |= dict.fromkeys(group)
        for (path, status), found in zip(refused, checked, strict=True):
            results[path] = _refused_directory(status, found)
            if existed is not None and results[path] is None:
                existed(path)
    return [results[path] for path in paths]


def make_root(path: str) -> Dialogue[OperationRefused | None]:
    """Make a directory and its parents, which may be links. One request is enough when the directory exists."""
    (found,) = yield [sftp.stat_path(path or "/")]
    if isinstance(found, Attributes) and found.kind is Kind.DIRECTORY:
        return None
    parts = path.split("/")[1:]
    levels = ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
    (*_, refusal) = (yield from make_directories(levels, follow=True)) or [None]
    return refusal


def _depth(path: str) -> int:
    return path.count("/")


def _refused_directory(status: Status, found: Reply) -> OperationRefused | None:
    if not isinstance(found, Attributes):
        if status.is_missing:
            return OperationRefused("parent directory missing or inaccessible")
        return UnexplainedRefusal(f"the server did not make the directory: {status}; {_HINT}", status)
    if found.kind in {Kind.DIRECTORY, None}:
        return None
    return OperationRefused("a symbolic link is in its place" if found.kind is Kind.LINK else "a file is in its place")


def remove_files(paths: Sequence[str]) -> Dialogue[list[OperationRefused | None]]:
    """Remove files; the result is None for each that is gone, also when another program removed it.

    After a refusal `are_gone` finds out whether the file still exists.
    """
    replies = yield from exchange(sftp.remove(path) for path in paths)
    refusals = [_refused_removal(as_status(reply)) for reply in replies]
    refused = [index for index, refusal in enumerate(refusals) if refusal is not None]
    for index, is_gone in zip(refused, (yield from are_gone([paths[index] for index in refused])), strict=True):
        if is_gone:
            refusals[index] = None
    return refusals


def remove_directories(paths: Sequence[str]) -> Dialogue[list[bool | OperationRefused]]:
    """Remove directories, children before their parents; the result is False for each that is not empty."""
    results: dict[str, bool | OperationRefused] = {}
    for _, level in groupby(sorted(set(paths), key=_depth, reverse=True), key=_depth):
        group = list(level)
        replies = yield from exchange(sftp.remove_directory(path) for path in group)
        for path, reply in zip(group, replies, strict=True):
            refusal = _refused_removal(as_status(reply))
            results[path] = True if refusal is None else refusal
            if refusal is not None:
                content = yield from list_directory(path)
                if isinstance(content, Status):
                    (is_gone,) = yield from are_gone([path])
                    results[path] = is_gone or refusal
                elif content:
                    results[path] = False
    return [results[path] for path in paths]


def _refused_removal(status: Status) -> OperationRefused | None:
    if status.is_ok or status.is_missing:
        return None
    return OperationRefused(f"the server did not remove it: {status}")


# Renames.


@frozen
class Rename:
    """A complete temporary, and the final name that it gets.

    ``size`` and ``mtime`` are those of the temporary; ``mtime`` is in seconds, None when the server keeps no times.
    ``aside`` is the path of the old file during a replacement, on a server that cannot replace atomically. ``probe`` is
    a path with a plain name, to try when the server refuses the final name.
    """

    temporary: str
    final: str
    aside: str
    size: int
    mtime: int | None
    probe: str | None = None

    def matches(self, found: Reply) -> bool:
        """Whether attributes are those of this file, whatever its name is."""
        return (
            isinstance(found, Attributes)
            and found.kind in {Kind.FILE, None}
            and found.size == self.size
            and self.mtime in {None, found.mtime}
        )


def commit(renames: Sequence[Rename], *, replaces: bool) -> Dialogue[list[Attributes | OperationRefused]]:
    """Rename files, and return the attributes that the server then reports for the final names.

    ``replaces`` says that the server can replace a file atomically. Otherwise the old file is renamed to ``aside``, the
    new one gets the final name, and the old one is removed. At every moment one of the two is complete under the final
    name or ``aside``. When the connection breaks in between, `sweep` restores the old file.
    """
    verb = sftp.rename_over if replaces else sftp.rename
    replies = yield from exchange(
        request for item in renames for request in (verb(item.temporary, item.final), sftp.lstat(item.final))
    )
    results: list[Attributes | OperationRefused] = []
    for item, renamed, found in zip(renames, replies[::2], replies[1::2], strict=True):
        status = as_status(renamed)
        if not replaces and not status.is_ok and not status.is_missing and _is_file(found):
            status, found = yield from _replace_in_two_steps(item)
        result = yield from _check_rename(item, status, found)
        if not replaces and isinstance(result, Attributes):
            yield [sftp.remove(item.aside)]  # an earlier attempt may have left it
        results.append(result)
    return results


def move_files(pairs: Sequence[tuple[str, str]]) -> Dialogue[list[tuple[Status, Attributes | Status]]]:
    """Rename files without replacing any; return the status of each rename and the attributes of the new name.

    SFTP's own RENAME refuses a new name that exists. A server that looks before it renames is asked once more.
    """
    replies = yield from exchange(request for old, new in pairs for request in (sftp.rename(old, new), sftp.lstat(new)))
    early = [n for n in range(len(pairs)) if replies[2 * n] == OK and isinstance(replies[2 * n + 1], Status)]
    for n, found in zip(early, (yield from lstat_all([pairs[n][1] for n in early])), strict=True):
        replies[2 * n + 1] = found
    return [
        (as_status(renamed), found)
        for renamed, found in zip(replies[::2], replies[1::2], strict=True)
        if isinstance(found, Attributes | Status)
    ]


def set_modes(changes: Sequence[tuple[str, int]]) -> Dialogue[list[tuple[Status, Attributes | Status]]]:
    """Set permissions; return the status of each request and the attributes that the server then reports.

    The server follows links: the caller has seen that the paths are none.
    """
    replies = yield from exchange(
        request for path, mode in changes for request in (sftp.setstat(path, mtime=None, mode=mode), sftp.lstat(path))
    )
    return [
        (as_status(status), found)
        for status, found in zip(replies[::2], replies[1::2], strict=True)
        if isinstance(found, Attributes | Status)
    ]


def _is_file(found: Reply) -> bool:
    return isinstance(found, Attributes) and found.kind in {Kind.FILE, Kind.LINK, None}


def _replace_in_two_steps(item: Rename) -> Dialogue[tuple[Status, Reply]]:
    """Set the old file aside and rename the temporary to the final name; put the old file back if that fails.

    Nothing is renamed when the temporary is missing. Some servers report that the final name exists before they check
    the temporary. The file there may then be the new one, from an attempt whose reply was lost. A file that such an
    attempt left at ``aside`` is no longer needed, because the final name has a file.
    """
    left, _ = yield [sftp.lstat(item.temporary), sftp.remove(item.aside)]
    if isinstance(left, Status):
        (found,) = yield [sftp.lstat(item.final)]
        return left, found
    (moved,) = yield [sftp.rename(item.final, item.aside)]
    if not (status := as_status(moved)).is_ok and not status.is_missing:
        return status, status
    (renamed,) = yield [sftp.rename(item.temporary, item.final)]
    if renamed != OK:
        yield [sftp.rename(item.aside, item.final)]
    (found,) = yield [sftp.lstat(item.final)]
    return as_status(renamed), found


def _check_rename(item: Rename, status: Status, found: Reply) -> Dialogue[Attributes | OperationRefused]:
    """Return the result of a rename. A second request reads the state when the first reply proves nothing."""
    if (status.is_ok or status.is_missing) and item.matches(found):
        assert isinstance(found, Attributes)
        return found
    if status.is_missing:
        return OperationRefused(f"its temporary is gone: {status}", retry=True)
    if not status.is_ok:
        if isinstance(found, Attributes) and found.kind is Kind.DIRECTORY:
            yield [sftp.remove(item.temporary)]
            return OperationRefused("a directory is in its place")
        (is_gone,) = yield from are_gone([item.temporary])
        if is_gone:  # the rename was done before, or the temporary is lost
            if isinstance(found, Attributes) and item.matches(found):
                return found
            return OperationRefused(f"its temporary is gone: {status}", retry=True)
        return (yield from _diagnose_rename(item, status))
    left, found = yield [sftp.lstat(item.temporary), sftp.lstat(item.final)]
    if isinstance(left, Attributes):
        yield [sftp.remove(item.temporary)]
        return OperationRefused("the server reported that it renamed the file, but did not")
    if isinstance(found, Attributes) and found.size == item.size and found.kind in {Kind.FILE, None}:
        return found  # with the time as the server rounded or replaced it
    shown = f"{found.size} bytes" if isinstance(found, Attributes) else str(found)
    return OperationRefused(f"after the rename the server reports {shown} for the final name", retry=True)


def _diagnose_rename(item: Rename, status: Status) -> Dialogue[OperationRefused]:
    """Return why a rename was refused: if the server accepts another name for the file, the final name is the cause."""
    if item.probe is not None:
        (renamed,) = yield [sftp.rename(item.temporary, item.probe)]
        if renamed == OK:
            yield [sftp.remove(item.probe)]
            refused = Attempt(item.size, str(status), status.code, is_begun=False)
            return judge(refused, Finding.NAME)
    yield [sftp.remove(item.temporary)]
    return UnexplainedRefusal(f"the server refused the rename to the final name: {status}; {_HINT}", status)


# Temporaries.


@frozen
class Temporary:
    """A temporary that actorsync made, the files that may belong to it, and its final name where that is known."""

    path: str
    aside: str
    final: str | None = None
    probe: str | None = None


def sweep(temporaries: Sequence[Temporary]) -> Dialogue[list[OperationRefused | None]]:
    """Remove temporaries, and put back old files that a broken replacement left aside; None for each that is gone."""
    known = [(item.path, item.aside, item.final) for item in temporaries if item.final is not None]
    found = yield from lstat_all([path for _, *pair in known for path in pair])
    kept: dict[str, OperationRefused] = {}
    for (path, aside, final), left, there in zip(known, found[::2], found[1::2], strict=True):
        if isinstance(left, Attributes):
            (reply,) = yield [sftp.remove(aside) if isinstance(there, Attributes) else sftp.rename(aside, final)]
            if not (status := as_status(reply)).is_ok and not status.is_missing:
                kept[path] = OperationRefused(f"the file that it was to replace is still set aside: {status}")
    probes = [item.probe for item in temporaries if item.probe is not None]
    removed = yield from remove_files([*(item.path for item in temporaries), *probes])
    return [kept.get(item.path, refusal) for item, refusal in zip(temporaries, removed, strict=False)]
