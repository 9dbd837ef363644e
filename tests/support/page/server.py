"""A server of the page that shows scripted states. It speaks just enough HTTP for a browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Final

import attrs
import trio

from tests.support.page.states import Json

__all__ = ["PageServer", "serving"]

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@attrs.define(eq=False)
class PageServer:
    """Gives each reader the state, and each new one that `tell` sets."""

    url: str
    state: Json
    port: int
    is_open: bool = True
    """Whether the state is given to a browser without a token."""
    readers: list[trio.SocketStream] = attrs.Factory(list)

    async def tell(self, state: Json) -> None:
        """Set the state, and send it to all readers of ``/events``."""
        self.state = state
        for reader in self.readers:
            await reader.send_all(_event(state))

    async def answer(self, stream: trio.SocketStream) -> None:
        """Answer one request, and close; a reader of ``/events`` stays."""
        async with stream:
            try:
                await self._answer(stream)
            except (trio.BrokenResourceError, ConnectionError):
                return  # the browser has closed a page
            finally:
                if stream in self.readers:
                    self.readers.remove(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            chunk = await stream.receive_some()
            if not chunk:
                return
            request += chunk
        path = request.split()[1].decode().partition("?")[0]
        if path in ("/events", "/status.json") and not self.is_open:
            await stream.send_all(_head("401 Unauthorized", "text/plain"))
        elif path == "/events":
            await stream.send_all(_head("200 OK", "text/event-stream") + _event(self.state))
            self.readers.append(stream)
            await stream.receive_some()
        elif path == "/status.json":
            await stream.send_all(_head("200 OK", "application/json") + json.dumps(self.state).encode())
        else:
            found = files("actorsync.observe") / "page" / (path.removeprefix("/page/").strip("/") or "index.html")
            if found.is_file():
                kind = _TYPES[found.name.rpartition(".")[2]]
                await stream.send_all(_head("200 OK", f"{kind}; charset=utf-8") + found.read_bytes())
            else:
                await stream.send_all(_head("404 Not Found", "text/plain"))


def _head(status: str, kind: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        "Content-Security-Policy: default-src 'self'",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _event(state: Json) -> bytes:
    return f"event: status\ndata: {json.dumps(state)}\n\n".encode()


@asynccontextmanager
async def serving(state: Json, port: int = 0, *, is_open: bool = True) -> AsyncIterator[PageServer]:
    """Serve the page with a state, on a free port of 127.0.0.1 or on the one given."""
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
    bound = listener.socket.getsockname()[1]
    server = PageServer(f"http://127.0.0.1:{bound}/", state, bound, is_open)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, server.answer, [listener]))
        yield server
        nursery.cancel_scope.cancel()
