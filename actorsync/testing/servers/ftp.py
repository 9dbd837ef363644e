"""An FTP server inside this process: pyftpdlib in a thread, with a command log and the weaknesses of your choice.

pyftpdlib, and PyOpenSSL for TLS, are optional packages: ``pip install 'actorsync[testing]'``. They are imported when a
server is started, and not before.
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

from actorsync.testing.servers.certificates import certificate_sha256
from actorsync.testing.servers.command_log import Command, CommandLog
from actorsync.testing.servers.faults import FTP_STEPS, FaultPlan, Name, plan_of, step_names
from actorsync.testing.servers.profiles import profile_text, write_private

__all__ = ["EmbeddedFtpServer", "embedded_ftp_server"]

_PERMISSIONS = "elradfmwMT"  # everything that pyftpdlib knows
_POLL = 0.05  # seconds; the most that stopping waits for the loop to look up


@attrs.define(eq=False)
class EmbeddedFtpServer:
    """A server for ``root``, running from `start` to `stop`; use it with ``with``.

    The port is bound when the object is entered (0: one that is free) and kept over `restart`. The logs go on over
    a restart too. Attributes other than the logs are settings; they are read by `start`.

    * ``without``: verbs that the server does not know and FEAT does not show, such as ``{"MLSD", "MLST"}``.
    * ``max_connections``: the next control connection gets ``421`` and is closed.
    * ``max_connections_per_address``: the same, counted for each client address.
    * ``throttle``: bytes a second on each data connection, about.
    * ``idle_timeout``: seconds without a command, after which the session ends with ``421``.
    * ``certificate``: a file with key and certificate. Then nothing goes without TLS, neither commands nor data; with
      ``is_implicit``, from the first byte. Needs PyOpenSSL. ``tls_version``: the only one spoken, such as ``"1.2"``.
    * ``data_ports``: those that data connections are made to; by default, any that is free.
    * ``faults``: what goes wrong, such as ``["cut@store:3"]``; see `actorsync.testing.servers.faults`.

    For trio there is ``async with``, which starts and stops the server in a worker thread.
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
    faults: FaultPlan = attrs.field(factory=FaultPlan, converter=plan_of)

    commands: CommandLog = attrs.field(factory=CommandLog, init=False, repr=False)
    """Every command line received, as ``(session, verb, argument)``; passwords are masked."""
    bytes_received: int = attrs.field(default=0, init=False)
    """Bytes that arrived on data connections so far, over all sessions."""

    _sessions: int = attrs.field(default=0, init=False, repr=False)
    _running: tuple[threading.Thread, threading.Event] | None = attrs.field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        """The URL of the root, with the user and without the password."""
        scheme = "ftp" if self.certificate is None else "ftps" if self.is_implicit else "ftpes"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{quote(self.user, safe='')}@{host}:{self.port}/"

    def profile(self, source: Path, folder: str = "", more: str = "") -> str:
        """Give a profile that mirrors ``source`` to a folder of this server. ``more`` are tables such as ``[sync]``.

        The password is in it, so its file has to be yours alone: see `write_profile`.
        """
        login = {"password": self.password}
        if self.certificate is not None:
            login["certificate-sha256"] = certificate_sha256(self.certificate)
        return profile_text(source, self.url + quote(folder), login, more)

    def write_profile(self, path: Path, source: Path, folder: str = "", more: str = "") -> Path:
        """Write that profile to a file, and give its path."""
        return write_private(path, self.profile(source, folder, more))

    @property
    def mutating(self) -> list[Command]:
        """Those of the commands that can change the tree."""
        return self.commands.mutating

    def start(self) -> None:
        """Listen and serve; return when clients can connect. Raises `ImportError` without pyftpdlib."""
        if self._running is not None:
            raise RuntimeError("this server is running")
        silenced: list[Any] = []  # connections that nothing passes on any more, and that stay open
        server = _make_server(self, silenced)
        self.port = server.address[1]
        stopping = threading.Event()
        given = (server, stopping, self.faults, silenced)
        thread = threading.Thread(target=_serve, args=given, name="embedded-ftp", daemon=True)
        self._running = (thread, stopping)
        thread.start()

    def stop(self) -> None:
        """Close every connection and the port, and return when the thread has ended. Does nothing when stopped."""
        if self._running is None:
            return
        thread, stopping = self._running
        self._running = None
        stopping.set()
        thread.join()

    def restart(self) -> None:
        """Cut every session, and serve again on the same port."""
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


embedded_ftp_server = EmbeddedFtpServer
"""``with embedded_ftp_server(root, **settings) as server:`` serves ``root`` for the length of the block."""


def _serve(server: Any, stopping: threading.Event, plan: FaultPlan, silenced: list[Any]) -> None:
    # serve_forever() can only be stopped from its own thread, hence a loop of our own.
    pause = _POLL
    try:
        while not stopping.is_set():
            soonest = server.ioloop.loop(timeout=pause, blocking=False)
            pause = _POLL if soonest is None else min(_POLL, soonest)
            if plan.has_clock:
                channels = [one for one in server.ioloop.socket_map.values() if hasattr(one, "suffer")]
                for name in plan.due(is_connected=bool(channels)):
                    for channel in channels:
                        channel.suffer(name)
    finally:
        for channel in server.ioloop.socket_map.values():
            channel._error = True  # or one with TLS would wait for the client's goodbye, and stay open
        for channel in silenced:  # the loop knows them no more
            channel._error = True
            channel.close()
        server.close_all()


def _make_server(settings: EmbeddedFtpServer, silenced: list[Any]) -> Any:
    """Bind the port and return a pyftpdlib server that does as ``settings`` says and writes its logs."""
    plan = settings.faults
    try:
        # ioloop first: it imports asyncore without the warning that Python 3.11 gives for it.
        from pyftpdlib.ioloop import IOLoop, timer  # isort: skip
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import DTPHandler, FTPHandler, ThrottledDTPHandler
        from pyftpdlib.servers import FTPServer
    except ImportError as error:
        raise ImportError(
            f"the embedded FTP server needs pyftpdlib ({error}): pip install 'actorsync[testing]'"
        ) from error

    # Unless somebody has set up its logger, pyftpdlib writes every command to standard error.
    logger = logging.getLogger("pyftpdlib")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False

    user_table = DummyAuthorizer()
    user_table.add_user(settings.user, settings.password, str(settings.root), perm=_PERMISSIONS)

    control_base: Any = FTPHandler
    throttle = min((rate for rate in (settings.throttle, plan.rate) if rate), default=0)
    data_base: Any = ThrottledDTPHandler if throttle else DTPHandler
    tls_context: Any = None
    if settings.certificate is not None:
        try:
            from pyftpdlib.handlers import TLS_DTPHandler, TLS_FTPHandler
        except ImportError:
            raise ImportError(
                "the embedded FTP server needs PyOpenSSL for TLS: pip install 'actorsync[testing]'"
            ) from None

        control_base, data_base = TLS_FTPHandler, type("SecureDataChannel", (TLS_DTPHandler, data_base), {})
        tls_context = _make_tls_context(settings.certificate, settings.tls_version)

    class Breakable:
        """A connection that can come to an end, or to nothing, when a fault says so."""

        socket: Any
        _idler: Any
        is_silent = is_broken = False

        def suffer(self, name: Name) -> None:
            if name == "silence":
                self.is_silent = True
                if self._idler is not None and not self._idler.cancelled:
                    self._idler.cancel()
                self.del_channel()  # type: ignore[attr-defined]
                silenced.append(self)
                return
            if name == "reset":  # closing with a linger time of zero does that
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.is_broken = self._error = True  # the second, or one with TLS would say goodbye first
            self.close()  # type: ignore[attr-defined]

        def add_channel(self, *args: Any, **kwargs: Any) -> None:
            if not self.is_silent:
                super().add_channel(*args, **kwargs)  # type: ignore[misc]

        def modify_ioloop_events(self, *args: Any, **kwargs: Any) -> None:
            if not self.is_silent:
                super().modify_ioloop_events(*args, **kwargs)  # type: ignore[misc]

    class DataChannel(Breakable, data_base):  # type: ignore[misc]
        read_limit = write_limit = throttle
        due: Name | None = None

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
            # pyftpdlib lets the first second's worth pass at once, which is all of a small site.
            self._datacount, self._timenext = max_speed, timer() + len_chunk / max_speed / 2
            super()._throttle_bandwidth(0, max_speed)

        def handle_read_event(self) -> None:
            super().handle_read_event()
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
                self.suffer(due)

    class ControlChannel(Breakable, control_base):  # type: ignore[misc]
        authorizer = user_table
        dtp_handler = DataChannel
        proto_cmds = {  # noqa: RUF012 - pyftpdlib's own way of configuring a class
            verb: facts for verb, facts in control_base.proto_cmds.items() if verb not in settings.without
        }
        timeout = settings.idle_timeout or 0
        auth_failed_timeout = 0  # a refused password costs a test nothing
        banner = "actorsync embedded server ready."
        session_number = 0
        ssl_context = tls_context
        passive_ports = settings.data_ports
        tls_control_required = tls_data_required = True  # where there is a certificate
        storing = ""
        drops_answer = False

        def handle(self) -> None:
            if settings.is_implicit:
                self.secure_connection(self.ssl_context)  # and `welcome` is said when that is done
            else:
                self.welcome()

        def handle_ssl_established(self) -> None:
            if settings.is_implicit:
                self.welcome()

        def welcome(self) -> None:
            settings._sessions += 1
            self.session_number = settings._sessions
            due = plan.at(["connect"], "a connection comes in")
            # Counted here and not by max_cons, which also counts listeners and data connections. ip_map has one
            # entry for each control connection, this one included.
            here, least = len(self.server.ip_map), plan.capacity
            if least is not None and here > least:
                plan.turned_away()
                self.handle_max_cons()
            elif due == "refuse" or (settings.max_connections is not None and here > settings.max_connections):
                self.handle_max_cons()
            elif due is not None:
                self.suffer(due)
            else:
                control_base.handle(self)

        def ftp_STOR(self, file: str, mode: str = "w") -> Any:  # noqa: N802 - pyftpdlib's name
            stored = super().ftp_STOR(file, mode)
            queued = self.__dict__.get("_in_dtp_queue")
            if self._closed and queued is not None:
                queued[0].close()  # the client was gone before the 150: pyftpdlib forgets the file, open
            return stored

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            if self.is_silent or self.is_broken:
                return  # there may be more lines in what was read at once
            command = settings.commands.record(self.session_number, line)
            if cmd in FTP_STEPS["store"]:
                self.storing = str(command)
            places = ["line", "login"] if cmd == "PASS" else step_names(cmd, FTP_STEPS)
            due = plan.at(places, str(command)) if plan.faults else None
            if due == "refuse":
                self.respond("530 Login incorrect." if cmd == "PASS" else "550 Permission denied.")
            elif due is not None and due != "drop":
                self.suffer(due)
            else:
                self.drops_answer = due == "drop"
                super().pre_process_command(line, cmd, arg)

        def push(self, data: str) -> None:
            if self.drops_answer and not data.startswith("1"):
                self.drops_answer = False
                self.suffer("reset")
            elif not (self.is_silent or self.is_broken):
                super().push(data)

    server = FTPServer((settings.host, settings.port), ControlChannel, ioloop=IOLoop())
    server.max_cons = 0
    server.max_cons_per_ip = settings.max_connections_per_address or 0
    return server


def _make_tls_context(certificate: Path, version: str | None) -> Any:
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(certificate))
    if version is not None:
        number = getattr(SSL, f"TLS{version.replace('.', '_')}_VERSION")
        context.set_min_proto_version(number)
        context.set_max_proto_version(number)
    return context
