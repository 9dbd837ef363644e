"""An SFTP server inside this process: asyncssh in a thread, with a command log and the weaknesses of your choice.

asyncssh has an event loop of asyncio, hence a thread; it is imported when a server is made and not before.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import attrs
import trio

from actorsync.testing.servers import sftp_packets
from actorsync.testing.servers.command_log import Command, CommandLog
from actorsync.testing.servers.faults import SFTP_STEPS, FaultPlan, Name, plan_of, step_names
from actorsync.testing.servers.profiles import profile_text, write_private
from actorsync.testing.servers.sftp_packets import LastWords, SftpRequest, parse_request, status

if TYPE_CHECKING:
    import asyncssh

__all__ = ["EmbeddedSftpServer", "SftpLog", "embedded_sftp_server"]

_MUTATING = frozenset(
    [
        *("CREATE", "WRITE", "SETSTAT", "FSETSTAT", "LSETSTAT", "MKDIR", "RMDIR", "REMOVE"),
        *("RENAME", "POSIX-RENAME", "SYMLINK", "HARDLINK", "COPY-DATA"),
    ]
)
_LEAVING = 2.0  # seconds that stopping waits for sessions to close their files
#: Turns of the loop in which a connection that was accepted is set up.
_TURNS = 5
_TICK = 0.02  # seconds between two looks at the clock, where a fault happens at a time


class SftpLog(CommandLog):
    """The command log of an SFTP server: for each login ``USER``, ``KEY`` and ``PASS ***``, then the requests."""

    @property
    def mutating(self) -> list[Command]:
        """Only those that can change the tree."""
        return [command for command in self.copy() if command.verb in _MUTATING]


@functools.cache
def _host_key_of_this_process() -> bytes:
    import asyncssh

    return asyncssh.generate_private_key("ssh-ed25519").export_private_key()


@attrs.define(eq=False)
class EmbeddedSftpServer:
    """A server for ``root``, running from `start` to `stop`; use it with ``with``. ``root`` is "/" for its clients.

    The port is bound when the object is entered (0: one that is free) and kept over `restart`. The logs go on over
    a restart too. Attributes other than the logs are settings; those of the login are read by `start`, the others
    whenever they matter.

    * ``password``: None accepts keys only. ``authorized_keys``: public keys, as lines of OpenSSH.
    * ``host_key``: a private key in OpenSSH's form; by default an Ed25519 key that is made once for each process.
    * ``without``: extensions that are not announced, and refused, such as ``{"posix-rename@openssh.com"}``.
    * ``max_connections``: the next connection is dropped before it can log in.
    * ``instead``: is shown each request before anything is done. What it returns is sent, byte for byte, and nothing is
      done; for None the server does as it should. `LastWords` are sent, and then the channel is closed.
    * ``distort``: is shown each request that was carried out, with the whole packet that answers it, and gives what is
      sent in its place.
    * ``faults``: what goes wrong, such as ``["cut@store:3"]``; see `actorsync.testing.servers.faults`.

    ``instead`` and ``distort`` are called in the server's thread. For trio there is ``async with``, which starts and
    stops the server in a worker thread.
    """

    root: Path
    user: str = "demo"
    password: str | None = attrs.field(default="demo", repr=False)
    authorized_keys: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int = 0
    host_key: bytes = attrs.field(factory=_host_key_of_this_process, repr=False)
    without: AbstractSet[str] = frozenset()
    max_connections: int | None = None
    instead: Callable[[SftpRequest], bytes | None] | None = None
    distort: Callable[[SftpRequest, bytes], bytes] | None = None
    faults: FaultPlan = attrs.field(factory=FaultPlan, converter=plan_of)

    commands: SftpLog = attrs.field(factory=SftpLog, init=False, repr=False)
    """Every login and every request, as ``(connection, verb, path)``; passwords are masked."""
    bytes_received: int = attrs.field(default=0, init=False)
    """Bytes of files that arrived so far, over all connections."""
    connections: int = attrs.field(default=0, init=False)
    """How many connections were accepted so far, those included that were dropped."""

    _running: _Thread | None = attrs.field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        """The URL of the root, with the user and without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sftp://{quote(self.user, safe='')}@{host}:{self.port}/"

    @property
    def mutating(self) -> list[Command]:
        """Those of the commands that can change the tree."""
        return self.commands.mutating

    @property
    def fingerprint(self) -> str:
        """The host key's, as ``ssh-keygen -l`` shows it: ``SHA256:...``."""
        return _private_key(self.host_key).get_fingerprint()

    @property
    def known_hosts_line(self) -> str:
        """The line of a known_hosts file that makes this server known; the server must have its port."""
        public = _private_key(self.host_key).export_public_key().decode().strip()
        where = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return f"{where} {public}\n"

    def profile(self, source: Path, folder: str = "", more: str = "") -> str:
        """Give a profile that mirrors ``source`` to a folder of this server. ``more`` are tables such as ``[sync]``.

        The password is in it, so its file has to be yours alone: see `write_profile`. A server without one is logged in
        to with a key, and ``key-file`` has to be added.
        """
        login = {"host-key": self.fingerprint}
        if self.password is not None:
            login["password"] = self.password
        return profile_text(source, self.url + quote(folder), login, more)

    def write_profile(self, path: Path, source: Path, folder: str = "", more: str = "") -> Path:
        """Write that profile to a file, and give its path."""
        return write_private(path, self.profile(source, folder, more))

    def start(self) -> None:
        """Listen and serve; return when clients can connect."""
        if self._running is not None:
            raise RuntimeError("this server is running")
        self._running = _Thread.started(self)

    def stop(self) -> None:
        """Cut every connection, close the port, return when the thread has ended. Does nothing when stopped."""
        running, self._running = self._running, None
        if running is not None:
            running.stop()

    def restart(self) -> None:
        """Cut every connection, and serve again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await trio.to_thread.run_sync(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):  # it ends within a moment, whatever clients do
            await trio.to_thread.run_sync(self.stop)


embedded_sftp_server = EmbeddedSftpServer
"""``with embedded_sftp_server(root, **settings) as server:`` serves ``root`` for the length of the block."""


def _private_key(exported: bytes) -> asyncssh.SSHKey:
    import asyncssh

    return asyncssh.import_private_key(exported)


@attrs.define(eq=False)
class _Thread:
    """The thread of a running server, and the way to end it."""

    thread: threading.Thread
    ready: threading.Event = attrs.field(factory=threading.Event)
    loop: asyncio.AbstractEventLoop | None = None
    stopping: asyncio.Event | None = None
    failure: BaseException | None = None

    @classmethod
    def started(cls, settings: EmbeddedSftpServer) -> _Thread:
        """Return when the server listens; raise what keeps it from doing so."""
        running = cls(threading.Thread(name="embedded-sftp", daemon=True))
        running.thread = threading.Thread(target=running.run, args=(settings,), name="embedded-sftp", daemon=True)
        running.thread.start()
        running.ready.wait()
        if running.failure is not None:
            running.thread.join()
            raise running.failure
        return running

    def run(self, settings: EmbeddedSftpServer) -> None:
        try:
            asyncio.run(self.serve(settings))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that started this one
            self.failure = error
        finally:
            self.ready.set()

    async def serve(self, settings: EmbeddedSftpServer) -> None:
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        logger = _quiet_logger()
        self.loop.set_exception_handler(lambda _, context: logger.debug("%s", context))
        hub = _Hub(settings)
        acceptor = await hub.listen()
        settings.port = acceptor.get_port()
        self.ready.set()
        clock = self.loop.create_task(hub.watch_the_clock())
        await self.stopping.wait()
        clock.cancel()
        # First no more are let in, and those that were get set up: asyncio loses sight of one that is not when its
        # server is closed, and leaves its socket open.
        for listening in acceptor.sockets:
            self.loop.remove_reader(listening.fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        acceptor.close()
        await hub.close()

    def stop(self) -> None:
        assert self.loop is not None
        assert self.stopping is not None
        self.loop.call_soon_threadsafe(self.stopping.set)
        self.thread.join()


def _quiet_logger() -> logging.Logger:
    """Keep asyncssh and asyncio off standard error, where warnings end up that no handler takes."""
    for name in ("asyncio", "asyncssh"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    return logger


@attrs.define(eq=False)
class _Hub:
    """What the connections of one running server have in common."""

    settings: EmbeddedSftpServer
    connected: set[asyncssh.SSHServerConnection] = attrs.field(factory=set)
    channels: set[asyncio.Task[None]] = attrs.field(factory=set)
    silent: set[asyncssh.SSHServerConnection] = attrs.field(factory=set)
    closing: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def watch_the_clock(self) -> None:
        """Do to all connections what is due at a time."""
        while True:
            if self.settings.faults.has_clock:
                for name in self.settings.faults.due(is_connected=bool(self.connected)):
                    for connection in self.connected.copy():
                        self.make_suffer(connection, name)
            await asyncio.sleep(_TICK)

    def make_suffer(self, connection: asyncssh.SSHServerConnection, name: Name) -> None:
        """End a connection as a fault says, or let nothing pass on it any more."""
        transport: asyncio.Transport | None = connection._transport
        if transport is None:  # it is over
            return
        if name == "silence":
            transport.pause_reading()
            self.silent.add(connection)
            return
        if name == "reset":  # closing with a linger time of zero does that
            its_socket = transport.get_extra_info("socket")
            its_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.abort()

    async def listen(self) -> asyncssh.SSHAcceptor:
        import asyncssh

        settings = self.settings
        keys = {asyncssh.import_public_key(line).public_data for line in settings.authorized_keys}
        return await asyncssh.listen(
            settings.host,
            settings.port,
            server_factory=_make_server_class(self, keys),
            server_host_keys=[_private_key(settings.host_key)],
            server_version="actorsync_embedded",
            encoding=None,
            allow_pty=False,
            agent_forwarding=False,
            gss_host=None,
            config=None,
        )

    async def close(self) -> None:
        self.closing.set()
        for connection in self.connected.copy():
            connection.abort()
        if self.channels:  # they close the files that they have open
            await asyncio.wait(self.channels, timeout=_LEAVING)

    def record(self, session: int, verb: str, argument: str) -> None:
        self.settings.commands.append(Command(session, verb, argument))

    def run_channel(self, handler: Any) -> None:
        task = asyncio.get_running_loop().create_task(handler.run())
        self.channels.add(task)
        task.add_done_callback(self.channels.discard)


def _make_server_class(hub: _Hub, keys: set[bytes]) -> type[asyncssh.SSHServer]:
    """Make the class of which asyncssh makes an object for each connection."""
    import asyncssh

    channel_class = _make_channel_class(hub)
    settings, plan = hub.settings, hub.settings.faults

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            settings.connections += 1
            self.connection, self.number = conn, settings.connections
            self.is_refused = False
            hub.connected.add(conn)
            due = plan.at(["connect"], "a connection comes in")
            soon = asyncio.get_running_loop().call_soon
            here, limit, least = len(hub.connected), settings.max_connections, plan.capacity
            if least is not None and here > least:
                plan.turned_away()
                soon(conn.abort)
            elif due == "refuse" or (limit is not None and here > limit):
                soon(conn.abort)
            elif due is not None:
                soon(hub.make_suffer, conn, due)

        def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh gives it
            hub.connected.discard(self.connection)

        def begin_auth(self, username: str) -> bool:
            hub.record(self.number, "USER", username)
            due = plan.at(["login"], f"USER {username}")
            self.is_refused = due == "refuse"
            if due is not None and due != "refuse":
                hub.make_suffer(self.connection, due)
            return True

        def password_auth_supported(self) -> bool:
            return settings.password is not None

        def validate_password(self, username: str, password: str) -> bool:
            hub.record(self.number, "PASS", "***")
            return not self.is_refused and (username, password) == (settings.user, settings.password)

        def public_key_auth_supported(self) -> bool:
            return bool(keys)

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            hub.record(self.number, "KEY", key.get_fingerprint())
            return not self.is_refused and username == settings.user and key.public_data in keys

        def session_requested(self) -> Any:
            return channel_class(self.number)

    return Server


def _make_channel_class(hub: _Hub) -> Callable[[int], Any]:
    """Make the class of which there is an object for each channel of a connection."""
    from asyncssh.sftp import SFTPServer, SFTPServerHandler
    from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

    settings, plan = hub.settings, hub.settings.faults

    class Handler(SFTPServerHandler):
        """asyncssh's own, with ears and a mouth in between."""

        def __init__(self, session: int, server: SFTPServer, reader: SSHReader[bytes], writer: SSHWriter[bytes]):
            super().__init__(server, reader, writer, 3)
            self.session, self.index, self.output = session, 0, writer
            self.request = SftpRequest(session, 0, 0, "INIT")
            self.paths: dict[bytes, str] = {}
            self.truncated: set[str] = set()
            self.dropping: set[int] = set()
            self.connection: Any = writer.channel.get_connection()

        async def recv_packet(self) -> Any:
            while True:
                packet = await super().recv_packet()
                self.index += 1
                self.request = parse_request(packet.get_full_payload(), self.session, self.index, self.paths)
                hub.record(self.session, self.request.verb, self.request.argument)
                settings.bytes_received += len(self.request.data)
                answer = await self.meet(self.request) if plan.faults else None
                if answer is None and settings.instead is not None:
                    answer = settings.instead(self.request)
                if answer is None and self.request.extension in settings.without:
                    answer = status(self.request.id, sftp_packets.UNSUPPORTED, "Operation unsupported")
                if answer is None:
                    return packet
                self.say(answer)

        async def meet(self, request: SftpRequest) -> bytes | None:
            """Have happen what is due at a request; give what is said in place of what it asks for."""
            due = plan.at(step_names(request.verb, SFTP_STEPS), f"{request.verb} {request.argument}".rstrip())
            if due is None and request.verb == "WRITE":
                if plan.rate:
                    await asyncio.sleep(len(request.data) / plan.rate)
                due, _ = plan.data(len(request.data), f"WRITE {request.path}")
                if due == "truncate":
                    self.truncated.add(request.path)
                if request.path in self.truncated:
                    return status(request.id)
            match due:
                case None:
                    return None
                case "refuse":
                    return status(request.id, sftp_packets.PERMISSION_DENIED, "Permission denied")
                case "full":
                    return status(request.id, sftp_packets.FAILURE, "No space left on device")
                case "drop":
                    self.dropping.add(request.id)
                    return None
            hub.make_suffer(self.connection, due)
            if due == "silence":
                await hub.closing.wait()
            raise EOFError

        def send_packet(self, pkttype: int, pktid: int | None, *args: bytes) -> None:
            if pktid in self.dropping:
                hub.make_suffer(self.connection, "reset")
                return
            if pkttype == sftp_packets.VERSION:
                unwanted = [sftp_packets.string(name) for name in settings.without]
                args = tuple(arg for arg in args if not any(arg.startswith(name) for name in unwanted))
            payload = b"".join(args)
            if pkttype == sftp_packets.HANDLE:
                self.paths[payload[8:]] = self.request.path
            packet = sftp_packets.packet(pkttype, payload)
            self.say(settings.distort(self.request, packet) if settings.distort is not None else packet)

        def say(self, answer: bytes) -> None:
            if not self.output.channel.is_closing() and self.connection not in hub.silent:
                self.output.write(bytes(answer))
                if isinstance(answer, LastWords):
                    self.output.close()

    class Channel(SSHServerStreamSession[bytes]):
        def __init__(self, session: int):
            super().__init__(None)
            self.session = session
            self.channel: Any = None

        def connection_made(self, chan: Any) -> None:
            super().connection_made(chan)
            self.channel = chan

        def subsystem_requested(self, subsystem: str) -> bool:
            return subsystem == "sftp"

        def session_started(self) -> None:
            served = SFTPServer(self.channel, chroot=bytes(settings.root))
            reader, writer = SSHReader(self, self.channel), SSHWriter(self, self.channel)
            hub.run_channel(Handler(self.session, served, reader, writer))

    return Channel
