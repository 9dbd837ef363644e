"""A WebDAV server, through the methods of fsspec that `Tree` and `Store` use.

The library (webdav4) builds the HTTP client: login, certificates, timeouts. Its own requests are not used, because it
puts names into URLs as they are: ``%41.txt`` would arrive as ``A.txt``, and ``#`` and ``?`` are an error. It also
addresses directories without the slash at the end, creates the directory again for each file, and lists a directory to
describe it.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import httpx

from actorsync.endpoints.fsspec.entries import Info
from actorsync.endpoints.fsspec.errors import Declined
from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.protocols.webdav import (
    PROPFIND,
    Resource,
    adds_slash,
    choose,
    read_multistatus,
    request_path,
    status_meaning,
)

__all__ = ["Webdav"]

_XML: Final = {"Content-Type": "application/xml; charset=utf-8"}
_PIECE: Final = 1 << 16
#: How often a request is sent that only looks or reads, over a new connection each time.
_LOOKS: Final = 3
_MULTI_STATUS: Final = 207


class Webdav:
    """The files of a WebDAV server. Every method blocks, and may be called in any thread.

    ``library`` is the file system of fsspec that holds the HTTP client.
    """

    def __init__(self, library: Any) -> None:
        self.library = library
        self._http: httpx.Client = library.client.http
        self._base: httpx.URL = library.client.base_url
        weakref.finalize(self, self._http.close)  # an endpoint has no end of its own

    def invalidate_cache(self) -> None:
        """Do nothing: nothing is cached."""

    # Looking and reading.

    def info(self, path: str) -> Info:
        """Describe a file or a directory. Raises `OSError` with ``ENOENT`` if it does not exist."""
        answer = self._request("PROPFIND", path, {"Depth": "0", **_XML}, PROPFIND)
        if answer.is_redirect and adds_slash(path, answer.headers.get("Location", "")):
            answer = self._request("PROPFIND", path, {"Depth": "0", **_XML}, PROPFIND, is_directory=True)
        resources = self._multistatus(answer)
        found = choose(resources, path)
        if found is None:
            other = resources[0].path if resources else "nothing"
            raise Declined(f"the server describes {other!r} instead; rename the file", errno.EINVAL)
        return _info(found, path)

    def ls(self, path: str, detail: bool = True) -> list[Info]:
        """List a directory. ``detail`` is there because the functions of fsspec have it."""
        assert detail
        answer = self._request("PROPFIND", path, {"Depth": "1", **_XML}, PROPFIND, is_directory=True)
        resources = self._multistatus(answer)
        itself = choose(resources, path)
        if itself is None:
            raise Declined("the server lists another directory", errno.EIO)
        if not itself.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, path)
        return [_info(one, one.path) for one in resources if one is not itself]

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` to ``end``."""
        if start >= end:
            return b""
        # Compressed content would have another size, and its ranges other bytes.
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}

        def read() -> tuple[httpx.Response, bytes]:
            request = self._http.build_request("GET", self._url(path), headers=headers)
            answer = self._http.send(request, stream=True)
            with contextlib.closing(answer):
                return answer, _part(answer, start, end) if answer.is_success else b""

        with self._named_errors():
            answer, data = _looked(read)
        if answer.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._check(answer)
        return data

    # Writing.

    def pipe_file(self, path: str, data: bytes) -> None:
        """Write a file in one request."""
        self._check(self._request("PUT", path, content=data))

    def open(self, path: str, mode: str, block_size: int) -> _Spooled:
        """Return a file that is sent when it is closed: WebDAV has no upload in pieces. ``mode`` is ``"wb"``."""
        assert mode == "wb"
        return _Spooled(self, path, block_size)

    def send_file(self, path: str, pieces: Iterator[bytes], size: int) -> None:
        """Write a file from its pieces. The size is announced: some servers store nothing without it."""
        self._check(self._request("PUT", path, {"Content-Length": str(size)}, pieces))

    def move(self, old: str, new: str, replace: bool) -> None:
        """Rename a file in one request. Raises `OSError` with ``EEXIST`` if ``new`` exists and ``replace`` is False."""
        headers = {"Destination": str(self._url(new)), "Overwrite": "T" if replace else "F"}
        self._check(self._request("MOVE", old, headers))

    def mkdir(self, path: str, create_parents: bool = False) -> None:
        """Make a directory. Raises `OSError` with ``EEXIST`` if it exists."""
        assert not create_parents
        answer = self._request("MKCOL", path, is_directory=True)
        if answer.status_code == httpx.codes.METHOD_NOT_ALLOWED:
            raise FileExistsError(errno.EEXIST, path)
        self._check(answer)

    def makedirs(self, path: str, exist_ok: bool) -> None:
        """Make a directory, and the directories above it that are missing."""
        try:
            self.mkdir(path)
        except FileExistsError:
            if not exist_ok:
                raise
        except OSError:
            above, _, _ = path.strip("/").rpartition("/")
            if not above or self._exists(above):
                raise
            self.makedirs(above, exist_ok=True)
            try:
                self.mkdir(path)
            except FileExistsError:
                if not exist_ok:
                    raise

    def _exists(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.info(path))
        return False

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        self._check(self._request("DELETE", path))

    def rmdir(self, path: str) -> None:
        """Remove a directory. Raises `OSError` with ``ENOTEMPTY`` if it is not empty: the server would empty it."""
        if self.ls(path):
            raise OSError(errno.ENOTEMPTY, path)
        self._check(self._request("DELETE", path, is_directory=True))

    # Requests.

    def _url(self, path: str, *, is_directory: bool = False) -> httpx.URL:
        return self._base.copy_with(raw_path=request_path(path, is_directory=is_directory).encode())

    def _request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: bytes | Iterator[bytes] = b"",
        *,
        is_directory: bool = False,
    ) -> httpx.Response:
        url = self._url(path, is_directory=is_directory)

        def send() -> httpx.Response:
            return self._http.request(method, url, headers=headers, content=content)

        with self._named_errors():
            return _looked(send) if method == "PROPFIND" else send()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn the errors of the HTTP library into those of the contract."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise ConnectionLost("the server did not answer in time; raise the option timeout if it is slow") from error
        except httpx.TransportError as error:
            if certificate := _certificate_error(error):
                hint = "if it is signed by an authority of your own, name its file in the option verify"
                raise LoginRefused(f"the certificate of the server is not valid ({certificate}); {hint}") from error
            raise ConnectionLost(f"the connection was lost: {error}") from error

    def _multistatus(self, answer: httpx.Response) -> list[Resource]:
        self._check(answer)
        if answer.status_code != _MULTI_STATUS:
            raise Declined(_NO_WEBDAV.format(f"answered {answer.status_code} to PROPFIND"), errno.EOPNOTSUPP)
        try:
            return read_multistatus(answer.content)
        except ValueError as error:
            raise Declined(_NO_WEBDAV.format(str(error)), errno.EOPNOTSUPP) from None

    def _check(self, answer: httpx.Response) -> None:
        """Raise the error for an answer that is no success. Outside PROPFIND, 207 reports parts that failed."""
        status = answer.status_code
        if answer.is_success and (status != _MULTI_STATUS or answer.request.method == "PROPFIND"):
            return
        if status == _MULTI_STATUS:
            raise Declined("the server could not do it for everything it concerns (207)", retry=True)
        meaning = status_meaning(status, answer.reason_phrase, answer.headers.get("Location", ""))
        if meaning.is_lost:
            raise ConnectionLost(meaning.text)
        raise Declined(meaning.text, meaning.errno, retry=meaning.retry)


_NO_WEBDAV: Final = "the server does not speak WebDAV at this path ({}); check the path in the URL"


class _Spooled:
    """A file that is collected in memory, or in a temporary file if it is big, and sent when it is closed."""

    def __init__(self, server: Webdav, path: str, in_memory: int) -> None:
        self._server, self._path = server, path
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 - closed below
        self._size = 0
        self.sent = 0
        """How many bytes the kernel has taken on their way to the server. Any thread may read it."""

    def write(self, data: bytes | memoryview) -> int:
        """Collect a piece."""
        self._size += len(data)
        return self._file.write(data)

    def close(self) -> None:
        """Send the file."""
        with contextlib.closing(self._file):
            self._server.send_file(self._path, self._pieces(), self._size)

    def _pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece
            self.sent += len(piece)  # the HTTP library asks for the next one when it has sent this one

    def drop(self) -> None:
        """Drop the file without sending anything."""
        self._file.close()


def _info(resource: Resource, path: str) -> Info:
    kind = {True: "directory", False: "file", None: "other"}[resource.is_directory]
    facts = {"name": path, "type": kind, "size": resource.size}
    return {**facts, "modified": resource.modified, "etag": resource.etag}


_AnswerT = TypeVar("_AnswerT")


def _looked(send: Callable[[], _AnswerT]) -> _AnswerT:
    """Send a request that changes nothing, again if the server drops the connection.

    A dropped connection leaves the pool, so the next try has another one. A server that does not answer in time, or
    cannot be reached, is not asked again here.
    """
    for _ in range(_LOOKS - 1):
        with contextlib.suppress(httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            return send()
    return send()


def _part(answer: httpx.Response, start: int, end: int) -> bytes:
    """Return the bytes from ``start`` to ``end`` of a file. The server may send all of it instead."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return _collect(answer, start, end - start)
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise Declined("the server sent another part of the file than it was asked for", retry=True)
    return _collect(answer, 0, end - start)


def _collect(answer: httpx.Response, skipped: int, size: int) -> bytes:
    """Return ``size`` bytes of the body after the first ``skipped``, or fewer at its end."""
    pieces: list[bytes] = []
    left = size
    for piece in answer.iter_bytes():
        kept = piece[skipped : skipped + left]
        skipped = max(0, skipped - len(piece))
        pieces.append(kept)
        left -= len(kept)
        if not left:
            break
    return b"".join(pieces)


def _certificate_error(error: BaseException | None) -> str:
    """Return why a certificate was rejected, or ``""``."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""
