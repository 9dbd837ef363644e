"""A server for some mirrors, put together. Imported only where a profile asks for one."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import trio

from actorsync.observe.board import Board
from actorsync.observe.metrics import metrics_text
from actorsync.observe.web.access import Access
from actorsync.observe.web.listening import listening
from actorsync.observe.web.pages import page_files
from actorsync.observe.web.routes import Site
from actorsync.observe.web.server import Server
from actorsync.profile import Secret
from actorsync.profile.values.service_readers import Listen

__all__ = ["open_server"]


async def open_server(
    listen: Listen,
    token: Secret | None,
    board: Board,
    warn: Callable[[str], None],
    stack: AsyncExitStack,
    where: str,
) -> Server:
    """Return a server that listens already. Its socket is closed with ``stack``. Raises as `listening` does."""
    listener = await stack.enter_async_context(listening(listen, where))
    name = socket.gethostname().lower()
    names = {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
    files = await trio.to_thread.run_sync(page_files)
    return Server(listener, Site(board, Access(listen, token, names), files, metrics_text), warn)
