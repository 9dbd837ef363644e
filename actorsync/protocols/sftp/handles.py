"""The handles that a server has given out on one channel, and how many of them are open.

A handle is all that tells two open files apart. Some servers give the same one to two files (Erlang's ssh does once
three are open), and then write the bytes of one file into the other. No reply shows that afterwards: the sizes can even
be right.
"""

from __future__ import annotations

from typing import Final

from actorsync.errors import ProtocolError
from actorsync.protocols.sftp.replies import Handle, Reply
from actorsync.protocols.sftp.requests import Request

__all__ = ["HANDLE_REQUESTS", "DuplicateHandle", "OpenHandles"]

_OPEN, _CLOSE, _OPEN_DIRECTORY = 3, 4, 11

#: The types of the requests that open or close a handle.
HANDLE_REQUESTS: Final = frozenset([_OPEN, _CLOSE, _OPEN_DIRECTORY])


class DuplicateHandle(ProtocolError):
    """The server gave a handle to a second file or directory while the first was still open."""


class OpenHandles:
    """The open handles of a channel, and the requests that may open more."""

    def __init__(self) -> None:
        self._open: dict[bytes, int | None] = {}  # the id of the CLOSE that was sent, if one was
        self._closing: dict[int, bytes] = {}
        self._asked: set[int] = set()
        self.most = 0
        """The most handles that were open at the same time."""

    @property
    def count(self) -> int:
        """How many handles are open, or asked for."""
        return len(self._open) + len(self._asked)

    @property
    def opened(self) -> int:
        """How many handles are open."""
        return len(self._open)

    def note_sent(self, identity: int, request: Request) -> None:
        """Record one of `HANDLE_REQUESTS` under its id. Ids only grow."""
        if request.kind == _CLOSE:
            handle = request.body[4:]
            self._closing[identity] = handle
            self._open[handle] = identity
        else:
            self._asked.add(identity)

    def note_answered(self, identity: int, reply: Reply) -> bool:
        """Record the reply to the request with this id. Return whether `count` is lower than before.

        A handle may be used again once it is closed. A server may answer in any order, so the handle in the reply to an
        OPEN that was sent after the CLOSE is a new one, even if the reply to the CLOSE has not arrived.

        Raises:
            DuplicateHandle: the handle belongs to a file that was open when this one was opened.
        """
        if isinstance(reply, Handle):
            self._asked.discard(identity)
            closing = self._open.get(reply.handle, 0)
            if closing is None or identity < closing:
                raise DuplicateHandle("the server gave two open files the same handle, so it may mix up their content")
            self._open[reply.handle] = None
            self.most = max(self.most, len(self._open))
            return False
        if identity in self._asked:
            self._asked.discard(identity)
            return True
        handle = self._closing.pop(identity, None)
        if handle is not None and self._open.get(handle) == identity:
            del self._open[handle]
            return True
        return False
