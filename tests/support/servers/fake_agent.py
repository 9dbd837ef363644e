"""An SSH agent inside this process that holds the key of a security token, made in software.

A token is hardware, and signs only when it is touched. What the agent answers is the same: a signature over the hash of
the application and of the data, a byte that says that somebody was present, and a counter (PROTOCOL.u2f of OpenSSH).
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

__all__ = ["Token", "token_agent"]

_KIND = b"sk-ssh-ed25519@openssh.com"
_APPLICATION = b"ssh:"
_REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGN_RESPONSE, _FAILURE = 11, 12, 13, 14, 5


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes) -> Iterator[bytes]:
    while len(data) >= 4:
        (size,) = struct.unpack(">I", data[:4])
        yield data[4 : 4 + size]
        data = data[4 + size :]


@attrs.define(eq=False)
class Token:
    """A token with one key. ``touches`` counts its signatures."""

    key: Ed25519PrivateKey = attrs.Factory(Ed25519PrivateKey.generate)
    touches: int = 0

    @property
    def blob(self) -> bytes:
        """The public key as SSH writes it."""
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _string(_KIND) + _string(public) + _string(_APPLICATION)

    def sign(self, data: bytes) -> bytes:
        """Return a signature as SSH writes it."""
        self.touches += 1
        presence = bytes([1]) + struct.pack(">I", self.touches)
        signed = hashlib.sha256(_APPLICATION).digest() + presence + hashlib.sha256(data).digest()
        return _string(_KIND) + _string(self.key.sign(signed)) + presence

    def answer(self, request: bytes) -> bytes:
        """Return the answer of the agent to a request."""
        if request[:1] == bytes([_REQUEST_IDENTITIES]):
            return bytes([_IDENTITIES]) + struct.pack(">I", 1) + _string(self.blob) + _string(b"a token")
        if request[:1] == bytes([_SIGN_REQUEST]):
            blob, data, *_ = _strings(request[1:])
            if blob == self.blob:
                return bytes([_SIGN_RESPONSE]) + _string(self.sign(data))
        return bytes([_FAILURE])


@contextmanager
def token_agent(folder: Path, token: Token) -> Iterator[Path]:
    """Run the agent during a ``with`` block; yield its socket, the value for ``SSH_AUTH_SOCK``."""
    path = folder / "token-agent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=_serve, args=(listener, token), daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, token: Token) -> None:
    with suppress(OSError):  # the block has ended
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_converse, args=(connection, token), daemon=True).start()


def _converse(connection: socket.socket, token: Token) -> None:
    with connection, connection.makefile("rwb") as stream, suppress(OSError):
        while header := stream.read(4):
            stream.write(_string(token.answer(stream.read(struct.unpack(">I", header)[0]))))
            stream.flush()
