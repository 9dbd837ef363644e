"""What a release asks of a session: many files get their names in one burst, and can be taken back.

Optional for a session: the functions here fall back on the verbs that every session has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs

from actorsync.endpoints.contract import Relocation, Session, Staged, look
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind

__all__ = ["Measuring", "Publication", "Published", "Publishing", "free_space", "publish"]


@attrs.frozen
class Publication:
    """A staged file that is to get its final name. An old file of that name is renamed to ``aside`` first, if given.

    ``aside`` is a path like all others: in the same directory, or in the trash.
    """

    staged: Staged
    aside: str | None = None


@attrs.frozen
class Published:
    """What the target shows after a publication. ``has_old``: an old file has the name ``aside`` now."""

    entry: Entry
    has_old: bool = False


@runtime_checkable
class Publishing(Protocol):
    """Optional for a session: publish many files in few round trips, and take that back."""

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Set the old files aside, and give the staged files their final names, in the order given.

        All renames of up to 64 items share one flight where the wire allows it, and what they have come to is looked at
        in the next. Where the target can, the old file keeps its name until the new one has it (a hard link is the old
        file set aside). A refused item is left as it was: the old file has its name, the staged file its temporary one.
        The items after it are carried out or refused as well, so the caller looks at each result.

        The caller repeats the same items on a new session if the connection was lost. An item is done already if its
        temporary is gone and its final name has the staged size and time; ``has_old`` is then found by looking.
        """

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take publications back, in the order given: a file gets its temporary name again, and the old one its name.

        Return what the target then has under the final name; None if there was no file. Each step is made only if a
        look shows that it is still to be made, so an item may be repeated, or may never have been published.
        """


@runtime_checkable
class Measuring(Protocol):
    """Optional for a session: tell how much room the target has."""

    async def free_space(self) -> int | None:
        """Return the bytes that may still be written to the root, to this account; None if the target does not tell."""


async def free_space(session: Session) -> int | None:
    """Call `Measuring.free_space`; return None where the session does not have it."""
    return await session.free_space() if isinstance(session, Measuring) else None


async def publish(session: Session, items: Sequence[Publication]) -> list[Published | OperationRefused]:
    """Call `Publishing.publish`; move and commit, one item after the other, where the session does not have it."""
    if isinstance(session, Publishing):
        return await session.publish(items)
    return [await _publish_one(session, item) for item in items]


async def _publish_one(session: Session, item: Publication) -> Published | OperationRefused:
    path, has_old = item.staged.path, False
    if item.aside is not None:
        names = [Entry(name, Kind.FILE) for name in (item.aside, path, item.staged.temporary)]
        aside, old, temporary = await look(session, names)
        for found in (aside, old, temporary):
            if isinstance(found, OperationRefused):
                return found
        has_old = aside is not None
        # Without its temporary, the file has its final name already: by an earlier call.
        if isinstance(old, Entry) and not has_old and temporary is not None:
            (moved,) = await session.move([Relocation(old, item.aside)])
            if isinstance(moved, OperationRefused):
                return moved
            has_old = True
    (entry,) = await session.commit([item.staged])
    if isinstance(entry, Entry):
        return Published(entry, has_old)
    if has_old and item.aside is not None:
        (set_aside,) = await look(session, [Entry(item.aside, Kind.FILE)])
        if isinstance(set_aside, Entry):
            await session.move([Relocation(set_aside, path)])
    return entry
