"""Targets whose listings are not what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing

__all__ = ["listing_with"]


def listing_with(
    real: Endpoint, change: Callable[[Listing], Listing], *, only_first: bool = False, hides_names: bool = False
) -> Endpoint:
    """Return ``real`` with other listings: all of them, or only the first one of each directory.

    With ``hides_names``, what is asked for by its name is refused.
    """
    return _Altered(real, change, only_first, hides_names)


@attrs.define(eq=False)
class _Altered(EndpointWrapper[Endpoint]):
    change: Callable[[Listing], Listing]
    only_first: bool
    hides_names: bool
    listed: Counter[str] = attrs.Factory(Counter)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _AlteredSession(session, self)


class _AlteredSession(SessionWrapper):
    def __init__(self, real: Session, altered: _Altered) -> None:
        super().__init__(real)
        self._altered = altered

    async def list_directory(self, directory: str) -> Listing:
        listing = await self._real.list_directory(directory)
        self._altered.listed[directory] += 1
        is_first = self._altered.listed[directory] == 1
        return self._altered.change(listing) if is_first or not self._altered.only_first else listing

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        if self._altered.hides_names:
            return [OperationRefused("denied") for _ in entries]
        return await super().look(entries)
