"""What the connections of a run and their lanes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from actorsync.actors.backoff import Backoff
from actorsync.actors.connections.pool import Pool
from actorsync.actors.connections.trash import Trash
from actorsync.actors.control import Control
from actorsync.actors.second_look import SecondLook
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.stages import Gate
from actorsync.actors.statistics import Statistics
from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint, Source
from actorsync.model.operation import Side
from actorsync.planning.modes import ALONE, Modes
from actorsync.planning.publishing.keeping import Keeping

if TYPE_CHECKING:
    from actorsync.planning.pairs.clocks import Clocks

__all__ = ["ConnectionContext", "Reading"]


@frozen(eq=False)
class Reading:
    """How the side is read that the connections do not change."""

    source: Source
    """Where files are read: behind the transforms and the bandwidth limit, where there are any."""
    compared: Source
    """Where files are read to be compared: without the bandwidth limit, unless the source is on a server."""
    second_look: SecondLook
    """Tells whether a file that cannot be opened has vanished."""
    is_near: bool = True
    """Whether the source can be read again at no cost worth counting: it is on this machine."""


@frozen(eq=False)
class ConnectionContext:
    """Everything that is the same for all connections of one run, and for all their lanes."""

    reading: Reading
    target: Endpoint
    statistics: Statistics
    shutdown: Shutdown
    pool: Pool
    """Admits connections. Its breaker ``full`` admits uploads while the target has no room."""
    gate: Gate
    """Is passed before each change that can be seen on the target."""
    backoff: Backoff
    token: Callable[[], str]
    """Returns a new random token for the name of a temporary."""
    wall_clock_ns: Callable[[], int]
    by_content: bool = False
    """Whether the checksum of each file is recorded."""
    keeping: Keeping = attrs.Factory(Keeping)
    """What earlier attempts have left on the target, of this run and of others."""
    protects: Callable[[str, bool], bool] | None = None
    """For an exact mirror: what of the target is never removed, although no run has put it there. See `reconcile`."""
    hides_links: Callable[[], bool] = bool
    """Tells whether a symbolic link of the target may look like a directory. Then an exact mirror removes less."""
    modes: Modes = ALONE
    """The rule for permissions on the target."""
    is_burst: bool = False
    """Whether files get their names together, in releases."""
    warnings: Sequence[str] = ()
    """What the user should know of the run, beside the warnings of a session."""
    control: Control = attrs.Factory(Control)
    """What the user wants meanwhile."""
    trash: Trash | None = None
    """Where old files go; None where they are overwritten and removed."""
    side: Side = Side.TARGET
    """The side that the connections change: ``target`` here. ``source`` is the other one."""
    clocks: Clocks | None = None
    """In a two-way run: the clocks of both sides. Then nothing is replaced or removed unless it was looked at again."""

    @property
    def source(self) -> Source:
        """Where files are read to be sent."""
        return self.reading.source

    @property
    def compared(self) -> Source:
        """Where files are read to be compared."""
        return self.reading.compared

    @property
    def second_look(self) -> SecondLook:
        """Tells whether a file that cannot be opened has vanished."""
        return self.reading.second_look

    @property
    def is_source_near(self) -> bool:
        """Whether the source can be read again at no cost worth counting."""
        return self.reading.is_near
