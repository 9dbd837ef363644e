"""An SFTP server that lies: the embedded one, and what it says in place of the truth.

A lie is something for the settings ``instead`` (nothing is done, this is said) or ``distort`` (it is done, and this is
said of it) of `EmbeddedSftpServer`. Most can be limited to the requests for one verb, and to the k-th of them.
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
    "open_tcp_liar",
    "refusal",
    "silence",
    "size_of",
    "twice",
    "unknown_id",
    "unsaid",
    "version",
]

Instead = Callable[[SftpRequest], bytes | None]
Distort = Callable[[SftpRequest, bytes], bytes]

#: Names that no directory has; a path made of one leads out of it, or ends somewhere else than it seems.
HOSTILE_NAMES = ("../x", "../../etc/x", "/etc/x", "a/../../x", "a/b", "x/", "", "a\0b", "/", "./x")


@attrs.define(eq=False)
class Counted:
    """Lets ``lie`` be told at the ``at``-th request with one of the verbs, and for ``times`` of them from there on."""

    verbs: frozenset[str]
    lie: Callable[[SftpRequest], bytes]
    at: int = 1
    times: int = 10**9
    only: Callable[[SftpRequest], bool] = lambda request: True
    told: int = 0
    seen: int = 0

    def __call__(self, request: SftpRequest) -> bytes | None:
        if request.verb not in self.verbs or not self.only(request):
            return None
        self.seen += 1
        if self.seen < self.at or self.told >= self.times:
            return None
        self.told += 1
        return self.lie(request)


def unsaid(*verbs: str, at: int = 1, times: int = 10**9) -> Counted:
    """Say that it was done, and do nothing."""
    return Counted(frozenset(verbs), lambda request: raw.status(request.id), at, times)


def refusal(*verbs: str, code: int = raw.FAILURE, message: str = "", at: int = 1, times: int = 10**9) -> Counted:
    """Refuse, with any code and text."""
    return Counted(frozenset(verbs), lambda request: raw.status(request.id, code, message), at, times)


def silence(*verbs: str, at: int = 1, times: int = 1) -> Counted:
    """Never answer."""
    return Counted(frozenset(verbs), lambda request: b"", at, times)


def cut_short(*verbs: str, keep: int = 7, at: int = 1) -> Counted:
    """Send the first bytes of an answer, and then the end of the channel."""
    return Counted(frozenset(verbs), lambda request: LastWords(raw.status(request.id)[:keep]), at, 1)


def acknowledged_but_cut_off(after: int, *, files: int = 10**9) -> Counted:
    """Acknowledge every write to the first ``files`` files, and let go what lies at or behind ``after``."""
    hit: set[str] = set()

    def is_lost(request: SftpRequest) -> bool:
        if request.verb == "WRITE" and request.offset >= after and len(hit) < files:
            hit.add(request.path)
        return request.offset >= after and request.path in hit

    return Counted(frozenset(["WRITE"]), lambda request: raw.status(request.id), only=is_lost)


def listing(names: Iterable[bytes | str], attributes: bytes = raw.attributes()) -> Counted:
    """Answer the first READDIR of each directory with these names, and the next with the end."""
    listed = list(names)
    answered: set[tuple[int, str]] = set()

    def tell(request: SftpRequest) -> bytes:
        key = (request.session, request.path)
        if key in answered:
            answered.discard(key)
            return raw.status(request.id, raw.EOF)
        answered.add(key)
        return raw.names(request.id, listed, attributes)

    return Counted(frozenset(["READDIR"]), tell)


def endless_listing() -> Counted:
    """Answer every READDIR with more names, for ever."""
    counted = Counted(frozenset(["READDIR"]), lambda request: b"")
    counted.lie = lambda request: raw.names(
        request.id, [f"{counted.told}-{number}-{'x' * 200}" for number in range(500)]
    )
    return counted


def size_of(size: int, *verbs: str) -> Counted:
    """Say that files have this size: for LSTAT, STAT and FSTAT, or only those named."""
    return attributes_of(raw.attributes(size), *verbs)


def attributes_of(attributes: bytes, *verbs: str) -> Counted:
    """Answer LSTAT, STAT and FSTAT, or only those named, with these attributes."""
    return Counted(
        frozenset(verbs or ("LSTAT", "STAT", "FSTAT")),
        lambda request: raw.packet(raw.ATTRS, raw.number(request.id) + attributes),
    )


def version(number: int, extensions: bytes = b"") -> Counted:
    """Begin with another version of the protocol."""
    return Counted(frozenset(["INIT"]), lambda request: raw.packet(raw.VERSION, raw.number(number) + extensions))


def twice(verb: str) -> Distort:
    """Answer two times."""
    return lambda request, answer: answer * 2 if request.verb == verb else answer


def unknown_id(verb: str) -> Distort:
    """Answer a request that nobody made."""

    def tell(request: SftpRequest, answer: bytes) -> bytes:
        if request.verb != verb:
            return answer
        return answer[:5] + struct.pack(">I", (request.id + 77_777) % 2**32) + answer[9:]

    return tell


@contextmanager
def open_tcp_liar(says: bytes, *, then_closes: bool = False) -> Iterator[tuple[str, int, list[bytes]]]:
    """Accept connections on loopback and say ``says`` to each: no SSH at all.

    Gives host, port, and what clients said; a client that is answered with nothing else waits for ever, or for the end
    of the connection when ``then_closes``.
    """
    heard: list[bytes] = []
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
                        client.sendall(says)
                        heard.append(client.recv(4096))
                    if then_closes:
                        client.close()
            for client in opened:
                client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield "127.0.0.1", listener.getsockname()[1], heard
        finally:
            stopping.set()
            thread.join()
