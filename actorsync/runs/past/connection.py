"""A connection to the target outside of a run, for work that one connection can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Final, Self, TypeVar

import attrs

from actorsync.classes import define
from actorsync.endpoints.contract import Endpoint, Session
from actorsync.errors import ConnectionLost, TargetUnreachable

__all__ = ["Connection"]

T = TypeVar("T")

#: How often a call is tried, each time over a new connection.
_TRIES: Final = 3


@define(eq=False)
class Connection:
    """One connection to the target for work outside of a run. A lost one is replaced, and the call repeated."""

    target: Endpoint
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _session: Session | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        """Connect at the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self._stack.aclose()

    async def call(self, verb: Callable[[Session], Awaitable[T]]) -> T:
        """Call a verb that may be repeated. Raises `TargetUnreachable` after the third lost connection."""
        for left in reversed(range(_TRIES)):
            try:
                if self._session is None:
                    self._session = await self._stack.enter_async_context(self.target.open_session())
                return await verb(self._session)
            except ConnectionLost as error:
                self._session = None
                with suppress(ConnectionLost):
                    await self._stack.aclose()
                if not left:
                    raise TargetUnreachable(f"{self.target.display} could not be reached: {error}") from None
        raise AssertionError("the last try returns or raises")
