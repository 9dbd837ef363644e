"""Wrong replies for the embedded SFTP server.

The functions return values for two settings of `EmbeddedSftpServer`: ``instead`` (a reply in place of executing the
request) and ``distort`` (a changed reply after executing it). Most can be limited to some verbs, and to the k-th
request with such a verb.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import attrs

from actorsync.testing.servers import sftp_packets as raw
from actorsync.testing.servers.sftp_packets import LastWords, SftpRequest

__all__ = [
    "HOSTILE_NAMES",
    "Counted",
    "acknowledged_but_cut_off",
    "attributes_of",
    "cut_short",
    "endless_listing",
    "listing",
    "not_executed",
    "open_tcp_greeter",
    "refusal",
    "silence",
    "size_of",
    "twice",
    "unknown_id",
    "version",
]

Distort = Callable[[SftpRequest, bytes], bytes]

#: Names that are not valid in a directory. A path with such a name leads out of the directory or to another file.
HOSTILE_NAMES = ("../x", "../../etc/x", "/etc/x", "a/../../x", "a/b", "x/", "", "a\0b", "/", "./x")


@attrs.define(eq=False)
class Counted:
    """Sends ``reply`` from the ``at``-th request with one of the verbs on, ``times`` times. For ``instead``.

    ``only`` limits the requests further. ``sent`` counts the replies, and ``seen`` the requests.
    """

    verbs: frozenset[str]
    reply: Callable[[SftpRequest], bytes]
    at: int = 1
    times: int = 10**9
    only: Callable[[SftpRequest], bool] = lambda request: True
    sent: int = 0
    seen: int = 0

    def __call__(self, request: SftpRequest) -> bytes | None:
        if request.verb not in self.verbs or not self.only(request):
            return None
        self.seen += 1
        if self.seen < self.at or self.sent >= self.times:
            return None
        self.sent += 1
        return self.reply(request)


def not_executed(*verbs: str, at: int = 1, times: int = 10**9) -> Counted:
    """Report success without executing the request."""
    return Counted(frozenset(verbs), lambda request: raw.status(request.id), at, times)


def refusal(*verbs: str, code: int = raw.FAILURE, message: str = "", at: int = 1, times: int = 10**9) -> Counted:
    """Reject the request with this status code and text."""
    return Counted(frozenset(verbs), lambda request: raw.status(request.id, code, message), at, times)


def silence(*verbs: str, at: int = 1, times: int = 1) -> Counted:
    """Send no reply."""
    return Counted(frozenset(verbs), lambda request: b"", at, times)


def cut_short(*verbs: str, keep: int = 7, at: int = 1) -> Counted:
    """Send the first bytes of a reply, and close the channel."""
    return Counted(frozenset(verbs), lambda request: LastWords(raw.status(request.id)[:keep]), at, 1)


def acknowledged_but_cut_off(after: int, *, files: int = 10**9) -> Counted:
    """Acknowledge every write, but for the first ``files`` files discard the data from offset ``after`` on."""
    hit: set[str] = set()

    def is_lost(request: SftpRequest) -> bool:
        if request.verb == "WRITE" and request.offset >= after and len(hit) < files:
            hit.add(request.path)
        return request.offset >= after and request.path in hit

    return Counted(frozenset(["WRITE"]), lambda request: raw.status(request.id), only=is_lost)


def listing(names: Iterable[bytes | str], attributes: bytes = raw.attributes()) -> Counted:
    """Answer the first READDIR of each directory with these names, and the next with end of file."""
    listed = list(names)
    answered: set[tuple[int, str]] = set()

    def answer(request: SftpRequest) -> bytes:
        key = (request.session, request.path)
        if key in answered:
            answered.discard(key)
            return raw.status(request.id, raw.EOF)
        answered.add(key)
        return raw.names(request.id, listed, attributes)

    return Counted(frozenset(["READDIR"]), answer)


def endless_listing() -> Counted:
    """Answer every READDIR with more names, without end."""
    counted = Counted(frozenset(["READDIR"]), lambda request: b"")
    counted.reply = lambda request: raw.names(
        request.id, [f"{counted.sent}-{number}-{'x' * 200}" for number in range(500)]
    )
    return counted


def size_of(size: int, *verbs: str) -> Counted:
    """Report this size for files, in the replies to LSTAT, STAT and FSTAT, or to ``verbs`` only."""
    return attributes_of(raw.attributes(size), *verbs)


def attributes_of(attributes: bytes, *verbs: str) -> Counted:
    """Answer LSTAT, STAT and FSTAT, or ``verbs`` only, with these attributes."""
    return Counted(
        frozenset(verbs or ("LSTAT", "STAT", "FSTAT")),
        lambda request: raw.packet(raw.ATTRS, raw.number(request.id) + attributes),
    )


def version(number: int, extensions: bytes = b"") -> Counted:
    """Announce another version of the protocol."""
    return Counted(frozenset(["INIT"]), lambda request: raw.packet(raw.VERSION, raw.number(number) + extensions))


def twice(verb: str) -> Distort:
    """Send the reply twice."""
    return lambda request, answer: answer * 2 if request.verb == verb else answer


def unknown_id(verb: str) -> Distort:
    """Send the reply with the id of a request that was never sent."""

    def distort(request: SftpRequest, answer: bytes) -> bytes:
        if request.verb != verb:
            return answer
        return answer[:5] + struct.pack(">I", (request.id + 77_777) % 2**32) + answer[9:]

    return distort


@contextmanager
def open_tcp_greeter(greeting: bytes, *, then_closes: bool = False) -> Iterator[tuple[str, int, list[bytes]]]:
    """Run a TCP server on loopback that sends ``greeting`` to each client and nothing else; it does not speak SSH.

    Yields host, port, and the list of the first bytes that each client sent. Connections stay open, or are closed after
    the greeting with ``then_closes``.
    """
    received: list[bytes] = []
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def serve() -> None:
            opened: list[socket.socket] = []
            while not stopping.is_set():
                with suppress(TimeoutError):
                    client, _ = listener.accept()
                    client.settimeout(0.2)
                    opened.append(client)
                    with suppress(OSError):
                        client.sendall(greeting)
                        received.append(client.recv(4096))
                    if then_closes:
                        client.close()
            for client in opened:
                client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield "127.0.0.1", listener.getsockname()[1], received
        finally:
            stopping.set()
            thread.join()
