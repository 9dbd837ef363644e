"""The connections of an embedded SFTP server: what they share, and asyncssh's classes with a log and faults added.

This module imports asyncssh, which is slow, so the server imports it when it is started.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import attrs
from asyncssh.packet import SSHPacket
from asyncssh.sftp import SFTPServer, SFTPServerHandler
from asyncssh.stream import SSHReader, SSHServerStreamSession, SSHWriter

from actorsync.classes import define
from actorsync.testing.servers import sftp_packets
from actorsync.testing.servers.command_log import Command
from actorsync.testing.servers.faults import SFTP_STEPS, Name, step_names
from actorsync.testing.servers.restarts import RestartedFile
from actorsync.testing.servers.sftp_packets import LastWords, SftpRequest, parse_request, status
from actorsync.testing.servers.sftp_quirks import Handles, choose

if TYPE_CHECKING:
    from actorsync.testing.servers.sftp_settings import SftpSettings

__all__ = ["Hub"]

#: Seconds that `Hub.close` waits for sessions to close their files.
_CLOSE_SECONDS = 2.0
#: Seconds that requests are collected for, before one of them is chosen.
_COLLECT_SECONDS = 0.001
#: Seconds between two looks at the clock, for faults that happen at a time.
_TICK = 0.02
#: Bytes of a request before the handle: the type and the id.
_HEAD = 5


@define(eq=False)
class Hub:
    """State that the connections of one running server share. Everything runs in the server's thread."""

    settings: SftpSettings
    connected: set[asyncssh.SSHServerConnection] = attrs.field(factory=set)
    channels: set[asyncio.Task[None]] = attrs.field(factory=set)
    silent: set[asyncssh.SSHServerConnection] = attrs.field(factory=set)
    closing: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def listen(self) -> asyncssh.SSHAcceptor:
        """Bind the port and accept connections."""
        settings = self.settings
        keys = {asyncssh.import_public_key(line).public_data for line in settings.authorized_keys}
        return await asyncssh.listen(
            settings.host,
            settings.port,
            server_factory=lambda: _Server(self, keys),
            server_host_keys=[asyncssh.import_private_key(settings.host_key)],
            server_version=settings.version,
            encoding=None,
            allow_pty=False,
            agent_forwarding=False,
            gss_host=None,
            config=None,
        )

    async def watch_clock(self) -> None:
        """Apply the faults that are due at a time to all connections, until cancelled."""
        while True:
            if self.settings.faults.has_clock:
                for name in self.settings.faults.due(is_connected=bool(self.connected)):
                    for connection in self.connected.copy():
                        self.apply_fault(connection, name)
            await asyncio.sleep(_TICK)

    def apply_fault(self, connection: asyncssh.SSHServerConnection, name: Name) -> None:
        """Close or reset a connection, or stop all traffic on it."""
        transport: asyncio.Transport | None = connection._transport
        if transport is None:  # already closed
            return
        if name == "silence":
            transport.pause_reading()
            self.silent.add(connection)
            return
        if name == "reset":  # closing with a linger time of zero sends RST
            raw_socket = transport.get_extra_info("socket")
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.abort()

    async def close(self) -> None:
        """Abort all connections and wait a moment for their channels to close open files."""
        self.closing.set()
        for connection in self.connected.copy():
            connection.abort()
        if self.channels:
            await asyncio.wait(self.channels, timeout=_CLOSE_SECONDS)

    def record(self, session: int, verb: str, argument: str) -> None:
        """Append to the command log."""
        self.settings.commands.append(Command(session, verb, argument))

    def run_channel(self, handler: _Handler) -> None:
        """Serve the requests of a channel in a task."""
        task = asyncio.get_running_loop().create_task(handler.run())
        self.channels.add(task)
        task.add_done_callback(self.channels.discard)


class _Server(asyncssh.SSHServer):
    """One connection, from accept to close: its login and its channels."""

    connection: asyncssh.SSHServerConnection
    number: int

    def __init__(self, hub: Hub, keys: set[bytes]) -> None:
        self.hub, self.settings, self.keys = hub, hub.settings, keys
        self.is_refused = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        settings, plan = self.settings, self.settings.faults
        settings.connections += 1
        self.connection, self.number = conn, settings.connections
        self.hub.connected.add(conn)
        due = plan.at(["connect"], "a connection is accepted")
        soon = asyncio.get_running_loop().call_soon
        count, limit, capacity = len(self.hub.connected), settings.max_connections, plan.capacity
        if capacity is not None and count > capacity:
            plan.note_rejection()
            soon(conn.abort)
        elif due == "refuse" or (limit is not None and count > limit):
            soon(conn.abort)
        elif due is not None:
            soon(self.hub.apply_fault, conn, due)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh passes it
        self.hub.connected.discard(self.connection)

    def begin_auth(self, username: str) -> bool:
        self.hub.record(self.number, "USER", username)
        due = self.settings.faults.at(["login"], f"USER {username}")
        self.is_refused = due == "refuse"
        if due is not None and due != "refuse":
            self.hub.apply_fault(self.connection, due)
        return True

    def password_auth_supported(self) -> bool:
        return self.settings.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        self.hub.record(self.number, "PASS", "***")
        expected = (self.settings.user, self.settings.password)
        return not self.is_refused and (username, password) == expected

    def public_key_auth_supported(self) -> bool:
        return bool(self.keys)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self.hub.record(self.number, "KEY", key.get_fingerprint())
        return not self.is_refused and username == self.settings.user and key.public_data in self.keys

    def session_requested(self) -> Any:
        return _Channel(self.hub, self.number)


class _Channel(SSHServerStreamSession[bytes]):
    """One channel of a connection; accepts the SFTP subsystem only."""

    def __init__(self, hub: Hub, session: int) -> None:
        super().__init__(None)
        self.hub, self.session = hub, session
        self.channel: Any = None

    def connection_made(self, chan: Any) -> None:
        super().connection_made(chan)
        self.channel = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        served = SFTPServer(self.channel, chroot=bytes(self.hub.settings.root))
        reader, writer = SSHReader(self, self.channel), SSHWriter(self, self.channel)
        self.hub.run_channel(_Handler(self.hub, self.session, served, reader, writer))


class _Handler(SFTPServerHandler):
    """asyncssh's handler of the requests of a channel. It logs each request, applies faults and changes replies."""

    def __init__(
        self, hub: Hub, session: int, server: SFTPServer, reader: SSHReader[bytes], writer: SSHWriter[bytes]
    ) -> None:
        super().__init__(server, reader, writer, 3)
        self.hub, self.settings, self.plan = hub, hub.settings, hub.settings.faults
        self.session, self.index, self.output = session, 0, writer
        self.request = SftpRequest(session, 0, 0, "INIT")
        self.paths: dict[bytes, str] = {}
        self.truncated: set[str] = set()
        self.restarted: dict[str, RestartedFile] = {}
        self.shifts: dict[str, int | None] = {}  # how far the writes to a file are moved to its beginning
        self.dropping: set[int] = set()
        self.connection: Any = writer.channel.get_connection()
        self.handles = Handles(most=self.settings.max_handles, are_mixed_up=self.settings.mixes_up_handles)
        self.arrived: list[bytes] = []
        self.receiving: asyncio.Task[None] | None = None
        self.has_arrived = asyncio.Event()
        self.rng = random.Random(session)  # noqa: S311 - it chooses an order, and no secret

    async def receive(self) -> None:
        """Collect requests as they arrive, for an order that is not theirs."""
        try:
            while True:
                self.arrived.append((await super().recv_packet()).get_full_payload())
                self.has_arrived.set()
        finally:
            self.has_arrived.set()

    async def next_payload(self) -> bytes:
        """Return the request that is to be carried out next."""
        if self.settings.order == "kept" or not self.index:
            return bytes((await super().recv_packet()).get_full_payload())
        self.receiving = self.receiving or asyncio.get_running_loop().create_task(self.receive())
        while not self.arrived:
            if self.receiving.done():
                await self.receiving
            self.has_arrived.clear()
            await self.has_arrived.wait()
        await asyncio.sleep(_COLLECT_SECONDS)
        requests = [parse_request(payload, self.session, 0, self.paths) for payload in self.arrived]
        return self.arrived.pop(choose(requests, self.settings.order, self.rng))

    async def recv_packet(self) -> Any:
        """Return the next request that asyncssh shall carry out; answer the others here."""
        while True:
            payload = await self.next_payload()
            self.index += 1
            self.request = parse_request(payload, self.session, self.index, self.paths)
            self.hub.record(self.session, self.request.verb, self.request.argument)
            self.settings.bytes_received += len(self.request.data)
            answer = await self.apply_faults(self.request) if self.plan.faults else None
            if answer is None and self.settings.instead is not None:
                answer = self.settings.instead(self.request)
            if answer is None and self.request.extension in self.settings.without:
                answer = status(self.request.id, sftp_packets.UNSUPPORTED, "Operation unsupported")
            if answer is None:
                answer = self.handles.refusal(self.request)
            if answer is None:
                return SSHPacket(self.handles.translated(self.shifted(payload), self.request.verb))
            self.send(answer)

    async def apply_faults(self, request: SftpRequest) -> bytes | None:
        """Apply the fault that is due at a request. Return a reply to send instead of carrying it out, or None."""
        places, paths = step_names(request.verb, SFTP_STEPS), (request.path, request.new_path)
        due = self.plan.at(places, f"{request.verb} {request.argument}".rstrip(), paths)
        if due is None and request.verb == "CREATE" and not request.creates:
            due = self.begin_restart(request)
        if due is None and request.verb == "WRITE":
            if (restarted := self.restarted.get(request.path)) is not None:
                restarted.note(request.offset + len(request.data))
            if self.plan.rate:
                await asyncio.sleep(len(request.data) / self.plan.rate)
            due, _ = self.plan.data(len(request.data), f"WRITE {request.path}")
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
        self.hub.apply_fault(self.connection, due)
        if due == "silence":
            await self.hub.closing.wait()
        raise EOFError

    def begin_restart(self, request: SftpRequest) -> Name | None:
        """Apply the fault that is due when an existing file is opened for writing. Return one that is still to come."""
        due = self.plan.at(["restart"], f"OPEN {request.path}")
        file = Path(os.fsdecode(self.settings.root)) / request.path.lstrip("/")
        if due == "refuse" or not file.is_file():
            return due
        if due == "ignore-restart":
            self.shifts[request.path] = None
        self.restarted[request.path] = RestartedFile(due, os.fspath(file), 0)
        return None

    def shifted(self, payload: bytes) -> bytes:
        """Return a request with the offset of a write that is moved to the beginning of its file."""
        request = self.request
        if request.verb != "WRITE" or request.path not in self.shifts:
            return payload
        first = self.shifts[request.path]
        self.shifts[request.path] = first = request.offset if first is None else first
        head = _HEAD + 4 + int.from_bytes(payload[_HEAD : _HEAD + 4], "big")
        return payload[:head] + struct.pack(">Q", request.offset - first) + payload[head + 8 :]

    def send_packet(self, pkttype: int, pktid: int | None, *args: bytes) -> None:
        """Send a reply of asyncssh's, changed as the settings say."""
        if pktid in self.dropping:
            self.hub.apply_fault(self.connection, "reset")
            return
        if pkttype == sftp_packets.VERSION:
            unwanted = [sftp_packets.string(name) for name in self.settings.without]
            args = tuple(arg for arg in args if not any(arg.startswith(name) for name in unwanted))
        payload = b"".join(args)
        if pkttype == sftp_packets.HANDLE:
            handle = self.handles.given(payload[8:])
            self.paths[handle] = self.request.path
            payload = payload[:4] + sftp_packets.string(handle)
        packet = sftp_packets.packet(pkttype, payload)
        self.send(self.settings.distort(self.request, packet) if self.settings.distort is not None else packet)

    def send(self, answer: bytes) -> None:
        """Write bytes to the channel, unless it is closing or its connection is silent."""
        if not self.output.channel.is_closing() and self.connection not in self.hub.silent:
            self.output.write(bytes(answer))
            if isinstance(answer, LastWords):
                self.output.close()
