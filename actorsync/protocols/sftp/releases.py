"""Dialogues that publish many files in few flights, and take that back. `dialogues` has the rules for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import frozen
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.looks import exchange
from actorsync.protocols.sftp.replies import Attributes, Reply, Status, as_status
from actorsync.protocols.sftp.requests import Dialogue, Request

__all__ = ["Looked", "Names", "link", "look", "rename", "rename_in_steps"]


@frozen
class Names:
    """The absolute paths of one publication. ``aside`` is None if no old file is to be set aside, or comes back."""

    temporary: str
    final: str
    aside: str | None = None


@frozen
class Looked:
    """What the server shows under three names: attributes, or the status that it sent instead."""

    temporary: Attributes | Status
    final: Attributes | Status
    aside: Attributes | Status | None


def look(items: Sequence[Names]) -> Dialogue[list[Looked]]:
    """Look at the three names of each file."""
    asked = [(it.temporary, it.final, it.final if it.aside is None else it.aside) for it in items]
    replies = iter((yield from exchange(sftp.lstat(path) for paths in asked for path in paths)))
    found: list[Looked] = []
    for item in items:
        temporary, final, aside = (_shown(next(replies)) for _ in range(3))
        found.append(Looked(temporary, final, None if item.aside is None else aside))
    return found


def _shown(reply: Reply) -> Attributes | Status:
    return reply if isinstance(reply, Attributes) else as_status(reply)


def link(pairs: Sequence[tuple[str, str]]) -> Dialogue[list[Status]]:
    """Add second names to files. A name that exists is refused."""
    replies = yield from exchange(sftp.hard_link(old, new) for old, new in pairs)
    return [as_status(reply) for reply in replies]


def rename(pairs: Sequence[tuple[str, str]], *, over: bool) -> Dialogue[list[Status]]:
    """Rename files. Without ``over``, a new name that exists is refused."""
    verb = sftp.rename_over if over else sftp.rename
    replies = yield from exchange(verb(old, new) for old, new in pairs)
    return [as_status(reply) for reply in replies]


def rename_in_steps(steps: Sequence[Sequence[tuple[str, str]]], *, in_order: bool) -> Dialogue[list[list[Status]]]:
    """Rename one file out of the way and another to its name, for each of ``steps``. No rename replaces anything.

    So the second is refused if the first was. Without ``in_order`` the server may carry out the second one before the
    first, and the second ones are sent when the first ones are answered.
    """
    pending = [[sftp.rename(old, new) for old, new in pairs] for pairs in steps]
    if in_order:
        replies = iter((yield from exchange(request for pairs in pending for request in pairs)))
        return [[as_status(next(replies)) for _ in pairs] for pairs in pending]
    done: list[list[Status]] = [[] for _ in pending]
    for position in range(2):
        due: list[tuple[int, Request]] = [
            (index, pairs[position]) for index, pairs in enumerate(pending) if len(pairs) > position
        ]
        for (index, _), reply in zip(due, (yield from exchange(request for _, request in due)), strict=True):
            done[index].append(as_status(reply))
    return done
