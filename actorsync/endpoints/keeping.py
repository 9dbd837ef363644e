"""Optional parts of the contract for endpoints and sessions that are used by several passes, one after the other."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["KeepsAlive", "ServesPasses", "begin_pass"]


@runtime_checkable
class KeepsAlive(Protocol):
    """Optional for a session: it can stay open while it has no work."""

    async def keep_alive(self) -> None:
        """Make the cheapest request that there is, so that the server and what is on the way see a connection in use.

        Also closes what an earlier verb has left open for a next one. Raises `ConnectionLost` if the session has ended.
        """


@runtime_checkable
class ServesPasses(Protocol):
    """Optional for an endpoint: what it knows of the tree is of one pass. What it knows of the server stays."""

    def begin_pass(self) -> None:
        """Forget what was seen of the tree: between two passes, others may change it."""


def begin_pass(endpoint: object) -> None:
    """Call `ServesPasses.begin_pass`, where the endpoint has it."""
    if isinstance(endpoint, ServesPasses):
        endpoint.begin_pass()
