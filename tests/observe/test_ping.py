"""Pings: which passes have one, in which order, what fails, and that the URL stays secret."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import urllib.error
from collections.abc import Callable, Sequence
from email.message import Message

import attrs
import pytest
import trio

from actorsync.model.event import Event, PassBegan, Started, Stopped
from actorsync.model.report import Report
from actorsync.observe import ping
from actorsync.observe.ping import Ping, ping_url
from tests.support.web import a_state

URL = "https://hc-ping.com/5ca1ab1e"
BEGAN, GOOD, BAD = Started("a", "b", 1), Stopped(Report(0, 0.0, 1.0)), Stopped(Report(5, 0.0, 1.0))


@pytest.mark.parametrize(
    ("url", "end", "whole"),
    [
        (URL, "", URL),
        (URL, "/start", f"{URL}/start"),
        (f"{URL}/", "/fail", f"{URL}/fail"),
        (f"{URL}?create=1", "/start", f"{URL}/start?create=1"),
        ("http://[::1]:8000", "/fail", "http://[::1]:8000/fail"),
    ],
)
def test_end_is_part_of_the_path(url: str, end: str, whole: str) -> None:
    assert ping_url(url, end) == whole


@attrs.define
class Service:
    """A service that notes the ends of the URLs, and fails with ``error`` if there is one."""

    error: Exception | None = None
    asked: list[str] = attrs.Factory(list)

    def get(self, url: str) -> None:
        self.asked.append(url.removeprefix(URL))
        if self.error is not None:
            raise self.error


async def told(*events: Event, service: Service, warn: Callable[[str], None] = pytest.fail) -> list[str]:
    """Return what is requested after events, each of which comes when the one before was dealt with."""
    state = a_state()
    async with trio.open_nursery() as nursery:
        pings = Ping(URL, [state], warn, service.get)
        nursery.start_soon(pings.run)
        for event in events:
            state.observe(event)
            await pings.idle()
        await pings.finish()
        nursery.cancel_scope.cancel()
    return service.asked


async def test_start_success_and_failure_of_passes_over_everything_are_told() -> None:
    some = PassBegan("a change", ("a",))
    events = (BEGAN, GOOD, PassBegan("reconcile"), BEGAN, BAD, some, BEGAN, GOOD)
    assert await told(*events, service=Service()) == ["/start", "", "/start", "/fail"]


@pytest.mark.parametrize(
    ("events", "ends"),
    [
        ([(0, BEGAN), (1, BEGAN), (0, GOOD), (1, GOOD)], ["/start", ""]),
        ([(0, BEGAN), (1, BEGAN), (0, GOOD)], ["/start"]),
        ([(0, BEGAN), (1, BEGAN), (1, BAD), (0, GOOD)], ["/start", "/fail"]),
        ([(0, BEGAN), (1, BEGAN), (1, BAD), (0, GOOD), (0, BEGAN), (0, GOOD)], ["/start", "/fail", "/start"]),
        (
            [(1, BEGAN), (1, BAD), (0, BEGAN), (0, GOOD), (1, BEGAN), (1, GOOD)],
            ["/start", "/fail", "/start", "/start", ""],
        ),
        ([(0, BEGAN), (0, GOOD), (0, BEGAN), (0, GOOD)], ["/start", "/start"]),
    ],
)
async def test_mirror_that_works_does_not_hide_another_of_the_same_url(
    events: Sequence[tuple[int, Event]], ends: Sequence[str]
) -> None:
    states, service = [a_state(), a_state()], Service()
    async with trio.open_nursery() as nursery:
        pings = Ping(URL, states, pytest.fail, service.get)
        nursery.start_soon(pings.run)
        for number, event in events:
            states[number].observe(event)
            await pings.idle()
        nursery.cancel_scope.cancel()
    assert service.asked == ends


async def test_audit_is_no_pass() -> None:
    audit = Stopped(Report(0, 0.0, 1.0, is_audit=True))
    assert await told(audit, service=Service()) == []


def http_error(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError(URL, code, "reason of 5ca1ab1e", Message(), None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (http_error(404), "it answered 404"),
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (
            urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed")),
            "certificate verify failed",
        ),
        (urllib.error.URLError(TimeoutError("5ca1ab1e")), "no answer in time"),
        (TimeoutError("5ca1ab1e"), "no answer in time"),
        (http.client.InvalidURL(URL), "no valid answer of HTTP"),
        (ValueError(URL), "ValueError"),
    ],
)
async def test_failure_is_a_warning_without_the_url(error: Exception, reason: str) -> None:
    warnings: list[str] = []
    await told(BEGAN, service=Service(error), warn=warnings.append)
    if isinstance(error, urllib.error.HTTPError):
        error.close()
    way_out = "check the URL and the network"
    assert warnings == [f"observe.ping: hc-ping.com was not told how the pass ended: {reason}; {way_out}"]
    assert "5ca1ab1e" not in repr(Ping(URL, [a_state()], warnings.append))


class StuckService(Service):
    """A service that answers the start of a pass only when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.is_told, self.may_answer = threading.Event(), threading.Event(), threading.Event()

    def get(self, url: str) -> None:
        super().get(url)
        if url.endswith("/start"):
            self.is_asked.set()
            self.may_answer.wait()
        else:
            self.is_told.set()


async def test_end_of_a_run_does_not_wait_for_the_answer_to_its_start() -> None:
    state, service = a_state(), StuckService()
    pings = Ping(URL, [state], pytest.fail, service.get)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pings.run)
        state.observe(BEGAN)
        await trio.to_thread.run_sync(service.is_asked.wait)
        state.observe(GOOD)
        nursery.start_soon(pings.finish)
        await trio.to_thread.run_sync(service.is_told.wait)
        service.may_answer.set()
        await pings.finish()
        nursery.cancel_scope.cancel()
    assert service.asked == ["/start", ""]


async def test_service_that_answers_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "_LONGEST", 0.01)
    state, service, warnings = a_state(), StuckService(), list[str]()
    pings = Ping(URL, [state], warnings.append, service.get)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pings.run)
        state.observe(BEGAN)
        await pings.idle()
        nursery.cancel_scope.cancel()
    service.may_answer.set()
    assert [it.split(": ")[2].partition(";")[0] for it in warnings] == ["no answer in time"]


async def test_passes_that_end_faster_than_the_service_answers_do_not_pile_up() -> None:
    state = a_state()
    pings = Ping(URL, [state], pytest.fail, Service().get)
    for _ in range(1_000):
        state.observe(BEGAN)
        state.observe(BAD)
    state.observe(BEGAN)
    assert pings.waiting == ["/fail", "/start"]


async def test_request_carries_the_login_of_the_url_in_a_header_only() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    heads: list[bytes] = []

    async def serve() -> None:
        async with listener, await listener.accept() as stream:
            heads.append(await stream.receive_some())
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await trio.to_thread.run_sync(ping.get, f"http://me:p%40ss@127.0.0.1:{port}/uuid/start")
    assert heads[0].startswith(b"GET /uuid/start HTTP/1.1\r\n")
    assert b"Authorization: Basic bWU6cEBzcw==\r\n" in heads[0]
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in heads[0]
    assert b"User-Agent: actorsync/" in heads[0]
