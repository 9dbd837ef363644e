"""The server: it accepts connections, and tells the readers of events what has changed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.observe.sampling import Sampler
from actorsync.observe.web.conversation import PATIENCE, Conversation
from actorsync.observe.web.readers import EventReaders
from actorsync.observe.web.routes import Site

__all__ = ["MOST_CONNECTIONS", "Server"]

#: Connections at a time. Another one is closed at once.
MOST_CONNECTIONS: Final = 64
#: Seconds between two events with the status, at least.
_EVERY: Final = 1.0
#: Seconds that the end of a run is delayed by readers that do not read.
_FAREWELL: Final = 0.3
#: Bytes that the system may keep for a client that does not read, about.
_SEND_BUFFER: Final = 64 * 1024
#: The system has no room for another connection; it may have again.
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE: Final = 1.0
#: After any other error: mostly the client has left before it was accepted.
_SHORT_PAUSE: Final = 0.05


@define(eq=False)
class Server:
    """One server for one address. ``warn`` is called with one line about what keeps it from answering."""

    listener: trio.abc.Listener[trio.SocketStream]
    site: Site
    warn: Callable[[str], None]
    patience: float = PATIENCE
    """Seconds in which a client must take an answer, or a part of the events."""
    readers: EventReaders = attrs.Factory(EventReaders)
    _open: int = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        for name, state in self.site.board.mirrors.items():
            state.readers.add(partial(self.readers.observe, name))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            nursery.start_soon(Sampler(self.site.board).run)
            while True:
                stream = await self._accept()
                if stream is None:
                    continue
                if self._open >= MOST_CONNECTIONS:
                    await trio.aclose_forcefully(stream)
                    continue
                stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, _SEND_BUFFER)
                self._open += 1
                nursery.start_soon(self._converse, stream)

    async def finish(self) -> None:
        """Send the readers of events the last status, and wait for a moment until they have it."""
        self.readers.put_status(self.site.status())
        self.readers.close()
        with trio.move_on_after(_FAREWELL):
            await self.readers.all_gone()

    async def _accept(self) -> trio.SocketStream | None:
        """Return the next connection; None if there was none, or no room for it."""
        try:
            return await self.listener.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                way_out = "raise the limit of open files"
                self.warn(f"observe.listen: no connection can be accepted: {error.strerror}; {way_out}")
            await trio.sleep(_PAUSE if error.errno in _NO_ROOM else _SHORT_PAUSE)
            return None

    async def _converse(self, stream: trio.SocketStream) -> None:
        try:
            await Conversation(stream, self.site, self.readers, self.patience).run()
        except Exception as error:
            self.warn(f"observe.listen: a request was not answered: {type(error).__name__}; please report this")
            logging.getLogger("actorsync").debug("a request was not answered", exc_info=error)
        finally:
            self._open -= 1

    async def _tell(self) -> None:
        """Send the readers of events the status when something has changed. Without readers, nothing is done."""
        told = -1
        while True:
            await trio.sleep(_EVERY)
            board = self.site.board
            if self.readers.readers and (board.is_busy or board.revision != told):
                told = board.revision
                self.readers.put_status(self.site.status())
