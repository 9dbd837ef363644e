"""The routes of the server: from a request to its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from actorsync import __version__
from actorsync.classes import frozen
from actorsync.observe.board import Board
from actorsync.observe.status import status_json
from actorsync.observe.web.access import Access
from actorsync.observe.web.messages import Answer, Request, text
from actorsync.observe.web.pages import File

__all__ = ["EVENTS", "Site"]

#: The path of the stream of events, which is not an answer with a whole body.
EVENTS: Final = "/events"

_METHODS: Final = ("GET", "HEAD")


@frozen(eq=False)
class Site:
    """What one server shows: a board, and the files of the page."""

    board: Board
    access: Access
    files: Mapping[str, File]
    metrics: Callable[[Board], bytes]
    """Returns the board in the text format of Prometheus."""
    clock: Callable[[], float] = time.time

    def answer(self, request: Request) -> Answer | None:
        """Return the answer to a request; None for the stream of events."""
        if request.method not in _METHODS:
            return text(405, "nothing can be changed here; use GET", ("Allow", ", ".join(_METHODS)))
        if (refusal := self.access.refusal(request)) is not None:
            return refusal
        match request.path:
            case "/status.json":
                return Answer(200, self.status(), "application/json")
            case "/metrics":
                return Answer(200, self.metrics(self.board), "text/plain; version=0.0.4; charset=utf-8")
            case "/healthz":
                return text(200, "ok")
            case "/readyz":
                return self._readiness()
            case path if path == EVENTS:
                return None
            case path if (file := self.files.get(path)) is not None:
                return Answer(200, file.content, file.kind)
        return text(404, "there is nothing here; the status is at / and /status.json")

    def status(self) -> bytes:
        """Return the status as JSON."""
        return status_json(self.board, __version__, self.clock())

    def _readiness(self) -> Answer:
        reasons = ((name, state.why_not_ready()) for name, state in self.board.mirrors.items())
        lines = [f"{name}: {reason}" for name, reason in reasons if reason is not None]
        return text(503, "; ".join(lines)) if lines else text(200, "ready")
