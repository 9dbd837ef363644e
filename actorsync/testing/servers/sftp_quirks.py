"""What SFTP servers do unlike OpenSSH: the order of requests, and the handles that they give out. Without I/O."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from actorsync.testing.servers import sftp_packets as raw
from actorsync.testing.servers.sftp_packets import SftpRequest

__all__ = ["Handles", "Order", "choose"]

Order: TypeAlias = Literal["kept", "by file", "none"]
"""Which requests are carried out in the order in which they arrive: all, those about the same file, or none."""

_OPENING: Final = frozenset(["OPEN", "CREATE", "OPENDIR"])
_HEAD = 5  # bytes: the type and the id


def choose(requests: Sequence[SftpRequest], order: Order, rng: random.Random) -> int:
    """Return the index of the request that is carried out next."""
    if order == "kept":
        return 0
    if order == "none":
        return rng.randrange(len(requests))
    return rng.choice([index for index in range(len(requests)) if not _waits(requests, index)])


def _waits(requests: Sequence[SftpRequest], index: int) -> bool:
    paths = _paths(requests[index])
    return any(paths & _paths(earlier) for earlier in requests[:index])


def _paths(request: SftpRequest) -> set[str]:
    return {path for path in (request.path, request.new_path) if path}


class Handles:
    """The handles of a channel, as clients see them.

    ``most`` is how many may be open at once; None for any number. With ``are_mixed_up``, a handle is chosen as Erlang's
    ssh does: the same one is given out again once three are open, and then means the file that was opened last.
    """

    def __init__(self, *, most: int | None, are_mixed_up: bool) -> None:
        self._most, self._are_mixed_up = most, are_mixed_up
        self._open: list[tuple[bytes, bytes]] = []  # as clients see it, and the real one; the newest first

    def refusal(self, request: SftpRequest) -> bytes | None:
        """Return the reply to a request that would open one file too many, or None."""
        if request.verb not in _OPENING or self._most is None or len(self._open) < self._most:
            return None
        return raw.status(request.id, raw.FAILURE, "Too many open files")

    def given(self, real: bytes) -> bytes:
        """Return what a client gets for a new handle."""
        shown = real
        if self._are_mixed_up:
            number = 0
            for other, _ in self._open:
                number = int(other) + 1 if int(other) <= number else number
            shown = b"%d" % number
        self._open.insert(0, (shown, real))
        return shown

    def translated(self, payload: bytes, verb: str) -> bytes:
        """Return a request with the real handle in place of the one that the client knows."""
        if verb not in raw.BY_HANDLE or payload[0] == raw.EXTENDED:
            return payload
        size = int.from_bytes(payload[_HEAD : _HEAD + 4], "big")
        shown, rest = payload[_HEAD + 4 : _HEAD + 4 + size], payload[_HEAD + 4 + size :]
        pair = next((pair for pair in self._open if pair[0] == shown), None)
        if pair is None:
            return payload
        if verb == "CLOSE":
            self._open.remove(pair)
        return payload[:_HEAD] + raw.string(pair[1]) + rest
