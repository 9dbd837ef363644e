"""Targets whose listings are not what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.model.entry import Listing

__all__ = ["listing_with"]


def listing_with(real: Endpoint, change: Callable[[Listing], Listing], *, only_first: bool = False) -> Endpoint:
    """Return ``real`` with other listings: all of them, or only the first one of each directory."""
    return _Altered(real, change, only_first)


@attrs.define(eq=False)
class _Altered(EndpointWrapper[Endpoint]):
    change: Callable[[Listing], Listing]
    only_first: bool
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
