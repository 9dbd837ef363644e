"""Requests to a service that raises the alarm when they fail to come, such as healthchecks.io.

urllib in a thread: it follows redirects, checks certificates, and uses the proxy that ``https_proxy`` and ``no_proxy``
name, and it is part of Python. The URL is a secret: with it, anybody can report a success. No message shows more of it
than the host.
"""

from __future__ import annotations

import base64
import http.client
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import attrs
import trio

from actorsync import __version__
from actorsync.classes import define
from actorsync.model.event import Event, Started, Stopped
from actorsync.model.text import display
from actorsync.observe.board import MirrorState

__all__ = ["Ping", "ping_url"]

#: Seconds that a request may take.
_LONGEST: Final = 10.0
#: Requests in progress at a time, with those that were given up and that the system has not.
_MOST: Final = 4
#: The end of the URL that tells that a pass begins.
_START: Final = "/start"

Get = Callable[[str], None]


def ping_url(url: str, end: str) -> str:
    """Return the URL with ``end`` after its path: ``/start``, ``/fail`` or nothing."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + end)) if end else url


def get(url: str) -> None:
    """Request a URL, and ignore the content. Blocks. Raises `OSError` or `http.client.HTTPException`."""
    import urllib.request  # takes 10 ms

    request = urllib.request.Request(_without_login(urlsplit(url)), headers=_headers(urlsplit(url)))  # noqa: S310 - http or https
    urllib.request.urlopen(request, timeout=_LONGEST).close()  # noqa: S310 - see `read_ping`


def _without_login(parts: SplitResult) -> str:
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"User-Agent": f"actorsync/{__version__}"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    return headers


@define(eq=False)
class Ping:
    """Requests ``url`` when passes over the whole source have succeeded, and two others at a start and a failure.

    Several mirrors may share the URL, such as the targets of one profile. Then a success is told only when the last
    pass of each of them has succeeded: one that works must not hide another that does not.

    The requests are sent one after the other. A failure is a warning: ``warn`` is called with one line about the first.
    """

    url: str = attrs.field(repr=False)
    states: Sequence[MirrorState]
    warn: Callable[[str], None]
    get: Get = get
    _due: list[str] = attrs.Factory(list)
    _going_on: set[int] = attrs.Factory(set)
    """The mirrors that are in a pass over the whole source, by their number in ``states``."""
    _in_sync: set[int] = attrs.Factory(set)
    """The mirrors whose last pass over the whole source has succeeded."""
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)
    _unanswered: int = 0
    _is_ending: trio.Event = attrs.Factory(trio.Event)
    _limiter: trio.CapacityLimiter = attrs.Factory(lambda: trio.CapacityLimiter(_MOST))

    def __attrs_post_init__(self) -> None:
        for number, state in enumerate(self.states):
            state.readers.add(partial(self._observe, number))

    def _observe(self, number: int, event: Event) -> None:
        """Take note of the start and the end of a pass over the whole source. A smaller one proves too little.

        What still waits to be sent is replaced by the end of a later pass.
        """
        if self.states[number].directories is not None:
            return
        match event:
            case Started():
                if not self._going_on:
                    self._due = [*[end for end in self._due if end != _START][-1:], _START]
                self._going_on.add(number)
            case Stopped(report) if not report.is_audit:
                self._going_on.discard(number)
                self._end(number, is_success=report.exit_code == 0)
        self._changed.unpark_all()

    def _end(self, number: int, *, is_success: bool) -> None:
        if not is_success:
            self._in_sync.discard(number)
            self._due = ["/fail"]
            return
        self._in_sync.add(number)
        if len(self._in_sync) == len(self.states):
            self._due = [""]

    async def run(self) -> None:
        """Send requests until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                while not self._due:
                    await self._changed.park()
                end, self._due = self._due[0], self._due[1:]
                self._unanswered += 1
                answered = trio.Event()
                nursery.start_soon(self._send, end, answered)
                await self._until_answered(answered)

    async def finish(self) -> None:
        """Wait until all requests are answered. The last one no longer waits for the answer to the one before."""
        self._is_ending.set()
        await self.idle()

    @property
    def waiting(self) -> Sequence[str]:
        """The ends of the URLs that are still to be requested."""
        return self._due

    async def idle(self) -> None:
        """Wait until nothing is to be sent, and no answer is missing."""
        while self._due or self._unanswered:
            await self._changed.park()

    async def _until_answered(self, answered: trio.Event) -> None:
        """Wait for an answer, unless the process is about to end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after, self._is_ending, nursery.cancel_scope)
            await answered.wait()
            nursery.cancel_scope.cancel()

    async def _send(self, end: str, answered: trio.Event) -> None:
        reason = "no answer in time"
        with trio.move_on_after(_LONGEST):
            try:
                await trio.to_thread.run_sync(
                    self.get, ping_url(self.url, end), abandon_on_cancel=True, limiter=self._limiter
                )
                reason = ""
            except Exception as error:  # noqa: BLE001 - nothing that a ping does may end a run
                reason = _reason(error)
        if reason:
            host = display(urlsplit(self.url).hostname or "")
            self.warn(f"observe.ping: {host} was not told how the pass ended: {reason}; check the URL and the network")
        self._unanswered -= 1
        answered.set()
        self._changed.unpark_all()


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _reason(error: Exception) -> str:
    """Return in a few words why a request failed, without the texts of libraries: they may quote the URL."""
    code = getattr(error, "code", math.nan)
    if isinstance(code, int):
        return f"it answered {code}"
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return display(cause.strerror)
    return "no valid answer of HTTP" if isinstance(error, http.client.HTTPException) else type(error).__name__
