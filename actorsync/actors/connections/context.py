"""What all connections of a run share."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from actorsync.actors.backoff import Backoff
from actorsync.actors.connections.pool import Pool
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.stages import Gate
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.contract import Endpoint, Source

__all__ = ["ConnectionContext"]


@attrs.frozen(eq=False)
class ConnectionContext:
    """The two sides of a run, and what every connection and every lane needs to work on them."""

    source: Source
    """What is read to be sent: behind transforms and the bandwidth limit, where there are any."""
    target: Endpoint
    pool: Pool
    """Decides how many connections there are, and whether the target has room for a file."""
    statistics: Statistics
    shutdown: Shutdown
    token: Callable[[], str]
    """Returns a random token for the next temporary name."""
    wall_clock_ns: Callable[[], int]
    backoff: Backoff = attrs.Factory(Backoff)
    gate: Gate = attrs.Factory(Gate)
    """Runs the caller's hook before the first visible change on the target."""
    by_content: bool = False
    """Whether the checksum of each file is remembered."""
