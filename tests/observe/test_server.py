"""The server: valid and malformed requests, who may ask, slow clients, and streams of events."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing

from actorsync.errors import FatalError
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Started, Stopped, Warned
from actorsync.model.operation import Failed, MakeDirectory
from actorsync.model.report import Report
from actorsync.observe.web.conversation import Conversation
from actorsync.observe.web.listening import AddressInUse, listening
from actorsync.observe.web.messages import HEADERS
from actorsync.observe.web.pages import page_files
from actorsync.observe.web.readers import MOST_READERS, EventReaders
from actorsync.observe.web.routes import Site
from actorsync.observe.web.server import MOST_CONNECTIONS, Server
from actorsync.profile.values.service_readers import Listen
from tests.support.web import Reply, a_site, a_state, ask, replies

HOST = b"Host: 127.0.0.1:9417\r\n"


async def get(site: Site, path: str = "/status.json", *headers: str, method: str = "GET") -> Reply:
    lines = [f"{method} {path} HTTP/1.1", *(headers if any(it.startswith("Host:") for it in headers) else ())]
    if not any(it.startswith("Host:") for it in headers):
        lines += ["Host: localhost:9417", *headers]
    (reply,) = replies(await ask(site, "".join(f"{line}\r\n" for line in [*lines, "Connection: close", ""]).encode()))
    return reply


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/", 200, "text/html; charset=utf-8"),
        ("/page/a.js", 200, "text/javascript; charset=utf-8"),
        ("/status.json", 200, "application/json"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", 200, "text/plain; charset=utf-8"),
        ("/readyz", 503, "text/plain; charset=utf-8"),
        ("/page/../page/a.js", 404, "text/plain; charset=utf-8"),
        ("/page/%2e%2e/board.py", 404, "text/plain; charset=utf-8"),
        ("/page/", 404, "text/plain; charset=utf-8"),
        ("//", 404, "text/plain; charset=utf-8"),
        ("http://localhost:9417/healthz", 404, "text/plain; charset=utf-8"),
    ],
)
async def test_each_path_has_its_answer_and_every_answer_the_headers_of_safety(
    path: str, status: int, kind: str
) -> None:
    reply = await get(a_site(), path)
    assert (reply.status, reply.headers["content-type"]) == (status, kind)
    assert {name.lower(): value for name, value in HEADERS}.items() <= reply.headers.items()
    assert "access-control-allow-origin" not in reply.headers
    assert "server" not in reply.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_method_that_could_change_something_is_rejected(method: str) -> None:
    reply = await get(a_site(), "/status.json", method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    data = await ask(a_site(), b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"content-length: 3" in head.lower()
    assert body == b""


async def test_head_of_the_events_ends_at_once() -> None:
    readers = EventReaders()
    data = await ask(a_site(), b"HEAD /events HTTP/1.1\r\n" + HOST + b"\r\n", readers=readers)
    assert b"text/event-stream" in data
    assert data.endswith(b"\r\n\r\n")
    assert readers.readers == set()


async def test_requests_sent_at_once_are_answered_in_order() -> None:
    wanted = [b"/healthz", b"/readyz", b"/nowhere", b"/healthz"]
    data = b"".join(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in wanted)
    assert [it.status for it in replies(await ask(a_site(), data))] == [200, 503, 404, 200]


async def test_request_that_arrives_byte_by_byte_is_answered() -> None:
    data = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    parts = [data[place : place + 1] for place in range(len(data))]
    assert [it.status for it in replies(await ask(a_site(), *parts))] == [200]


@pytest.mark.parametrize("host", [b"", b"Host: localhost\r\n"])
async def test_http_1_0_without_a_host_is_answered_and_the_connection_closed(host: bytes) -> None:
    site = a_site()
    data = await ask(site, b"GET /healthz HTTP/1.0\r\n" + host + b"\r\nGET /healthz HTTP/1.0\r\n\r\n")
    assert [it.status for it in replies(data)] == [200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300 + b"\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n", 400),
        (b"GET /a\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 40_000, 431),
        (b"GET /" + b"a" * 40_000, 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_malformed_request_gets_one_answer_and_the_connection_is_closed(data: bytes, status: int) -> None:
    (reply,) = replies(await ask(a_site(), data, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"))
    assert reply.status == status
    assert reply.headers["connection"] == "close"
    assert b"Traceback" not in reply.body


LOOPBACK, WIDE, ONE, SIX = "127.0.0.1:9417", "0.0.0.0:9417", "192.0.2.7:9417", "[::1]:9417"


@pytest.mark.parametrize(
    ("listen", "host", "is_own"),
    [
        (LOOPBACK, "localhost:9417", True),
        (LOOPBACK, "LOCALHOST.", True),
        (LOOPBACK, "127.0.0.1:9417", True),
        (LOOPBACK, "127.0.0.1:8000", True),  # through a tunnel
        (LOOPBACK, "[::1]:9417", True),
        (LOOPBACK, "evil.example:9417", False),
        (LOOPBACK, "localhost.evil.example", False),
        (LOOPBACK, "127.0.0.1.evil.example", False),
        (LOOPBACK, "nas", False),
        (LOOPBACK, "192.0.2.7", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "localhost:9417@evil.example", False),
        (LOOPBACK, "2130706433", False),
        (SIX, "[::1]:9417", True),
        (SIX, "::1", False),
        (WIDE, "192.0.2.7:9417", True),
        (WIDE, "nas", True),
        (WIDE, "NAS.example.com:9417", True),
        (WIDE, "evil.example", False),
        (ONE, "192.0.2.7", True),
        (ONE, "192.0.2.8", False),
        (":unix", "anything", True),
    ],
)
async def test_only_names_of_its_own_are_answered(listen: str, host: str, is_own: bool) -> None:
    reply = await get(a_site(listen=listen), "/healthz", f"Host: {host}")
    assert reply.status == (200 if is_own else 421)


TOKEN = "t0k/en+ä"


async def test_token_is_required_everywhere_and_never_shown() -> None:
    site = a_site(token=TOKEN)
    for path in ("/", "/page/a.js", "/status.json", "/metrics", "/healthz", "/readyz", "/events", "/nowhere"):
        for headers in (
            [],
            ["Authorization: Bearer wrong"],
            ["Authorization: Basic dDprZW4="],
            ["Cookie: actorsync-9417=1"],
        ):
            reply = await get(site, path, *headers)
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
            assert b"t0k" not in reply.body
    assert "t0k" not in repr(site)


@pytest.mark.parametrize("header", ["Authorization: Bearer t0k", "authorization: bearer   t0k"])
async def test_token_in_the_header_opens(header: str) -> None:
    assert (await get(a_site(token="t0k"), "/healthz", header)).status == 200


async def test_token_in_the_address_of_the_page_becomes_a_cookie() -> None:
    site = a_site(token=TOKEN)
    reply = await get(site, "/?token=t0k%2Fen%2B%C3%A4")
    cookie = reply.headers["set-cookie"]
    assert (reply.status, reply.headers["location"]) == (303, "/")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert "t0k" not in cookie
    pair = cookie.partition(";")[0]
    assert (await get(site, "/", f"Cookie: other=1; {pair}; more=2")).status == 200
    assert (await get(a_site(token="another"), "/", f"Cookie: {pair}")).status == 401


@pytest.mark.parametrize("path", ["/?token=wrong", "/?token=", "/status.json?token=t0k", "/events?token=t0k"])
async def test_token_in_an_address_opens_the_page_only(path: str) -> None:
    assert (await get(a_site(token="t0k"), path)).status == 401


async def test_foreign_name_is_rejected_with_the_right_token_too() -> None:
    reply = await get(a_site(token="t0k"), "/healthz", "Host: evil.example", "Authorization: Bearer t0k")
    assert reply.status == 421


async def test_client_that_sends_no_request_is_left(autojump_clock: trio.testing.MockClock) -> None:
    client, stream = trio.testing.memory_stream_pair()
    await client.send_all(b"GET /healthz HTTP/1.1\r\nHost: loc")
    await Conversation(stream, a_site(), EventReaders()).run()
    assert trio.current_time() == 15
    assert await client.receive_some() == b""


async def test_client_that_takes_no_answer_is_left(autojump_clock: trio.testing.MockClock) -> None:
    client, stream = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Conversation(stream, a_site(), EventReaders()).run)
        await client.send_all(b"GET /status.json HTTP/1.1\r\n" + HOST + b"\r\n")
    assert trio.current_time() == 20


# Streams of events.


class EventClient:
    """A client of ``/events``. `read` returns what has come since, as pairs of a name and the data."""

    def __init__(self, site: Site, readers: EventReaders, nursery: trio.Nursery) -> None:
        self.client, stream = trio.testing.memory_stream_pair()
        nursery.start_soon(Conversation(stream, site, readers).run)

    async def open(self) -> None:
        await self.client.send_all(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        await trio.testing.wait_all_tasks_blocked()

    async def read(self) -> list[tuple[str, object]]:
        await trio.testing.wait_all_tasks_blocked()
        text = (await self.client.receive_some()).decode()
        found = []
        for part in text.split("event: ")[1:]:
            name, _, rest = part.partition("\ndata: ")
            found.append((name, json.loads(rest.partition("\n")[0])))
        return found


async def test_events_begin_with_the_status_and_go_on_with_records(autojump_clock: trio.testing.MockClock) -> None:
    state = a_state()
    site, readers = a_site(state), EventReaders()
    async with trio.open_nursery() as nursery:
        client = EventClient(site, readers, nursery)
        await client.open()
        ((name, status),) = await client.read()
        assert (name, status) == ("status", json.loads(site.status()))
        for event in (
            Warned("careful"),
            Started("a", "b", 1),
            Failed(MakeDirectory(Entry("d\udcff", Kind.DIRECTORY)), "no"),
        ):
            readers.observe("shop", event)
        records = await client.read()
        assert [(kind, it["event"], it["mirror"]) for kind, it in records if isinstance(it, dict)] == [
            ("record", "warned", "shop"),
            ("record", "failed", "shop"),
        ]
        await trio.sleep(16)
        assert b": still here\n\n" in await client.client.receive_some()
        readers.put_status(site.status())
        readers.close()
        assert [kind for kind, _ in await client.read()] == ["status"]
    assert readers.readers == set()


async def test_reader_that_is_behind_gets_the_newest_status_and_the_number_of_lost_records() -> None:
    readers = EventReaders()
    reader = readers.open(b"1")
    assert reader is not None
    for number in range(1_000):
        readers.put_status(b"%d" % number)
        readers.observe("shop", Warned(str(number)))
    text = reader.take()
    assert text.startswith(b'event: lost\ndata: {"records":900}\n\nevent: record\ndata: {"event":"warned","text":"900"')
    assert text.endswith(b"event: status\ndata: 999\n\n")
    assert text.count(b"event: ") == 102
    assert reader.take() == b""


async def test_reader_of_events_that_leaves_is_forgotten() -> None:
    readers = EventReaders()
    async with trio.open_nursery() as nursery:
        client = EventClient(a_site(), readers, nursery)
        await client.open()
        assert len(readers.readers) == 1
        await client.client.aclose()
    assert readers.readers == set()


async def test_reader_of_events_too_many_is_rejected() -> None:
    readers = EventReaders()
    for _ in range(MOST_READERS):
        assert readers.open(b"") is not None
    (reply,) = replies(await ask(a_site(), b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n", readers=readers))
    assert (reply.status, reply.headers["retry-after"]) == (503, "30")


# The server as a whole, on real sockets.


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def no_warning(text: str) -> None:
    pytest.fail(text)


async def test_client_that_never_reads_is_dropped_and_no_other_waits(free_port: int) -> None:
    state = a_state()
    async with listening(Listen("127.0.0.1", free_port), "listen") as listener, trio.open_nursery() as nursery:
        server = Server(listener, a_site(state), no_warning, patience=0.05)
        nursery.start_soon(server.run)
        lazy = await trio.open_tcp_stream("127.0.0.1", free_port)
        await lazy.send_all(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        while not server.readers.readers:
            await trio.lowlevel.checkpoint()
        while server.readers.readers:  # ends when the buffers of the system are full, and its patience is over
            for _ in range(100):
                state.observe(Warned("x" * 2_000))
            assert all(it.waiting <= 100 for it in server.readers.readers)
            diligent = await trio.open_tcp_stream("127.0.0.1", free_port)
            await diligent.send_all(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (await diligent.receive_some()).startswith(b"HTTP/1.1 200 OK")
            await diligent.aclose()
        await lazy.aclose()
        nursery.cancel_scope.cancel()


async def test_connection_too_many_is_closed_and_a_later_one_answered(free_port: int) -> None:
    async with listening(Listen("127.0.0.1", free_port), "listen") as listener, trio.open_nursery() as nursery:
        nursery.start_soon(Server(listener, a_site(), no_warning).run)
        idle = [await trio.open_tcp_stream("127.0.0.1", free_port) for _ in range(MOST_CONNECTIONS)]
        async with await trio.open_tcp_stream("127.0.0.1", free_port) as refused:
            assert await refused.receive_some() == b""
        for stream in idle:
            await stream.aclose()
        answer = b""
        while not answer:  # the server may not have noticed yet
            async with await trio.open_tcp_stream("127.0.0.1", free_port) as later:
                with contextlib.suppress(trio.BrokenResourceError):
                    await later.send_all(b"GET /healthz HTTP/1.0\r\n\r\n")
                    answer = await later.receive_some()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        nursery.cancel_scope.cancel()


async def test_last_status_reaches_the_readers_before_the_end(free_port: int) -> None:
    state = a_state()
    async with listening(Listen("127.0.0.1", free_port), "listen") as listener, trio.open_nursery() as nursery:
        server = Server(listener, a_site(state), no_warning)
        nursery.start_soon(server.run)
        reader = await trio.open_tcp_stream("127.0.0.1", free_port)
        await reader.send_all(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        while not server.readers.readers:
            await trio.lowlevel.checkpoint()
        state.observe(Stopped(Report(0, 990.0, 10.0, copied=77)))
        await server.finish()
        text = b"".join([part async for part in reader])
        await reader.aclose()
        assert text.count(b'"copied":77') >= 2  # the record of the end, and the status
        assert text.endswith(b"0\r\n\r\n")
        nursery.cancel_scope.cancel()


async def test_port_in_use_is_one_line_with_what_to_do(free_port: int) -> None:
    async with listening(Listen("127.0.0.1", free_port), "a.toml: observe.listen"):
        with pytest.raises(AddressInUse) as raised:
            async with listening(Listen("127.0.0.1", free_port), "a.toml: observe.listen"):
                pass
    assert str(raised.value) == (
        f"a.toml: observe.listen: another program listens on 127.0.0.1:{free_port}; stop it, or choose another address"
    )


async def test_address_of_another_machine_is_one_line_with_what_to_do() -> None:
    with pytest.raises(FatalError, match=r"^listen: cannot listen on 192\.0\.2\.1:9: .*; choose another address$"):
        async with listening(Listen("192.0.2.1", 9), "listen"):
            pass


async def test_unix_socket_is_for_its_owner_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    async with listening(Listen(path=path), "listen") as listener, trio.open_nursery() as nursery:
        nursery.start_soon(Server(listener, a_site(listen=":unix"), no_warning).run)
        assert path.stat().st_mode & 0o777 == 0o600
        async with await trio.open_unix_socket(path) as client:
            await client.send_all(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert (await client.receive_some()).startswith(b"HTTP/1.1 200 OK")
        with pytest.raises(AddressInUse, match="another program listens on unix:"):
            async with listening(Listen(path=path), "listen"):
                pass
        nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path) == []


async def test_unix_socket_that_a_killed_process_has_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with listening(Listen(path=path), "listen"):
        await (await trio.open_unix_socket(path)).aclose()


async def test_file_in_the_place_of_a_unix_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("precious")
    with pytest.raises(FatalError, match="is not a socket; remove it, or choose another path"):
        async with listening(Listen(path=path), "listen"):
            pass
    assert os.listdir(tmp_path) == ["a.sock"]


def test_files_of_the_page_are_served_by_a_table(tmp_path: Path) -> None:
    for name in ("index.html", "app.js", "style.css", "__init__.py", "notes.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "more.js").mkdir()
    assert {path: it.content for path, it in page_files(tmp_path).items()} == {
        "/": b"index.html",
        "/page/app.js": b"app.js",
        "/page/style.css": b"style.css",
    }
