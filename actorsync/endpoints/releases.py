"""What a release asks of a session: many files get their names in one burst, and can be taken back.

Optional for a session: the functions here fall back on the verbs that every session has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from actorsync.classes import frozen
from actorsync.endpoints.contract import Relocation, Session, Staged
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.planning.publishing.steps import BackStep, Seen, Step, is_alike, step_back, step_to_publish

__all__ = ["Measuring", "Publication", "Published", "Publishing", "ReachesOutside", "free_space", "publish", "put_back"]


@frozen
class Publication:
    """A staged file that is to get its final name. An old file of that name is renamed to ``aside`` first, if given.

    ``aside`` is a path like all others: in the same directory, or in the trash.
    """

    staged: Staged
    aside: str | None = None


@frozen
class Published:
    """What the target shows after a publication. ``has_old``: an old file has the name ``aside`` now."""

    entry: Entry
    has_old: bool = False
    lost_old: bool = False
    """The target refused to set an old file aside, and replaced it all the same: it cannot come back."""


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


@runtime_checkable
class ReachesOutside(Protocol):
    """Optional for an endpoint: one directory beside its root can be used, as a path that begins with ``../``."""

    outside: str
    """The directory, such as ``../.trash``; ``""`` if there is none. Set before the first session is opened.

    Its files are looked at, listed, moved in and out, and removed, and old files are set aside there. Nothing else that
    leads out of the root is ever used.
    """


async def free_space(session: Session) -> int | None:
    """Call `Measuring.free_space`; return None where the session does not have it."""
    return await session.free_space() if isinstance(session, Measuring) else None


async def publish(session: Session, items: Sequence[Publication]) -> list[Published | OperationRefused]:
    """Call `Publishing.publish`; where the session does not have it, look, and rename one file after the other."""
    if isinstance(session, Publishing):
        return await session.publish(items)
    looks = await _look(session, items)
    return [await _publish_one(session, item, seen) for item, seen in zip(items, looks, strict=True)]


async def put_back(session: Session, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
    """Call `Publishing.put_back`; where the session does not have it, look, and rename one file after the other."""
    if isinstance(session, Publishing):
        return await session.put_back(items)
    looks = await _look(session, items)
    return [await _put_back_one(session, item, seen) for item, seen in zip(items, looks, strict=True)]


async def _look(session: Session, items: Sequence[Publication]) -> list[Seen | OperationRefused]:
    """List the directories of all items, and return what each has under its three names."""
    paths = [path for item in items for path in (item.staged.path, item.aside) if path is not None]
    shown: dict[str, Entry] = {}
    problems: dict[str, str] = {}
    for directory in dict.fromkeys(map(parent_of, paths)):
        listing = await session.list_directory(directory)
        shown |= {entry.path: entry for entry in listing.entries}
        if listing.problem is not None and not listing.problem.is_missing:
            problems[directory] = listing.problem.reason
    looks: list[Seen | OperationRefused] = []
    for item in items:
        staged = item.staged
        asked = [parent_of(path) for path in (staged.path, item.aside) if path is not None]
        if why := next((problems[directory] for directory in asked if directory in problems), None):
            looks.append(OperationRefused(f"its directory cannot be listed: {why}", retry=True))
            continue
        final, aside = shown.get(staged.path), None if item.aside is None else shown.get(item.aside)
        is_new = is_alike(final, staged.size, staged.mtime_ns)
        looks.append(Seen(shown.get(staged.temporary), final, aside, is_new))
    return looks


async def _publish_one(
    session: Session, item: Publication, seen: Seen | OperationRefused
) -> Published | OperationRefused:
    if isinstance(seen, OperationRefused):
        return seen
    try:
        step = step_to_publish(seen, item.staged.size, sets_aside=item.aside is not None)
    except OperationRefused as refused:
        return refused
    staged, final, aside = item.staged, seen.final, item.aside
    if step is Step.NONE or aside is None or seen.temporary is None or (final is not None and step is Step.RENAME):
        # Of a file that is published, this finds out whether it has the staged time as precisely as the target can.
        (committed,) = await session.commit([staged])
        return Published(committed, _is_file(seen.aside)) if isinstance(committed, Entry) else committed
    old: Entry | None = None
    if final is not None:
        (moved,) = await session.move([Relocation(final, aside)])
        if isinstance(moved, OperationRefused):
            return OperationRefused(f"the old file cannot be set aside: {moved}", retry=moved.retry)
        old = moved
    # Not `commit`, which may remove what an interrupted commit of the same file has set aside under this name.
    (renamed,) = await session.move([Relocation(seen.temporary, staged.path)])
    if isinstance(renamed, Entry):
        return Published(renamed, old is not None or _is_file(seen.aside))
    if old is not None:
        (back,) = await session.move([Relocation(old, staged.path)])
        if isinstance(back, OperationRefused):
            return OperationRefused(f"{renamed}; and its old file cannot be put back: {back}", retry=True)
    return renamed


async def _put_back_one(
    session: Session, item: Publication, seen: Seen | OperationRefused
) -> Entry | OperationRefused | None:
    if isinstance(seen, OperationRefused):
        return seen
    try:
        step = step_back(seen, item.staged.size)
    except OperationRefused as refused:
        return refused
    staged, final, aside = item.staged, seen.final, seen.aside
    if step is BackStep.DROP and aside is not None:
        (removed,) = await session.remove([aside])
        return removed if isinstance(removed, OperationRefused) else final
    if step is BackStep.TAKE_BACK and final is not None:
        (taken,) = await session.move([Relocation(final, staged.temporary)])
        if isinstance(taken, OperationRefused):
            return taken
        final = None
    elif step is BackStep.RESTORE and final is not None:
        (removed,) = await session.remove([final])
        if removed is not True:
            return removed if isinstance(removed, OperationRefused) else OperationRefused("a directory has its name")
        final = None
    if step is BackStep.NONE or aside is None:
        return final if _is_file(final) else None
    (restored,) = await session.move([Relocation(aside, staged.path)])
    return restored


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.FILE
