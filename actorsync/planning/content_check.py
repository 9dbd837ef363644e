"""How the content of a file that the target has, and that is not known to be ours, is compared with the source."""

from __future__ import annotations

import enum
from typing import Final

from actorsync.classes import frozen
from actorsync.model.entry import Entry
from actorsync.planning.reconcile import has_same_time

__all__ = ["MOST_HASHED", "Network", "Way", "way_to_compare"]

#: The largest file, in bytes, whose hash a server is asked for: it says nothing while it reads the file, and a server
#: that is silent for too long counts as lost. Slow disks read 10 MB in a second.
MOST_HASHED: Final = 128 * 1024 * 1024


class Way(enum.Enum):
    """How to find out whether the target has what would be sent."""

    HASH = "compare with the hash that the server returns"
    READ = "read the file of the target"
    SEND = "do not find out: send the file"


@frozen
class Network:
    """Which sides are read over the network: each byte of them costs as much as a byte that is sent."""

    source: bool
    target: bool


def way_to_compare(source: Entry, target: Entry, network: Network, *, is_hashed: bool) -> Way:
    """Return how to compare the contents of a file. ``is_hashed``: the server returns its hash.

    Reading a file over the network moves as many bytes as sending it. A file with the time of the source was very
    probably sent by an earlier run. Then nothing has to be sent and nothing changes on the target, and receiving is
    mostly the faster direction. Any other file is probably another version, which is sent after all: so it is compared
    only where that costs nothing on the network.
    """
    if not has_same_time(source, target) and (network.source or (network.target and not is_hashed)):
        return Way.SEND
    return Way.HASH if is_hashed else Way.READ
