"""What a pool of connections counts: connections, attempts to open one, the uses that wait, and failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import ReadSession
from actorsync.errors import ActorsyncError, ConnectionLost

__all__ = ["Failed", "Login", "SourceConnection", "Waiting"]

#: Seconds without use after which a connection counts as idle: many servers then disconnect the client.
_IDLE: Final = 1.0


@define(eq=False)
class Login:
    """One attempt to open a connection. A task of its own makes it, because a session belongs to one task."""

    number: int
    began: float = attrs.Factory(trio.current_time)
    error: ActorsyncError | None = None
    """Why it failed."""
    settled: trio.Event = attrs.Factory(trio.Event)
    """Is set once the connection is open, or has failed."""
    closing: trio.Event = attrs.Factory(trio.Event)
    """Is set to close the connection."""
    closed: trio.Event = attrs.Factory(trio.Event)
    """Is set once it is closed, or was never opened."""


@define(eq=False)
class SourceConnection:
    """One open connection of the pool."""

    session: ReadSession
    closing: trio.Event
    """Is set to close the connection."""
    closed: trio.Event
    """Is set once it is closed."""
    used: float
    """When it was last used, on trio's clock."""
    users: int = 0
    is_alone: bool = False
    """Whether its user shares it with no other."""
    has_missed: bool = False
    """Whether a file that a listing showed could not be found over it. Listings then prefer another connection."""
    was_idle: bool = False
    """Whether its current use is the first after an idle time."""
    lost: ConnectionLost | None = None
    """Why it is of no use to anybody any more."""

    @property
    def is_idle(self) -> bool:
        """Whether it was not used for a while."""
        return trio.current_time() - self.used >= _IDLE

    def loss_counts(self, so_far: int) -> bool:
        """Return whether its loss counts as a failure, after ``so_far`` of them.

        The first loss after an idle time does not: many servers disconnect idle clients.
        """
        return not self.was_idle or so_far > 0


@define(eq=False)
class Waiting:
    """The uses that wait for a connection."""

    uses: int = 0
    listings: int = 0
    """How many of them are listings."""

    @contextmanager
    def counted(self, *, is_reading: bool) -> Iterator[None]:
        """Count one more inside the block."""
        self.uses += 1
        self.listings += not is_reading
        try:
            yield
        finally:
            self.uses -= 1
            self.listings -= not is_reading


@define(eq=False)
class Failed:
    """What went wrong since the last success."""

    count: int = 0
    lapses: int = 0
    """How often in a row a login that worked before was rejected."""
    reason: str = ""
    not_before: float = 0.0
    """When the next login may begin, while connections are open."""
