"""Dialogues that only look: login, attributes, listings, and what is gone. `dialogues` has the rules for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from actorsync.errors import ProtocolError
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import (
    FAILURE,
    Attributes,
    Handle,
    Limits,
    Names,
    Reply,
    Status,
    as_status,
    limits_of,
)
from actorsync.protocols.sftp.requests import Dialogue, Request

__all__ = ["are_gone", "exchange", "list_directory", "login_facts", "lstat_all"]

#: Requests in one flight. Bounded, because the outcome of all of them is unknown when the connection is lost.
_MAX_FLIGHT = 128
#: Names in one directory. A server that sends more is cut off before it fills the memory.
_MAX_NAMES = 300_000
#: How many names a reply without any name counts as, so that an endless series of them also ends.
_EMPTY_REPLY = 1_000
#: READDIR requests in one flight.
_MAX_READS = 16


def exchange(requests: Iterable[Request]) -> Dialogue[list[Reply]]:
    """Send requests that do not depend on each other, and return the replies in order."""
    replies: list[Reply] = []
    for flight in _flights(list(requests)):
        replies += yield flight
    return replies


def _flights(requests: Sequence[Request]) -> Iterator[list[Request]]:
    for start in range(0, len(requests), _MAX_FLIGHT):
        yield list(requests[start : start + _MAX_FLIGHT])


def login_facts(
    extensions: Mapping[str, str], looks: Sequence[str] = ()
) -> Dialogue[tuple[str, Limits, Sequence[Reply]]]:
    """Return the absolute path of the login directory, the server's limits, and the attributes of the paths ``looks``.

    The path is "/" where the server does not say it, and there are no limits. Relative paths are relative to the login
    directory. All of this is one flight.
    """
    asked = [sftp.limits()] if "limits@openssh.com" in extensions else []
    found, *others = yield [sftp.real_path("."), *(sftp.stat_path(path) for path in looks), *asked]
    path = found.names[0][0] if isinstance(found, Names) and len(found.names) == 1 else ""
    limits = limits_of(others[-1]) if asked else Limits()
    return path if path.startswith("/") else "/", limits, others[: len(looks)]


def lstat_all(paths: Sequence[str]) -> Dialogue[list[Attributes | Status]]:
    """Return the attributes of each path, or the status that the server sent instead. Links are not followed."""
    replies = yield from exchange(sftp.lstat(path) for path in paths)
    return [reply for reply in replies if isinstance(reply, Attributes | Status)]


def list_directory(path: str, *, ahead: bool = True) -> Dialogue[list[tuple[str, Attributes]] | Status]:
    """Return all names in a directory except ``.`` and ``..``; a `Status` when it cannot be read to its end.

    The names are as the server sent them, unchecked. Without ``ahead``, one READDIR is sent at a time: a server that
    carries out several at once may send the same names twice.

    Raises:
        ProtocolError: the listing is too long to be that of a directory.
    """
    (opened,) = yield [sftp.open_directory(path)]
    if not isinstance(opened, Handle):
        return as_status(opened)
    found: list[tuple[str, Attributes]] = []
    reads, count = 2 if ahead else 1, 0  # in most directories, the first returns all names and the second the end
    while True:
        replies = yield [sftp.read_directory(opened.handle)] * reads
        ends = [reply for reply in replies if isinstance(reply, Status)]
        for reply in replies:
            if isinstance(reply, Names):
                found += (entry for entry in reply.names if entry[0] not in {".", ".."})
                count += len(reply.names) or _EMPTY_REPLY
        if count > _MAX_NAMES:
            raise ProtocolError(f"the server listed more than {_MAX_NAMES} names in one directory")
        if ends:
            yield [sftp.close_unchecked(opened.handle)]
            return next((end for end in ends if not end.is_end), None) or found
        reads = min(2 * reads, _MAX_READS) if ahead else 1


def are_gone(paths: Sequence[str]) -> Dialogue[list[bool]]:
    """Return for each path whether nothing is there.

    Some servers say "failure" of anything that does not exist. Then the listing of the directory decides, or that of
    the nearest directory above it that can be listed.
    """
    results = []
    for path, found in zip(paths, (yield from lstat_all(paths)), strict=True):
        is_gone = isinstance(found, Status) and found.is_missing
        if isinstance(found, Status) and found.code == FAILURE:
            is_gone = yield from _is_unlisted(path)
        results.append(is_gone)
    return results


def _is_unlisted(path: str) -> Dialogue[bool]:
    """Return whether a complete listing shows that a path does not exist."""
    while path:
        path, _, name = path.rpartition("/")
        listed = yield from list_directory(path or "/")
        if not isinstance(listed, Status):
            return bool(listed) and name not in {found for found, _ in listed}
    return False
