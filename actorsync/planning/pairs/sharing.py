"""How the connections to one server are shared out between those that read there and those that change it."""

from __future__ import annotations

from typing import Final

__all__ = ["FILE_WEIGHT", "shared_out"]

#: What a file counts beside its bytes.
FILE_WEIGHT: Final = 65_536
#: Files for each lane that are worth one more connection, where a connection has many lanes: a login takes as long as
#: several files over one lane.
_FILES: Final = 8


def shared_out(most: int, lanes: int, *, reading: int, writing: int) -> tuple[int, int]:
    """Return how many connections read and how many write, by the weight of what each is to move.

    A server that is changed gets a stamp, so there is always one that writes. No connection is opened for so little
    that the others have done it before the login is through.
    """
    if not reading:
        readers = 0
    elif not writing:
        readers = most - 1
    else:
        readers = min(most - 1, max(1, round(most * reading / (reading + writing))))
    return min(readers, _worth(reading, lanes)), min(max(1, most - readers), _worth(writing, lanes))


def _worth(weight: int, lanes: int) -> int:
    """Return how many connections are worth their logins. With one lane, the scan has made the logins already."""
    return max(1, -(-weight // (FILE_WEIGHT * (_FILES * lanes if lanes > 1 else 1))))
