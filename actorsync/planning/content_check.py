"""How the content of a file that the target has, and that is not known to be ours, is compared with the source."""

from __future__ import annotations

import enum
from typing import Final

from actorsync.model.entry import Entry
from actorsync.planning.reconcile import has_same_time

__all__ = ["MOST_HASHED", "Way", "way_to_compare"]

#: The largest file, in bytes, whose hash a server is asked for: it says nothing while it reads the file, and a server
#: that is silent for too long counts as lost. Slow disks read 10 MB in a second.
MOST_HASHED: Final = 128 * 1024 * 1024


class Way(enum.Enum):
    """How to find out whether the target has what would be sent."""

    HASH = "compare with the hash that the server returns"
    READ = "read the file of the target"
    SEND = "do not find out: send the file"


def way_to_compare(source: Entry, target: Entry, *, is_remote: bool, is_hashed: bool) -> Way:
    """Return how to compare the contents of a file.

    ``is_remote``: reading the target uses the network. ``is_hashed``: the server has
    returned its hash.

    Reading a file back moves as many bytes as sending it. A file with the time of the source was very probably sent by
    an earlier run, and then nothing has to be sent, nothing changes on the target, and receiving is mostly the faster
    direction. Any other file is probably an older version: reading it would be in vain.
    """
    if is_hashed:
        return Way.HASH
    if not is_remote or has_same_time(source, target):
        return Way.READ
    return Way.SEND
