"""An SMB share, through the methods of fsspec that `Tree` and `Store` use.

fsspec's own file system for SMB asks the server once for each entry of a listing, renames without replacing, and does
not log in again after a lost connection. Here its library (smbprotocol) is used directly.
"""

from __future__ import annotations

import errno
import logging
import stat
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

import smbclient
from smbclient._pool import get_smb_tree
from smbprotocol.exceptions import SMBConnectionClosed, SMBException

from actorsync.endpoints.fsspec.entries import Info
from actorsync.endpoints.fsspec.errors import Declined
from actorsync.errors import ConnectionLost

__all__ = ["Smb"]

# The library logs a lost connection as a warning. Without any handler, Python would print it.
logging.getLogger("smbprotocol").addHandler(logging.NullHandler())

#: Requests at once on the one connection. Each holds credits, of which the server grants a limited number.
_AT_ONCE: Final = 8
_PIECE: Final = 1 << 20

_NO_SHARE: Final = "the server has no such share; check the first part of the path in the URL"
#: NTSTATUS (MS-ERREF, 2.3.1): the number of `errno`, the words for a user, and whether it may pass.
_STATUS: Final[Mapping[int, tuple[int, str, bool]]] = {
    0xC0000022: (errno.EACCES, "the server denies access; check the rights of the user", False),
    0xC0000033: (errno.EINVAL, "the server rejects the name; rename the file, or exclude it", False),
    0xC0000034: (errno.ENOENT, "it does not exist", False),
    0xC0000035: (errno.EEXIST, "the name is taken", False),
    0xC000003A: (errno.ENOENT, "it does not exist", False),
    0xC0000043: (errno.EBUSY, "another program has the file open; close it there", True),
    0xC0000044: (errno.EDQUOT, "the quota of the user is used up", False),
    0xC0000056: (errno.EBUSY, "another program is removing it", True),
    0xC000007F: (errno.ENOSPC, "the target is full", False),
    0xC00000BA: (errno.EISDIR, "it is a directory", False),
    0xC00000CC: (errno.ENXIO, _NO_SHARE, False),
    0xC0000101: (errno.ENOTEMPTY, "the directory is not empty", False),
    0xC0000103: (errno.ENOTDIR, "it is not a directory", False),
    0xC0000225: (errno.ENOENT, "it does not exist", False),
}


class Smb:
    """The files of an SMB server. Every method blocks, and may be called in any thread.

    ``library`` is the file system of fsspec, which holds the options. A path is a share and the path in it.
    """

    def __init__(self, library: Any) -> None:
        self.library = library
        self._options: dict[str, Any] = {
            "username": library.username,
            "password": library.password,
            "port": library.port or 445,
            "encrypt": library.encrypt,
            "connection_timeout": library.timeout,
            "connection_cache": {},
        }
        weakref.finalize(self, smbclient.reset_connection_cache, connection_cache=self._options["connection_cache"])
        self._connecting = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    def invalidate_cache(self) -> None:
        """Do nothing: nothing is cached."""

    # Looking and reading.

    def info(self, path: str) -> Info:
        """Describe a file or a directory. Raises `OSError` with ``ENOENT`` if it does not exist."""
        with self._request(path) as (at, options):
            return _info(path, smbclient.lstat(at, **options))

    def ls(self, path: str, detail: bool = True) -> list[Info]:
        """List a directory. ``detail`` is there because the functions of fsspec have it."""
        assert detail
        with self._request(path) as (at, options), smbclient.scandir(at, **options) as entries:
            return [_listed(f"{path.rstrip('/')}/{entry.name}", entry) for entry in entries]

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` to ``end``."""
        with (
            self._request(path) as (at, options),
            smbclient.open_file(at, "rb", buffering=0, share_access="rwd", **options) as file,
        ):
            file.seek(start)
            pieces: list[bytes] = []
            while start < end and (piece := file.read(min(_PIECE, end - start))):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)

    # Writing.

    def pipe_file(self, path: str, data: bytes) -> None:
        """Write a file in one call."""
        with self._request(path) as (at, options), smbclient.open_file(at, "wb", buffering=0, **options) as file:
            _write(file, data)

    def open(self, path: str, mode: str, block_size: int) -> _Opened:
        """Return a file that is written piece by piece. ``mode`` is ``"wb"``."""
        assert mode == "wb"
        assert block_size
        with self._request(path) as (at, options):
            return _Opened(self, path, smbclient.open_file(at, "wb", buffering=0, **options))

    def move(self, old: str, new: str, replace: bool) -> None:
        """Rename a file in one request. Raises `OSError` with ``EEXIST`` if ``new`` exists and ``replace`` is False."""
        rename: Callable[..., None] = smbclient.replace if replace else smbclient.rename
        with self._request(old) as (at, options):
            rename(at, self._unc(new), **options)

    def mkdir(self, path: str, create_parents: bool = False) -> None:
        """Make a directory. Raises `OSError` with ``EEXIST`` if it exists."""
        assert not create_parents
        with self._request(path) as (at, options):
            smbclient.mkdir(at, **options)

    def makedirs(self, path: str, exist_ok: bool) -> None:
        """Make a directory, and the directories above it that are missing. The share must exist."""
        share, _, below = path.strip("/").partition("/")
        try:
            self.info(share)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            raise Declined(_NO_SHARE, errno.ENXIO) from error
        if below:
            with self._request(path) as (at, options):
                smbclient.makedirs(at, exist_ok=exist_ok, **options)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        with self._request(path) as (at, options):
            smbclient.remove(at, **options)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        with self._request(path) as (at, options):
            smbclient.rmdir(at, **options)

    # Requests.

    def _unc(self, path: str) -> str:
        return f"\\\\{self.library.host}\\{path.strip('/').replace('/', chr(92))}"

    @contextmanager
    def _request(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Connect if necessary, and turn the errors of the library into those of the contract."""
        at = self._unc(path)
        with self.named_errors(), self._slots:
            with self._connecting:  # the library would open a connection for each thread
                self._connect(at)
            yield at, self._options

    def _connect(self, at: str) -> None:
        try:
            smbclient.register_session(self.library.host, **self._options)
        except ValueError as error:  # of the library, for every error of a socket
            raise ConnectionLost(f"cannot connect: {str(error).rpartition(': ')[2]}") from error
        get_smb_tree(at, **self._options)

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn the errors of the library into those of the contract."""
        try:
            yield
        except SMBConnectionClosed as error:
            raise ConnectionLost("the server closed the connection") from error
        except SMBException as error:
            status: int = getattr(error, "ntstatus", getattr(error, "status", 0))
            if (meaning := _STATUS.get(status)) is not None:
                number, text, retry = meaning
                raise Declined(text, number, retry=retry) from error
            if type(error) is SMBException and "credits" in str(error):
                raise Declined("the server is busy", errno.EAGAIN, retry=True) from error
            raise


class _Opened:
    """A file that is open for writing. The server shows it from the beginning."""

    def __init__(self, server: Smb, path: str, file: IO[bytes]) -> None:
        self._server, self._path, self._file = server, path, file

    def write(self, data: memoryview) -> int:
        """Write a piece."""
        with self._server.named_errors():
            _write(self._file, data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        with self._server.named_errors():
            self._file.close()


def _write(file: IO[bytes], data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest[:_PIECE]) :]


def _info(path: str, found: Any) -> Info:
    kind = "link" if stat.S_ISLNK(found.st_mode) else "directory" if stat.S_ISDIR(found.st_mode) else "file"
    return {
        "name": path,
        "type": kind,
        "size": found.st_size,
        "mtime": found.st_mtime_ns // 1000 / 10**6,
        "ino": found.st_ino,
    }


def _listed(path: str, entry: Any) -> Info:
    kind = "link" if entry.is_symlink() else "directory" if entry.is_dir() else "file"
    facts = entry.smb_info
    return {
        "name": path,
        "type": kind,
        "size": facts.end_of_file,
        "mtime": facts.last_write_time,
        "ino": facts.file_id,
    }
