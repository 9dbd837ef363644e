"""Uploads over SFTP: a file in three round trips, and any number of files at once.

1. ``OPEN`` a new temporary; the renames of earlier files are in flight together with it;
2. the rest of the content in writes, then ``FSETSTAT`` (time and permissions), ``CLOSE``, ``LSTAT``: the size is read
   back after the server has closed the file;
3. ``posix-rename`` and ``LSTAT`` of the final name, in flight together with the next file's ``OPEN``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence

import trio

from actorsync.endpoints.contract import Staged, Upload, nothing_ahead
from actorsync.endpoints.sftp.connection import SftpConnection
from actorsync.endpoints.sftp.probe import Prober
from actorsync.endpoints.sftp.rename import Renamer
from actorsync.endpoints.sftp.requests import Flight
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, parent_of
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import OK, Attributes, Handle, Reply, Status

__all__ = ["PIECE", "WINDOW", "Uploader"]

#: Bytes in one write. The longest packets that OpenSSH takes are 256 KiB, with the head.
PIECE = 255 * 1024
#: Large writes without a reply, over all files of a connection. It fills a fast connection and bounds the memory;
#: OpenSSH's window for a channel is 2 MiB.
WINDOW = 16
#: Large writes of one file without a reply.
_FILE_WINDOW = 12
#: A file of up to this size goes in the flight that also closes it, outside of the window.
_SMALL = 32 * 1024


class Uploader:
    """Uploads files to temporaries."""

    def __init__(self, connection: SftpConnection, prober: Prober, renamer: Renamer) -> None:
        self._connection = connection
        self._requests = connection.requests
        self._prober = prober
        self._renamer = renamer
        self._window = trio.Semaphore(WINDOW)

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write a temporary, with earlier commits in flight; read its size back once it is closed."""
        connection = self._connection
        if why := connection.why_unusable(upload.path) or connection.why_unusable(upload.temporary):
            return OperationRefused(why), await self._renamer.commit(commit)
        if links := await connection.find_links([parent_of(upload.temporary)]):
            return link_refusal(*links.values()), await self._renamer.commit(commit)
        opening = self._requests.send([sftp.open_new(connection.absolute(upload.temporary))])
        committed = await self._renamer.commit(commit) if commit else []
        (opened,) = await self._requests.replies(opening)
        if not isinstance(opened, Handle):
            assert isinstance(opened, Status)
            return await self._prober.explain(upload, opened, is_begun=False), committed
        return await self._write(upload, opened.handle, ahead), committed

    async def _write(self, upload: Upload, handle: bytes, ahead: Callable[[], bool]) -> Staged | OperationRefused:
        size, folding = upload.size, self._connection.knowledge.folding
        is_big = size is None or size > _SMALL
        writes: deque[Flight] = deque()
        try:
            refused = await self._stream(upload, handle, writes) if is_big else OK
            last = [] if is_big or not size else [sftp.write(handle, 0, await self._read_small(upload, size))]
            other = folding.to_ask(upload.temporary)
            case = None if other is None else self._look_up(other)
            closing = self._requests.send([*last, *self._closing(upload, handle)])
            ahead()
            while writes:
                reply = await self._oldest_reply(writes)
                refused = refused if reply == OK or refused != OK else reply
        except OperationRefused as refusal:
            self._requests.send([sftp.close_unchecked(handle)])
            await self._connection.remove_file(upload.temporary)
            return refusal
        finally:
            for _ in writes:
                self._window.release()
        replies = await self._requests.replies(closing)
        if case is not None and other is not None:
            (found,) = await self._requests.replies(case)
            folding.learn(upload.temporary, other, is_found=isinstance(found, Attributes))
        return await self._verify(upload, refused, replies, was_small=bool(last))

    async def _stream(self, upload: Upload, handle: bytes, writes: deque[Flight]) -> Reply:
        """Send the content of a large file, and return the first refusal. Flights left in ``writes`` are unanswered."""
        size = upload.size
        while size is None or upload.sent < size:
            # A file that waits for the window holds no place in it. Otherwise all files could wait for each other.
            while writes and (len(writes) >= _FILE_WINDOW or not self._window.value):
                reply = await self._oldest_reply(writes)
                if reply != OK:
                    return reply
            offset = upload.sent
            await self._window.acquire()
            writes.append(Flight([], 0))  # holds the place in the window, also when reading the source fails
            if not (piece := await self._read(upload, PIECE if size is None else min(PIECE, size - offset))):
                writes.pop()
                self._window.release()
                break
            writes[-1] = self._requests.send([sftp.write(handle, offset, piece)])
        return OK

    async def _oldest_reply(self, writes: deque[Flight]) -> Reply:
        """Wait for the reply to the oldest write, and free its place in the window."""
        (reply,) = await self._requests.replies(writes[0])
        writes.popleft()
        self._window.release()
        return reply

    async def _read_small(self, upload: Upload, size: int) -> bytes:
        """Read all of a small file. More than ``size`` bytes show that the file has grown."""
        data = b""
        while upload.sent < size and (piece := await self._read(upload, _SMALL - upload.sent)):
            data += piece
        return data

    async def _read(self, upload: Upload, limit: int) -> bytes:
        """Read the next bytes of the source. A local file is read in this thread: that is cheaper than a thread hop."""
        descriptor = upload.content.fileno()
        if descriptor is None:
            piece = await upload.content.read(limit)
        else:
            if (admit := upload.content.admit) is not None:
                limit = await admit(limit)
            try:
                piece = os.pread(descriptor, limit, upload.sent)
            except OSError as error:
                raise OperationRefused(f"it cannot be read: {error.strerror}") from error
        upload.sent += len(piece)
        return piece

    def _look_up(self, other: str) -> Flight | None:
        """Look up the temporary by another spelling of its name: one that a server finds which folds names."""
        if self._connection.why_unusable(other):
            return None
        return self._requests.send([sftp.lstat(self._connection.absolute(other))])

    def _closing(self, upload: Upload, handle: bytes) -> list[sftp.Request]:
        entry, connection = upload.content.entry, self._connection
        return [
            sftp.fsetstat(handle, mtime=sftp.seconds(entry.mtime_ns), mode=entry.mode),
            *([sftp.flush(handle)] if connection.fsync and connection.server.flushes else []),
            sftp.close(handle),
            sftp.lstat(connection.absolute(upload.temporary)),
        ]

    async def _verify(
        self, upload: Upload, refused: Reply, replies: Sequence[Reply], *, was_small: bool
    ) -> Staged | OperationRefused:
        """Judge an upload by the replies. A refused time or mode alone does not fail it."""
        size, (*rest, closed, found) = upload.due, replies
        if was_small:
            refused = rest.pop(0)
        flushed = rest[1] if len(rest) > 1 else OK
        for status, doing in ((refused, ""), (flushed, "to flush it to its disk"), (closed, "to close it")):
            if isinstance(status, Status) and not status.is_ok:
                return await self._prober.explain(upload, status, is_begun=True, stored=_size_of(found), doing=doing)
        if _size_of(found) != size:  # the server may have looked before it had written all
            (found,) = await self._requests.exchange([sftp.lstat(self._connection.absolute(upload.temporary))])
        if isinstance(found, Attributes) and found.size == upload.sent == size:
            mtime_ns = None if found.mtime is None else found.mtime * 10**9
            self._connection.knowledge.probes.note_taken(parent_of(upload.temporary))
            return Staged(upload.path, upload.temporary, size, mtime_ns)
        if upload.sent != size:
            await self._connection.remove_file(upload.temporary)
            return OperationRefused("it was changed while it was read", retry=True)
        return await self._prober.explain(upload, OK, is_begun=True, stored=_size_of(found))


def _size_of(found: Reply) -> int | None:
    return found.size if isinstance(found, Attributes) else None
