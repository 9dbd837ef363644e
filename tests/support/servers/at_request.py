"""Cuts the connections of an embedded SFTP server at one of its requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs
import trio

from actorsync.testing.network.faults import How
from actorsync.testing.network.proxy import CutWire, WireProxy
from actorsync.testing.servers.sftp_packets import LastWords, SftpRequest

__all__ = ["AtRequest", "When"]

#: Before the request is carried out, before the client has the reply, or after the reply.
When = Literal["before", "unanswered", "after"]


@attrs.define(eq=False)
class AtRequest:
    """Cuts all connections at the ``number``-th request. The server calls the methods, in its thread.

    The requests of the first connection are counted; with ``counts_all``, those of all connections. With ``after``, the
    channel is closed instead of the connection: only that arrives in order after the reply. ``on_request`` is called
    with each request that is counted and its number, before it is carried out.
    """

    number: int
    when: When
    how: How
    proxy: WireProxy
    counts_all: bool = False
    on_request: Callable[[int, SftpRequest], None] = lambda number, request: None
    token: trio.lowlevel.TrioToken = attrs.Factory(trio.lowlevel.current_trio_token)
    fired: list[SftpRequest] = attrs.Factory(list)
    cuts: list[CutWire] = attrs.Factory(list)
    seen: int = 0
    #: The requests that were received, by connection and id, each with its number.
    _requests: dict[tuple[int, int], tuple[SftpRequest, int]] = attrs.Factory(dict)

    def instead(self, request: SftpRequest) -> bytes | None:
        """Look at a request before it is executed; see `EmbeddedSftpServer`."""
        if not (self.counts_all or request.session == 1):
            return None
        self.seen += 1
        self._requests[request.session, request.id if request.verb != "INIT" else -1] = request, self.seen
        self.on_request(self.seen, request)
        return self._cut(request) if self.when == "before" and self._is_it(self.seen) else None

    def distort(self, request: SftpRequest, answer: bytes) -> bytes:
        """Look at a reply before it is sent. ``request`` is the last one received, and the reply may be to another."""
        if not (self.counts_all or request.session == 1):
            return answer
        identity = -1 if request.verb == "INIT" else int.from_bytes(answer[5:9], "big")
        request, number = self._requests.get((request.session, identity), (request, 0))
        if self.when == "before" or not self._is_it(number):
            return answer
        if self.when == "unanswered":
            return self._cut(request)
        self.fired.append(request)
        return LastWords(answer)

    def _is_it(self, number: int) -> bool:
        return number == self.number and not self.fired

    def _cut(self, request: SftpRequest) -> bytes:
        self.fired.append(request)
        self.token.run_sync_soon(self._cut_here)
        return b""

    def _cut_here(self) -> None:
        self.proxy.cut(self.how)
        self.cuts.append(CutWire(how=self.how))
