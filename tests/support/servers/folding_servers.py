"""FTP and SFTP servers over a directory in which different spellings are one name, as on Windows and macOS.

The spelling of a name is kept. A rename that only changes the spelling does that (``direct``), does nothing and reports
success (``idle``, as ProFTPD with ``mod_case`` and several file systems do), or is refused (``refused``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import asyncssh

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from actorsync.planning.name_folding import loosest_key

__all__ = ["FoldingFolder", "Renames", "folding_ftp", "folding_sftp"]

Renames: TypeAlias = Literal["direct", "idle", "refused"]


class FoldingFolder:
    """A directory with folded names."""

    def __init__(self, root: Path, renames: Renames, fold: Callable[[str], str] = loosest_key) -> None:
        self.root, self.renames, self.fold = root, renames, fold

    def real(self, path: str) -> str:
        """Return the path of the entry that ``path`` finds; its last component as given, if there is none."""
        at = os.fspath(self.root)
        for name in Path(path).relative_to(self.root).parts:
            names = os.listdir(at) if os.path.isdir(at) else []
            at = os.path.join(at, next((it for it in names if self.fold(it) == self.fold(name)), name))
        return at

    def rename(self, old: str, new: str, *, replaces: bool) -> None:
        """Rename, given the path of ``new`` as the client has sent it."""
        there = self.real(new)
        parent = self.real(os.path.dirname(new))
        if old == there:
            if self.renames == "refused":
                raise FileExistsError("File exists")
            if self.renames == "direct":
                os.rename(old, os.path.join(parent, os.path.basename(new)))
        elif os.path.lexists(there) and not replaces:
            raise FileExistsError("File exists")
        else:
            os.rename(old, there)


@contextmanager
def folding_ftp(folder: FoldingFolder) -> Iterator[Callable[[], FtpEndpoint]]:
    """Run an FTP server. Yields a function that returns a new endpoint for its root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pyftpdlib uses asyncore
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.filesystems import AbstractedFS
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.ioloop import IOLoop
        from pyftpdlib.servers import FTPServer

    class FoldingFs(AbstractedFS):  # type: ignore[misc]
        def ftp2fs(self, ftppath: str) -> str:
            return folder.real(super().ftp2fs(ftppath))

    class Handler(FTPHandler):  # type: ignore[misc]
        abstracted_fs = FoldingFs
        sent = ""

        def found_terminator(self) -> None:
            self.sent = b"".join(self._in_buffer).decode().partition(" ")[2]
            super().found_terminator()

        def ftp_RNTO(self, path: str) -> None:  # noqa: N802 - a name of pyftpdlib
            old: str | None = self._rnfr
            self._rnfr: str | None = None
            if old is None:
                self.respond("503 Bad sequence of commands: use RNFR first.")
                return
            try:
                folder.rename(old, os.path.join(os.fspath(folder.root), self.sent.lstrip("/")), replaces=True)
            except OSError as error:
                self.respond(f"550 {error}.")
            else:
                self.respond("250 Renaming ok.")

    authorizer = DummyAuthorizer()
    authorizer.add_user("demo", "demo", os.fspath(folder.root), perm="elradfmwMT")
    Handler.authorizer = authorizer
    logging.getLogger("pyftpdlib").propagate = False
    server = FTPServer(("127.0.0.1", 0), Handler, ioloop=IOLoop())
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.ioloop.loop(timeout=0.01, blocking=False)
        server.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield lambda: FtpEndpoint("127.0.0.1", server.address[1], "demo", lambda: "demo")
    finally:
        ended.set()
        thread.join()


@contextmanager
def folding_sftp(folder: FoldingFolder, key_folder: Path) -> Iterator[Callable[[], SftpEndpoint]]:
    """Run an SFTP server. Yields a function that returns a new endpoint for its root."""

    class Sftp(asyncssh.SFTPServer):
        def __init__(self, chan: Any) -> None:
            super().__init__(chan, chroot=os.fsencode(folder.root))

        def map_path(self, path: bytes) -> bytes:
            return os.fsencode(folder.real(os.fsdecode(super().map_path(path))))

        def _rename(self, old: bytes, new: bytes, *, replaces: bool) -> None:
            given = os.path.join(os.fspath(folder.root), os.fsdecode(new).lstrip("/"))
            try:
                folder.rename(os.fsdecode(self.map_path(old)), given, replaces=replaces)
            except FileExistsError as error:
                raise asyncssh.SFTPFailure("Failure") from error

        def rename(self, oldpath: bytes, newpath: bytes) -> None:
            self._rename(oldpath, newpath, replaces=False)

        def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
            self._rename(oldpath, newpath, replaces=True)

    connections: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return password == "demo"

    key = asyncssh.generate_private_key("ssh-ed25519")
    ports: list[int] = []
    is_ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=[key], sftp_factory=Sftp)
        ports.append(server.get_port())
        is_ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for connection in connections:
                connection.abort()
            await asyncio.sleep(0.05)  # the transports close in the next turns of the loop

    task = loop.create_task(serve())

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    is_ready.wait(10)
    login = SshLogin("demo", password=lambda: "demo")
    trust = HostTrust(key_folder / "known_hosts", key.get_fingerprint())
    try:
        yield lambda: SftpEndpoint("127.0.0.1", login, trust, ports[0], "/", lanes=4)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
