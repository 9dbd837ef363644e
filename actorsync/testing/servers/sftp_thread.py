"""The thread of an embedded SFTP server: asyncssh needs an asyncio event loop, and tests may run trio or no loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import attrs

from actorsync.classes import define

if TYPE_CHECKING:
    from actorsync.testing.servers.sftp_settings import SftpSettings

__all__ = ["ServerThread"]

#: Turns of the event loop in which an accepted connection is set up.
_SETUP_TURNS = 5


@define(eq=False)
class ServerThread:
    """A thread that serves until `stop`; obtained from `started`."""

    thread: threading.Thread
    ready: threading.Event = attrs.field(factory=threading.Event)
    loop: asyncio.AbstractEventLoop | None = None
    stopping: asyncio.Event | None = None
    failure: BaseException | None = None

    @classmethod
    def started(cls, settings: SftpSettings) -> ServerThread:
        """Start a thread and return when the server listens; raise the error that prevents it."""
        running = cls(threading.Thread(name="embedded-sftp", daemon=True))
        running.thread = threading.Thread(target=running.run, args=(settings,), name="embedded-sftp", daemon=True)
        running.thread.start()
        running.ready.wait()
        if running.failure is not None:
            running.thread.join()
            raise running.failure
        return running

    def run(self, settings: SftpSettings) -> None:
        """Serve until stopped. Runs in the thread."""
        try:
            asyncio.run(self.serve(settings))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that started this one
            self.failure = error
        finally:
            self.ready.set()

    async def serve(self, settings: SftpSettings) -> None:
        """Listen, and close everything once `stop` is called."""
        from actorsync.testing.servers.sftp_sessions import Hub  # imports asyncssh, which is slow

        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        logger = _quiet_logger()
        self.loop.set_exception_handler(lambda _, context: logger.debug("%s", context))
        hub = Hub(settings)
        acceptor = await hub.listen()
        settings.port = acceptor.get_port()
        self.ready.set()
        clock = self.loop.create_task(hub.watch_clock())
        await self.stopping.wait()
        clock.cancel()
        # Stop accepting, then let the accepted connections be set up. asyncio forgets a connection that is not set up
        # yet when its server is closed, and leaves its socket open.
        for listening in acceptor.sockets:
            self.loop.remove_reader(listening.fileno())
        for _ in range(_SETUP_TURNS):
            await asyncio.sleep(0)
        acceptor.close()
        await hub.close()

    def stop(self) -> None:
        """End the server and its thread. Called in any other thread."""
        assert self.loop is not None
        assert self.stopping is not None
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join()


def _quiet_logger() -> logging.Logger:
    """Keep asyncssh and asyncio off standard error, where warnings go when no handler is set up."""
    for name in ("asyncio", "asyncssh"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    return logger
