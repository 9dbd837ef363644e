"""An FTP server inside this process: pyftpdlib in a thread, with a command log, optional limits and faults.

pyftpdlib, and PyOpenSSL for TLS, are optional packages: ``pip install 'actorsync[testing]'``. They are imported when a
server is started.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import attrs
import trio

from actorsync.testing.servers.certificates import certificate_sha256, tls_context_for
from actorsync.testing.servers.command_log import Command, CommandLog
from actorsync.testing.servers.fault_texts import FTP_STEPS, Name, ftp_places
from actorsync.testing.servers.faults import FaultPlan, plan_of
from actorsync.testing.servers.in_a_row import InARow, rearranged
from actorsync.testing.servers.profiles import profile_text, write_private
from actorsync.testing.servers.restarts import RestartedFile

__all__ = ["EmbeddedFtpServer", "embedded_ftp_server"]

_PERMISSIONS = "elradfmwMT"  # all that pyftpdlib has
#: Seconds; the longest that `EmbeddedFtpServer.stop` waits for the loop to notice.
_POLL = 0.05


class _Accepted(socket.socket):
    """A data connection that may have been reset before it was accepted.

    pyftpdlib drops a connection without a peer, and its transfer never gets a reply. With an address, the transfer ends
    as if the connection had been reset a moment later.
    """

    def getpeername(self) -> Any:
        """Return the address of the peer, also when the peer is gone."""
        try:
            return super().getpeername()
        except OSError:
            return self.getsockname()


@attrs.define(eq=False)
class EmbeddedFtpServer:
    """A server for ``root``, running from `start` to `stop`; use it with ``with``.

    `start` binds the port, by default a free one, and `restart` keeps it. The logs continue over a restart. The other
    attributes are settings, read by `start`.

    * ``without``: commands that the server rejects and does not list in FEAT, such as ``{"MLSD", "MLST"}``.
    * ``max_connections``: the server answers further control connections with ``421`` and closes them.
    * ``max_connections_per_address``: the same, counted for each client address.
    * ``throttle``: approximate bytes a second on each data connection. None removes the limit during a transfer.
    * ``idle_timeout``: seconds without a command, after which the session ends with ``421``.
    * ``certificate``: a file with a key and its certificate. The server then requires TLS for commands and data, with
      ``is_implicit`` from the first byte. Needs PyOpenSSL. ``tls_version``: the only accepted version, such as
      ``"1.2"``.
    * ``data_ports``: the ports for data connections; by default, any free port.
    * ``in_a_row``: how the server takes commands that arrive together; see `actorsync.testing.servers.in_a_row`.
    * ``faults``: what goes wrong, such as ``["cut@store:3"]``; see `actorsync.testing.servers.faults`.

    With trio, use ``async with``: it starts and stops the server in a worker thread.
    """

    root: Path
    user: str = "demo"
    password: str = attrs.field(default="demo", repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    without: AbstractSet[str] = frozenset()
    max_connections: int | None = None
    max_connections_per_address: int | None = None
    throttle: int | None = None
    idle_timeout: float | None = None
    certificate: Path | None = None
    is_implicit: bool = False
    tls_version: str | None = None
    data_ports: Sequence[int] | None = None
    in_a_row: InARow = "stream"
    faults: FaultPlan = attrs.field(factory=FaultPlan, converter=plan_of)

    commands: CommandLog = attrs.field(factory=CommandLog, init=False, repr=False)
    """Every command line received, as ``(session, verb, argument)``; passwords are masked."""
    bytes_received: int = attrs.field(default=0, init=False)
    """Bytes received on data connections so far, over all sessions."""

    _sessions: int = attrs.field(default=0, init=False, repr=False)
    _running: tuple[threading.Thread, threading.Event] | None = attrs.field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        """The URL of the root, with the user name and without the password."""
        scheme = "ftp" if self.certificate is None else "ftps" if self.is_implicit else "ftpes"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/"

    def profile(self, source: Path, folder: str = "", more: str = "") -> str:
        """Return a profile that mirrors ``source`` to ``folder`` on this server. ``more`` is TOML, such as ``[sync]``.

        The profile contains the password, so only its owner may be able to read its file: see `write_profile`.
        """
        login = {"password": self.password}
        if self.certificate is not None:
            login["certificate-sha256"] = certificate_sha256(self.certificate)
        return profile_text(source, self.url + quote(folder), login, more)

    def write_profile(self, path: Path, source: Path, folder: str = "", more: str = "") -> Path:
        """Write the profile to a file that only its owner can read, and return the path."""
        return write_private(path, self.profile(source, folder, more))

    @property
    def mutating(self) -> list[Command]:
        """The logged commands that can change the tree."""
        return self.commands.mutating

    def start(self) -> None:
        """Start to serve; return when clients can connect.

        Raises:
            ImportError: PyOpenSSL is not installed, and there is a certificate.
            OSError: the port cannot be bound.
        """
        if self._running is not None:
            raise RuntimeError("the embedded FTP server is already running; call stop() first")
        silenced: list[Any] = []  # connections that stay open while all traffic on them is stopped
        server = _make_server(self, silenced)
        self.port = server.address[1]
        stopping = threading.Event()
        arguments = (server, stopping, self.faults, silenced)
        thread = threading.Thread(target=_serve, args=arguments, name="embedded-ftp", daemon=True)
        self._running = (thread, stopping)
        thread.start()

    def stop(self) -> None:
        """Cut every connection, close the port and wait for the thread to end. Does nothing when stopped."""
        if self._running is None:
            return
        thread, stopping = self._running
        self._running = None
        stopping.set()
        thread.join()

    def restart(self) -> None:
        """Cut every connection and serve again on the same port."""
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
        with trio.CancelScope(shield=True):  # stopping is quick, whatever clients do
            await trio.to_thread.run_sync(self.stop)


embedded_ftp_server = EmbeddedFtpServer
"""``with embedded_ftp_server(root, **settings) as server:`` serves ``root`` for the length of the block."""


def _serve(server: Any, stopping: threading.Event, plan: FaultPlan, silenced: list[Any]) -> None:
    # serve_forever() can only be stopped from its own thread, so this loop takes its place.
    pause = _POLL
    try:
        while not stopping.is_set():
            soonest = server.ioloop.loop(timeout=pause, blocking=False)
            pause = _POLL if soonest is None else min(_POLL, soonest)
            if plan.has_clock:
                channels = [one for one in server.ioloop.socket_map.values() if hasattr(one, "apply_fault")]
                for name in plan.due(is_connected=bool(channels)):
                    for channel in channels:
                        channel.apply_fault(name)
    finally:
        for channel in server.ioloop.socket_map.values():
            channel._error = True  # otherwise a TLS channel waits for the client's close_notify and stays open
        for channel in silenced:  # the loop does not have these any more
            channel._error = True
            channel.close()
        server.close_all()


def _make_server(settings: EmbeddedFtpServer, silenced: list[Any]) -> Any:
    """Bind the port and return a pyftpdlib server with these settings. It writes to the logs of ``settings``."""
    plan = settings.faults
    # ioloop first: it suppresses the deprecation warning of Python 3.11 for asyncore.
    from pyftpdlib.ioloop import IOLoop, timer  # isort: skip
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler, ThrottledDTPHandler
    from pyftpdlib.servers import FTPServer

    # pyftpdlib writes every command to standard error unless its logger has a handler.
    logger = logging.getLogger("pyftpdlib")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False

    user_table = DummyAuthorizer()
    user_table.add_user(settings.user, settings.password, str(settings.root), perm=_PERMISSIONS)

    control_base: Any = FTPHandler
    data_base: Any = ThrottledDTPHandler if settings.throttle or plan.rate else DTPHandler
    tls_context: Any = None
    if settings.certificate is not None:
        try:
            from pyftpdlib.handlers import TLS_DTPHandler, TLS_FTPHandler
        except ImportError:
            raise ImportError(
                "the embedded FTP server needs PyOpenSSL for TLS: pip install 'actorsync[testing]'"
            ) from None

        control_base, data_base = TLS_FTPHandler, type("SecureDataChannel", (TLS_DTPHandler, data_base), {})
        tls_context = tls_context_for(settings.certificate, settings.tls_version)

    class Breakable:
        """A connection that a fault can close, reset or silence."""

        socket: Any
        _idler: Any
        is_silent = is_broken = False

        def apply_fault(self, name: Name) -> None:
            if name == "silence":
                self.is_silent = True
                if self._idler is not None and not self._idler.cancelled:
                    self._idler.cancel()
                self.del_channel()  # type: ignore[attr-defined]
                silenced.append(self)
                return
            if name == "reset":  # closing with a linger time of zero sends RST
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.is_broken = self._error = True  # _error keeps a TLS channel from sending close_notify first
            self.close()  # type: ignore[attr-defined]

        def add_channel(self, *args: Any, **kwargs: Any) -> None:
            if not self.is_silent:
                super().add_channel(*args, **kwargs)  # type: ignore[misc]

        def modify_ioloop_events(self, *args: Any, **kwargs: Any) -> None:
            if not self.is_silent:
                super().modify_ioloop_events(*args, **kwargs)  # type: ignore[misc]

    class DataChannel(Breakable, data_base):  # type: ignore[misc]
        due: Name | None = None

        def __init__(self, sock: socket.socket, cmd_channel: Any) -> None:
            super().__init__(_Accepted(fileno=sock.detach()), cmd_channel)

        @property
        def read_limit(self) -> int:
            return min((rate for rate in (settings.throttle, plan.rate) if rate), default=0)

        write_limit = read_limit

        def recv(self, size: int) -> bytes:
            chunk: bytes = super().recv(size)
            settings.bytes_received += len(chunk)
            if chunk and self.receive and plan.faults:
                self.due, keep = plan.data(len(chunk), self.cmd_channel.storing)
                chunk = chunk[:keep]
            return chunk

        def _throttle_bandwidth(self, len_chunk: int, max_speed: int) -> None:
            if plan.rate is None:
                super()._throttle_bandwidth(len_chunk, max_speed)
                return
            # pyftpdlib lets the data of the first second pass at once, and a small site is no more than that.
            self._datacount, self._timenext = max_speed, timer() + len_chunk / max_speed / 2
            super()._throttle_bandwidth(0, max_speed)

        def handle_read_event(self) -> None:
            super().handle_read_event()
            if self.receive and self.cmd_channel is not None and self.cmd_channel.restarted is not None:
                self.cmd_channel.restarted.note(self.tot_bytes_received)
            due, self.due = self.due, None
            if due is None or self._closed:
                return
            self.transfer_finished = False
            if due == "truncate":
                self._data_wrapper = lambda _: b""
            elif due == "full":
                self._resp = ("452 Insufficient storage space.", logger.debug)
                self.close()
            else:
                if due != "silence":
                    self._resp = ("426 Connection closed; transfer aborted.", logger.debug)
                self.apply_fault(due)

    class ControlChannel(Breakable, control_base):  # type: ignore[misc]
        authorizer = user_table
        dtp_handler = DataChannel
        proto_cmds = {  # noqa: RUF012 - pyftpdlib is configured by class attributes
            verb: facts for verb, facts in control_base.proto_cmds.items() if verb not in settings.without
        }
        timeout = settings.idle_timeout or 0
        auth_failed_timeout = 0  # a rejected password does not slow a test down
        # A client may know from the name how pyftpdlib takes commands.
        banner = "pyftpdlib, embedded by actorsync, is ready." if settings.in_a_row == "stream" else "Ready."
        session_number = 0
        ssl_context = tls_context
        passive_ports = settings.data_ports
        tls_control_required = tls_data_required = True  # has an effect with a certificate only
        storing = renaming = ""
        drops_answer = False
        restarted: RestartedFile | None = None
        _restart_position = 0

        def recv(self, size: int) -> bytes:
            return rearranged(super().recv(size), settings.in_a_row)

        def handle(self) -> None:
            if settings.is_implicit:
                self.secure_connection(self.ssl_context)  # handle_ssl_established sends the greeting
            else:
                self.welcome()

        def handle_ssl_established(self) -> None:
            if settings.is_implicit:
                self.welcome()

        def welcome(self) -> None:
            settings._sessions += 1
            self.session_number = settings._sessions
            due = plan.at(["connect"], "a connection is accepted")
            # max_cons also counts listeners and data connections, so count here. ip_map has one entry for each control
            # connection, including this one.
            count, capacity = len(self.server.ip_map), plan.capacity
            if capacity is not None and count > capacity:
                plan.note_rejection()
                self.handle_max_cons()
            elif due == "refuse" or (settings.max_connections is not None and count > settings.max_connections):
                self.handle_max_cons()
            elif due is not None:
                self.apply_fault(due)
            else:
                control_base.handle(self)

        def ftp_STOR(self, file: str, mode: str = "w") -> Any:  # noqa: N802 - pyftpdlib's name
            self.restarted, start = None, self._restart_position
            if start:
                due = plan.at(["restart"], self.storing)
                self._restart_position = 0 if due in {"refuse", "ignore-restart"} else start
                if due == "refuse":
                    return self.respond("451 Restart not permitted, try again.")
                self.restarted = RestartedFile(due, file, start)
            stored = super().ftp_STOR(file, mode)
            queued = self.__dict__.get("_in_dtp_queue")
            if self._closed and queued is not None:
                queued[0].close()  # the client left before the 150, and pyftpdlib does not close the file
            return stored

        def ftp_RETR(self, file: str) -> Any:  # noqa: N802 - pyftpdlib's name
            if self._restart_position and (due := plan.at(["part"], f"RETR {file}")) is not None:
                self._restart_position = 0
                if due == "refuse":
                    return self.respond("554 Restart not permitted.")
            return super().ftp_RETR(file)

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            if self.is_silent or self.is_broken:
                return  # one read may hold several lines
            command = settings.commands.record(self.session_number, line)
            if cmd in FTP_STEPS["store"]:
                self.storing = str(command)
            self.renaming = arg if cmd == "RNFR" else self.renaming
            due = plan.at(ftp_places(cmd), str(command), (self.renaming, arg)) if plan.faults else None
            if due == "refuse":
                self.respond("530 Login incorrect." if cmd == "PASS" else "550 Permission denied.")
            elif due is not None and due != "drop":
                self.apply_fault(due)
            else:
                self.drops_answer = due == "drop"
                super().pre_process_command(line, cmd, arg)

        def push(self, data: str) -> None:
            if self.drops_answer and not data.startswith("1"):
                self.drops_answer = False
                self.apply_fault("reset")
            elif not (self.is_silent or self.is_broken):
                super().push(data)

    server = FTPServer((settings.host, settings.port), ControlChannel, ioloop=IOLoop())
    server.max_cons = 0
    server.max_cons_per_ip = settings.max_connections_per_address or 0
    return server
