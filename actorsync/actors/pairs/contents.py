"""Contents of files of a two-way mirror: whether both sides have the same, and whether a side has what was agreed."""

from __future__ import annotations

from contextlib import AsyncExitStack

from actorsync.actors.connections.digest import HashingContent
from actorsync.classes import frozen
from actorsync.endpoints.contract import ReadSession
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry
from actorsync.model.operation import Side

__all__ = ["Contents", "Sides"]

_PIECE = 256 * 1024


@frozen(eq=False)
class Sides:
    """A session for reading on each side."""

    source: ReadSession
    target: ReadSession

    def on(self, side: Side) -> ReadSession:
        """Return the session of a side."""
        return self.source if side is Side.SOURCE else self.target


@frozen(eq=False)
class Contents:
    """Reads files that must be, before and after, exactly the versions that were listed."""

    sides: Sides

    async def digest(self, side: Side, listed: Entry) -> bytes | None:
        """Return the digest of a file. None if it cannot be read, or is not the listed version, or changes."""
        try:
            async with self.sides.on(side).open(listed.path) as opened:
                if not is_version(opened.entry, listed):
                    return None
                content = HashingContent(opened)
                while await content.read(_PIECE):
                    pass
                return content.digest() if await opened.is_unchanged() else None
        except OperationRefused:
            return None

    async def same(self, source: Entry, target: Entry) -> bytes | None:
        """Return the digest that two files have in common; ``b""`` if they differ, None if that cannot be known."""
        try:
            async with AsyncExitStack() as stack:
                ours = await stack.enter_async_context(self.sides.source.open(source.path))
                theirs = await stack.enter_async_context(self.sides.target.open(target.path))
                if not (is_version(ours.entry, source) and is_version(theirs.entry, target)):
                    return None
                one, two = HashingContent(ours), HashingContent(theirs)
                while await one.read(_PIECE):
                    pass
                while await two.read(_PIECE):
                    pass
                if not (await ours.is_unchanged() and await theirs.is_unchanged()):
                    return None
                return one.digest() if one.digest() == two.digest() else b""
        except OperationRefused:
            return None


def is_version(opened: Entry, listed: Entry) -> bool:
    """Return whether an open file has the size of the listed one, and its time where both are known as precisely."""
    if opened.size != listed.size:
        return False
    if opened.mtime_ns is None or listed.mtime_ns is None:
        return True
    second = 1_000_000_000
    return opened.mtime_ns // second == listed.mtime_ns // second or listed.mtime_ns % (60 * second) == 0
