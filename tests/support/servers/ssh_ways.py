"""SSH servers with unusual ways in: several host keys, host certificates, several steps of a login, jump hosts.

They run in a thread of this process, and record what a client has sent. Their SFTP is asyncssh's own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import asyncssh
import attrs

from actorsync.endpoints.ssh.settings import HostTrust, JumpHost
from tests.support.servers.debian_servers import PASSWORD, USER, free_port

__all__ = ["Method", "SshWays", "known_hosts", "serving_ways"]

Method = Literal["publickey", "password", "keyboard-interactive"]
Prompts = Sequence[tuple[str, bool]]


@attrs.define(eq=False, kw_only=True)
class SshWays:
    """A server on 127.0.0.1. ``steps`` are the methods that a login needs, one after the other.

    ``rounds`` are the questions of keyboard-interactive with the right answers: one list for each request. With
    ``is_reusable`` unset, an answer other than the password is accepted once. ``forwards`` makes it a jump host.
    After ``most_tries`` rejected keys, it closes the connection as OpenSSH does.
    """

    root: Path
    host_keys: Sequence[Any] = attrs.Factory(lambda: [asyncssh.generate_private_key("ssh-ed25519")])
    user: str = USER
    password: str = PASSWORD
    authorized: Sequence[str] = ()
    steps: Sequence[Method] = ("publickey",)
    rounds: Sequence[Sequence[tuple[str, bool, str]]] = ()
    is_reusable: bool = True
    forwards: bool = False
    most_tries: int = 100
    port: int = attrs.Factory(free_port)

    received: list[tuple[str, str]] = attrs.Factory(list)
    """What clients have sent, as pairs: ``user``, ``key``, ``password``, ``round``, ``answer``, ``forward``,
    ``login``."""
    used: set[str] = attrs.Factory(set)
    connections: list[asyncssh.SSHServerConnection] = attrs.Factory(list)
    loop: asyncio.AbstractEventLoop = attrs.field(init=False)

    @property
    def jump(self) -> JumpHost:
        """The server as a jump host."""
        return JumpHost("127.0.0.1", self.port, self.user)

    def count(self, what: str) -> int:
        """Return how often clients have sent this."""
        return sum(kind == what for kind, _ in self.received)

    def wait_closed(self) -> None:
        """Wait until all connections are closed. Called in any other thread."""

        async def all_closed() -> None:
            for connection in self.connections:
                await connection.wait_closed()

        asyncio.run_coroutine_threadsafe(all_closed(), self.loop).result()

    def cut(self) -> None:
        """Abort all connections."""

        def abort() -> None:
            for connection in self.connections:
                connection.abort()

        self.loop.call_soon_threadsafe(abort)


class _Server(asyncssh.SSHServer):
    def __init__(self, ways: SshWays) -> None:
        self._ways = ways
        self._steps = list(ways.steps)
        self._rounds: list[Sequence[tuple[str, bool, str]]] = []
        self._keys = {asyncssh.import_public_key(line).public_data for line in ways.authorized}

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._ways.connections.append(conn)
        finish = conn.send_userauth_success

        async def next_step() -> None:
            self._steps.pop(0)
            if self._steps:
                conn.send_userauth_failure(True)
            else:
                self._ways.received.append(("login", self._ways.user))
                await finish()

        vars(conn)["send_userauth_success"] = next_step  # a server of asyncssh has one step only

    def begin_auth(self, username: str) -> bool:
        self._ways.received.append(("user", username))
        return True

    def public_key_auth_supported(self) -> bool:
        return self._steps[:1] == ["publickey"]

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._ways.received.append(("key", key.get_fingerprint()))
        if self._ways.count("key") > self._ways.most_tries:
            self._ways.connections[-1].disconnect(2, "Too many authentication failures")
        return username == self._ways.user and key.public_data in self._keys

    def password_auth_supported(self) -> bool:
        return self._steps[:1] == ["password"]

    def validate_password(self, username: str, password: str) -> bool:
        self._ways.received.append(("password", password))
        return username == self._ways.user and password == self._ways.password

    def kbdint_auth_supported(self) -> bool:
        return self._steps[:1] == ["keyboard-interactive"]

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        self._ways.received.append(("round", ""))
        self._rounds = list(self._ways.rounds)
        return self._challenge() if self._rounds else False

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        wanted = [answer for _, _, answer in self._rounds.pop(0)]
        for answer in responses:
            self._ways.received.append(("answer", answer))
        fresh = [answer not in self._ways.used for answer in responses if answer != self._ways.password]
        if list(responses) != wanted or not (self._ways.is_reusable or all(fresh)):
            return False
        self._ways.used.update(responses)
        return self._challenge() if self._rounds else True

    def _challenge(self) -> Any:
        return "", "", "", [(text, is_shown) for text, is_shown, _ in self._rounds[0]]

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        self._ways.received.append(("forward", f"{dest_host}:{dest_port}"))
        return self._ways.forwards


@contextmanager
def serving_ways(ways: SshWays) -> Iterator[SshWays]:
    """Run the server during a ``with`` block."""
    ready, stopping = threading.Event(), threading.Event()

    async def serve() -> None:
        ways.loop = asyncio.get_running_loop()
        ways.loop.set_exception_handler(lambda *_: None)
        ended = asyncio.Event()
        async with asyncssh.listen(
            "127.0.0.1",
            ways.port,
            server_factory=lambda: _Server(ways),
            server_host_keys=list(ways.host_keys),  # a tuple would be a key with its certificate
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(ways.root).encode()),
            gss_host=None,
            config=None,
        ):
            ready.set()
            while not stopping.is_set():
                try:
                    await asyncio.wait_for(ended.wait(), 0.01)
                except TimeoutError:
                    continue
            for connection in ways.connections:
                connection.abort()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(10), "the server did not start"
        yield ways
    finally:
        stopping.set()
        thread.join()


def known_hosts(path: Path, *servers: SshWays) -> HostTrust:
    """Write a known_hosts file with the first key of each server."""
    lines = []
    for server in servers:
        key = server.host_keys[0]
        key = key[0] if isinstance(key, tuple) else key
        lines.append(f"[127.0.0.1]:{server.port} {key.export_public_key().decode().strip()}\n")
    path.write_text("".join(lines))
    return HostTrust(path)
