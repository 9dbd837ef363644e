"""The stop contract inside a process: three steps, their deadlines, and peers that hang in each phase of a session."""

from __future__ import annotations

import _thread
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import GOODBYE, Shutdown
from actorsync.model.event import Connected, Event, Reconnecting, Started
from actorsync.model.report import Report
from actorsync.profile import load_profile
from actorsync.runs.options import options_for
from actorsync.runs.runner import run_once
from actorsync.runs.stop_signals import Step, StopRequests

# ---- the object


async def test_m012_drain_turns_into_cancel_at_its_deadline(autojump_clock: MockClock) -> None:
    shutdown = Shutdown(drain_seconds=30, cancel_seconds=5)
    assert shutdown.longest == 35 + GOODBYE
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(shutdown.enforce, scope)
        shutdown.drain()
        with scope:
            try:
                await trio.sleep_forever()
            finally:
                times.append(trio.current_time())
                with shutdown.cleanup():
                    await trio.sleep_forever()
                times.append(trio.current_time())
    began = times[0] - 30
    assert [round(at - began, 3) for at in times] == [30, 35]


@pytest.mark.parametrize(("verb", "ends_at"), [("cancel", 12), ("now", 10), ("nothing", 15)])
async def test_m122_harder_stop_shortens_a_cleanup_in_progress(
    verb: str, ends_at: float, autojump_clock: MockClock
) -> None:
    shutdown = Shutdown(cancel_seconds=5)
    began = trio.current_time()

    async def clean_up() -> None:
        await trio.sleep(10)
        with shutdown.cleanup():
            await trio.sleep_forever()
        assert trio.current_time() == pytest.approx(began + max(ends_at, 10.5 if verb == "now" else 0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(clean_up)
        await trio.sleep(10.5)
        match verb:
            case "cancel":
                shutdown.cancel(within=1.5)
            case "now":
                shutdown.now()
    assert (verb == "nothing") is not shutdown.cancelling.is_set()


@pytest.mark.parametrize("verb", ["drain", "cancel", "now"])
async def test_m012_stop_with_zero_seconds_does_not_wait(verb: str, autojump_clock: MockClock) -> None:
    shutdown = Shutdown(drain_seconds=0, cancel_seconds=0)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(shutdown.enforce, scope)
        getattr(shutdown, verb)()
        with scope:
            try:
                await trio.sleep_forever()
            finally:
                with shutdown.cleanup():
                    await trio.sleep_forever()
    assert trio.current_time() == began


# ---- requests


def requests_of(*seconds: float, does: list[int] | None = None) -> StopRequests:
    done = [] if does is None else does
    return StopRequests([Step(lambda n=n: done.append(n), s) for n, s in enumerate(seconds, 1)])  # type: ignore[misc]


def test_m121_each_signal_takes_one_step_and_the_result_is_returned() -> None:
    done: list[int] = []

    async def main() -> str:
        for n in (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
            while len(done) < n:  # noqa: ASYNC110 - what sets it is the thing under test
                await trio.sleep(0.001)
        return "result"

    before = signal.getsignal(signal.SIGTERM)
    requests = requests_of(60, 60, does=done)
    assert requests.run(main) == "result"
    assert (done, requests.forced_code) == ([1, 2], 143)
    assert signal.getsignal(signal.SIGTERM) is before


def test_m121_signal_that_interrupts_no_system_call_is_handled() -> None:
    """Like a signal that arrives just before the main thread begins to wait: no system call returns early for it."""
    done: list[int] = []

    async def main() -> str:
        await trio.sleep(0.05)  # the main thread waits by now
        _thread.interrupt_main(signal.SIGTERM)  # takes note of a signal, and sends none
        with trio.move_on_after(10):
            while not done:  # noqa: ASYNC110 - what sets it is the thing under test
                await trio.sleep(0.001)
        return "result"

    requests = requests_of(60, does=done)
    assert requests.run(main) == "result"
    assert (done, requests.forced_code) == ([1], 143)


def test_error_of_the_run_is_raised_unchanged() -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        requests_of().run(main)


@pytest.mark.parametrize(("seconds", "stops", "least"), [((0.3,), 1, 0.3), ((60, 0.2), 2, 0.2), ((0.2, 60), 2, 0.2)])
def test_m122_process_exits_when_the_time_for_stopping_is_over(
    seconds: tuple[float, ...], stops: int, least: float
) -> None:
    """In a child process, whose run blocks the event loop."""

    def child() -> None:
        requests = requests_of(*seconds)

        async def main() -> None:
            for _ in range(stops):
                requests.stop()
            time.sleep(60)  # noqa: ASYNC251 - that is the point

        requests.run(main)

    began = time.monotonic()
    assert code_of(child) == 130
    assert least <= time.monotonic() - began < least + 5


def test_m122_request_after_the_last_step_exits_at_once() -> None:
    def child() -> None:
        requests = requests_of(60)
        requests.last_words = lambda: time.sleep(60)

        async def main() -> None:
            requests.stop()
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(60)  # noqa: ASYNC251

        requests.run(main)

    began = time.monotonic()
    assert code_of(child) == 129
    assert time.monotonic() - began < 5


def test_m122_signals_after_the_run_has_ended_are_ignored() -> None:
    def child() -> None:
        async def main() -> None:
            await trio.lowlevel.checkpoint()

        requests = requests_of(60)
        requests.ends_afterwards = True
        requests.run(main)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        os._exit(7)

    assert code_of(child) == 7


def code_of(child: object) -> int:
    """Run ``child`` in a child process, and return its exit code."""
    assert callable(child)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # about forks in a process with threads; this child uses no thread
        pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- peers that hang


@attrs.frozen
class Hanging:
    """A peer that hangs.

    Before that, it sends the items of ``says``: the first one at once, and one more for each line received.
    """

    scheme: str
    says: Sequence[bytes] = ()


PHASES = {
    "connecting": Hanging("ftp"),
    "name": Hanging("ftp"),
    "greeting": Hanging("ftp"),
    "half a greeting": Hanging("ftp", [b"220-wel"]),
    "user": Hanging("ftp", [b"220 ready\r\n"]),
    "password": Hanging("ftp", [b"220 ready\r\n", b"331 password\r\n"]),
    "after the login": Hanging("ftp", [b"220 ready\r\n", b"331 password\r\n", b"230 in\r\n"]),
    "auth tls": Hanging("ftpes", [b"220 ready\r\n"]),
    "handshake": Hanging("ftpes", [b"220 ready\r\n", b"234 go on\r\n"]),
    "implicit handshake": Hanging("ftps"),
    "ssh banner": Hanging("sftp"),
    "ssh key exchange": Hanging("sftp", [b"SSH-2.0-OpenSSH_9.2\r\n"]),
}


@contextmanager
def hanging(phase: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Yield the address of a peer that hangs in this phase."""
    what = PHASES[phase]
    with ExitStack() as stack:
        if phase == "connecting":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            address = listener.getsockname()
            for _ in range(4):  # until the kernel accepts no more, and drops new connections
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(address)
            yield "127.0.0.1", address[1]
            return
        if phase == "name":
            released = threading.Event()
            stack.callback(released.set)

            def look_up(*arguments: object) -> object:
                flags = arguments[5]
                assert isinstance(flags, int)
                if not flags & socket.AI_NUMERICHOST:  # which is asked for first, and where it blocks nothing
                    released.wait(10)
                raise socket.gaierror(socket.EAI_NONAME, "not known")

            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            yield "nowhere.example", 21
            return
        yield stack.enter_context(saying(what.says))


@contextmanager
def saying(says: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    """Serve one connection: send the first item at once, one more after each piece received, and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                with client:
                    for n, piece in enumerate(says):
                        if n:
                            client.recv(4096)
                        client.sendall(piece)
                    while client.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("verb", ["drain", "cancel", "now"])
async def test_m002_m012_m121_m122_hanging_peer_does_not_delay_a_stop(
    verb: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    shutdown = Shutdown(drain_seconds=0.2, cancel_seconds=0.2)
    report: Report | None = None
    with hanging(phase, monkeypatch) as (host, port):
        profile = tmp_path / "profile.toml"
        profile.write_text(
            f'[source]\npath = "{source}"\n[target]\nurl = "{PHASES[phase].scheme}://me@{host}:{port}/"\n'
            'password = { env = "TEST_PASSWORD" }\n'
        )
        monkeypatch.setenv("TEST_PASSWORD", "password")
        begun, ended = trio.Event(), trio.Event()

        async def run() -> None:
            nonlocal report

            def watch(event: Event) -> None:
                assert not isinstance(event, Connected | Reconnecting)
                if isinstance(event, Started):
                    begun.set()

            loaded = load_profile(profile)
            report = await run_once(loaded, options_for(loaded, shutdown=shutdown, observers=[watch]))
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with trio.fail_after(10):
                await begun.wait()
            await trio.sleep(0.15)
            getattr(shutdown, verb)()
            began = trio.current_time()
            with trio.fail_after(10):
                await ended.wait()
            took = trio.current_time() - began
    assert took <= shutdown.longest - (0 if verb == "drain" else shutdown.drain_seconds)
    assert report is not None
    assert report.exit_code == (3 if verb == "drain" else 130)
