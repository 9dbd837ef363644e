"""A second look at what the source says does not exist.

"There is no such file" does not prove that a file has vanished. Servers give this reply for a name that they list in
another spelling than the real one (control characters, names that are not UTF-8), for a name that a filter of theirs
hides, and for what may not be read. Such an entry comes back with every listing. If it counted as vanished, every run
would leave it out and still end with "in sync". So an entry has vanished only if a new listing does not show it either.
"""

from __future__ import annotations

from typing import Final

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Source
from actorsync.model.entry import Listing, name_of, parent_of

__all__ = ["SecondLook"]

#: How many listings are kept.
_KEPT: Final = 4

#: A listing counts as new for so many times as long as it took: a directory may hold thousands of such names.
_NEW_FOR: Final = 10


@frozen
class _Names:
    """The names in a directory, and until when they count as new, on trio's clock."""

    names: frozenset[str]
    until: float


@define(eq=False)
class SecondLook:
    """Look for entries in new listings of ``source``. The scanner and all lanes of a run share it."""

    source: Source
    _seen: dict[str, _Names] = attrs.field(factory=dict, init=False)

    async def has_vanished(self, path: str) -> bool:
        """Return whether an entry that the scan showed, and that could not be found by its name, is really gone.

        False if a new listing still shows it, or cannot be made: then nothing is certain. The root never vanishes. A
        listing of an earlier call proves that an entry is gone, because it is newer than the scan. That an entry is
        there it proves for a short time only.

        Raises what listing the source raises: `SourceUnreachable`, for example.
        """
        async with self.source.open_session() as session:
            while path:
                directory, name = parent_of(path), name_of(path)
                seen, began = self._seen.get(directory), trio.current_time()
                if seen is not None and name not in seen.names:
                    return True
                if seen is not None and began < seen.until:
                    return False
                listing = await session.list_directory(directory)
                if listing.problem is None:
                    return name not in self._note(listing, began)
                if not listing.problem.vanished:
                    return False
                path = directory  # it has vanished with its directory, if that has
        return False

    def _note(self, listing: Listing, began: float) -> frozenset[str]:
        """Keep the names of a listing that began at ``began``, and return them."""
        names = listing.hidden.union(name_of(entry.path) for entry in listing.entries)
        now = trio.current_time()
        self._seen.pop(listing.directory, None)
        self._seen[listing.directory] = _Names(names, now + _NEW_FOR * (now - began))
        while len(self._seen) > _KEPT:
            del self._seen[next(iter(self._seen))]
        return names
