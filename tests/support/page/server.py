"""The server of actorsync, with scripted states instead of those of a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.model.json_records import json_line
from actorsync.observe.board import Board
from actorsync.observe.metrics import metrics_text
from actorsync.observe.web.access import Access
from actorsync.observe.web.listening import listening
from actorsync.observe.web.pages import page_files
from actorsync.observe.web.routes import Site
from actorsync.observe.web.server import Server
from actorsync.profile import Secret
from actorsync.profile.values.service_readers import Listen
from tests.support.page.states import Json

__all__ = ["PageServer", "serving"]


@attrs.frozen(eq=False)
class _ScriptedSite(Site):
    states: list[Json] = attrs.Factory(list)

    def status(self) -> bytes:
        """Return the last state."""
        return json_line(self.states[-1]).encode()


@attrs.frozen(eq=False)
class PageServer:
    """A server at ``url``."""

    url: str
    port: int
    server: Server
    states: list[Json]

    def tell(self, state: Json) -> None:
        """Set the state, and send it to all readers of ``/events``."""
        self.states.append(state)
        self.server.readers.put_status(self.server.site.status())


@asynccontextmanager
async def serving(state: Json, port: int = 0, token: Secret | None = None) -> AsyncIterator[PageServer]:
    """Serve the page with a state, on a free port of 127.0.0.1 or on the one given."""
    listen = Listen("127.0.0.1", port)
    async with listening(listen, "test") as listener, trio.open_nursery() as nursery:
        states = [state]
        site = _ScriptedSite(Board(), Access(listen, token), page_files(), metrics_text, states=states)
        warnings: list[str] = []
        server = Server(listener, site, warnings.append)
        nursery.start_soon(server.run)
        bound = listener.socket.getsockname()[1]
        yield PageServer(f"http://127.0.0.1:{bound}/", bound, server, states)
        nursery.cancel_scope.cancel()
    assert warnings == []
