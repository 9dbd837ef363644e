"""Clients of the server of ``[observe] listen``, over streams in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import trio
from trio.testing import memory_stream_pair

from actorsync.actors.statistics import Statistics
from actorsync.observe.board import Board, MirrorState
from actorsync.observe.metrics import metrics_text
from actorsync.observe.web.access import Access
from actorsync.observe.web.conversation import Conversation
from actorsync.observe.web.pages import File
from actorsync.observe.web.readers import EventReaders
from actorsync.observe.web.routes import Site
from actorsync.profile import Secret
from actorsync.profile.values.service_readers import Listen

__all__ = ["PAGE", "Reply", "a_site", "a_state", "ask", "replies"]

#: What the page consists of here.
PAGE: Mapping[str, File] = {
    "/": File("text/html; charset=utf-8", b"<!doctype html><title>actorsync</title>"),
    "/page/a.js": File("text/javascript; charset=utf-8", b"'use strict'"),
}


@attrs.frozen
class Reply:
    """One answer of the server, as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def a_state(name: str = "shop") -> MirrorState:
    """Return the state of a mirror that has not begun."""
    return MirrorState(name, "/srv/shop", "sftp://deploy@www.example.com/srv/www", Statistics(), profile=name)


def a_site(*states: MirrorState, token: str | None = None, listen: str = "127.0.0.1:9417") -> Site:
    """Return what a server shows. ``listen`` is a numeric address and a port, or ``unix``."""
    board = Board()
    for state in states or (a_state(),):
        board.add(state)
    host, _, port = listen.rpartition(":")
    place = Listen(host.strip("[]"), int(port)) if port != "unix" else Listen(path=Path("/run/a.sock"))
    access = Access(place, None if token is None else Secret(token), {"nas", "nas.example.com"})
    return Site(board, access, PAGE, metrics_text, clock=lambda: 1_000.0)


async def ask(site: Site, *parts: bytes, readers: EventReaders | None = None) -> bytes:
    """Send bytes to a server, one part after the other, and return what it sends until it closes the connection."""
    client, stream = memory_stream_pair()
    answer = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Conversation(stream, site, readers or EventReaders()).run)
        try:
            for part in parts:
                await client.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            await client.send_eof()
        except trio.BrokenResourceError:
            pass  # it has closed the connection already
        while data := await client.receive_some():
            answer += data
    return answer


def replies(data: bytes) -> list[Reply]:
    """Return the answers in what a server has sent. Each has a ``Content-Length``."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers["content-length"])
        found.append(Reply(int(first.split(" ")[1]), headers, data[:size]))
        data = data[size:]
    return found
