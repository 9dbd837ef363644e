"""Uploads over SFTP: a file in three round trips, and any number of files at once.

1. ``OPEN`` a new temporary; the renames of earlier files are in flight together with it;
2. the rest of the content in writes, then ``FSETSTAT`` (time and permissions), ``CLOSE``, ``LSTAT``: the size is read
   back after the server has closed the file;
3. ``posix-rename`` and ``LSTAT`` of the final name, in flight together with the next file's ``OPEN``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Staged, Upload, nothing_ahead
from actorsync.endpoints.sftp.looks.names import Names
from actorsync.endpoints.sftp.looks.probe import Prober
from actorsync.endpoints.sftp.looks.read_back import ReadBack, Sample
from actorsync.endpoints.sftp.rename import Renamer
from actorsync.endpoints.sftp.resume import Resumer
from actorsync.endpoints.sftp.wire.connection import PIECE, SftpConnection
from actorsync.endpoints.sftp.wire.requests import Flight
from actorsync.endpoints.shared.seam import refused_to_continue
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import OK, Attributes, Handle, Reply, Status

__all__ = ["WINDOW", "Uploader"]

#: Large writes of `PIECE` bytes without a reply, over all files of a connection. It fills a fast connection and bounds
#: the memory; OpenSSH's window for a channel is 2 MiB. Of shorter writes there may be more.
WINDOW = 16
#: The same for one file.
_FILE_WINDOW = 12
#: A file of up to this size goes in the flight that also closes it, outside of the window.
_SMALL = 32 * 1024

#: The requests that end an upload.
_Step: TypeAlias = Literal["write", "settings", "flush", "close", "look"]
#: Those that fail an upload when the server refuses them, and the words for what was requested.
_DOING: Final[Mapping[_Step, str]] = {"write": "", "flush": "to flush it to its disk", "close": "to close it"}


@define(eq=False)
class _Writes:
    """The content of one file on its way: ``read`` bytes in no write of the window, and those writes, oldest first.

    Each of them holds a place in the window until its reply is looked at, which may be long after it has arrived.
    """

    read: int = 0
    window: deque[tuple[Flight, int]] = attrs.Factory(deque)

    def unconfirmed(self) -> int:
        """Return how many bytes have no reply yet."""
        return self.read + sum(size for flight, size in self.window if flight.missing)


class Uploader:
    """Uploads files to temporaries."""

    def __init__(self, connection: SftpConnection, prober: Prober, renamer: Renamer, resumer: Resumer) -> None:
        self._connection = connection
        self._requests = connection.requests
        self._prober = prober
        self._renamer = renamer
        self._resumer = resumer
        self._read_back = ReadBack(connection)
        self._names = Names(connection)
        more = PIECE // connection.server.piece
        self._file_window = _FILE_WINDOW * more
        self._window = trio.Semaphore(WINDOW * more)

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write a temporary, with earlier commits in flight; read its size back once it is closed."""
        connection = self._connection
        if why := connection.why_unusable(upload.path) or connection.why_unusable(upload.temporary):
            return OperationRefused(why), await self._renamer.commit(commit)
        if links := await connection.find_links([parent_of(upload.temporary)]):
            return link_refusal(*links.values()), await self._renamer.commit(commit)
        if upload.keeps_mode:
            await self._take_over_mode(upload)
        request = self._open_request(upload)
        # A directory is listed before a rename on a target that folds case. That must not wait for the OPEN.
        is_first = connection.knowledge.folding.is_on
        committed = await self._renamer.commit(commit) if is_first and commit else []
        await self._requests.room()
        opening = self._requests.send([request])
        if commit and not is_first:
            committed = await self._renamer.commit(commit)
        opened = await self._opened(upload, request, opening)
        if not isinstance(opened, Handle):
            assert isinstance(opened, Status)
            if upload.start:
                await connection.remove_file(upload.temporary)
                return refused_to_continue(str(opened)), committed
            return await self._prober.explain(upload, opened, is_begun=False), committed
        return await self._write(upload, opened.handle, ahead), committed

    async def _take_over_mode(self, upload: Upload) -> None:
        """Let the upload have the mode of the file that it replaces, if there is one."""
        (old,) = await self._requests.exchange([sftp.lstat(self._connection.absolute(upload.path))])
        if isinstance(old, Attributes) and old.kind is Kind.FILE:
            upload.mode = old.mode

    def _open_request(self, upload: Upload, *, exclusive: bool | None = None) -> sftp.Request:
        if upload.start:
            return sftp.open_to_continue(self._connection.absolute(upload.temporary))
        exclusive = self._requests.host.opens_exclusively if exclusive is None else exclusive
        return sftp.open_new(self._connection.absolute(upload.temporary), exclusive=exclusive, mode=upload.mode)

    async def _opened(self, upload: Upload, request: sftp.Request, opening: Flight) -> Reply:
        """Return the reply to an OPEN. On a server that has opened no file yet, try it without EXCL as well.

        That is safe: the name is random, and nothing else has it.
        """
        host = self._requests.host
        opened = await self._connection.opened(request, opening)
        if isinstance(opened, Handle):
            host.has_created |= not upload.start
        elif host.opens_exclusively and not host.has_created and not upload.start:
            (found,) = await self._requests.exchange([sftp.lstat(self._connection.absolute(upload.temporary))])
            if isinstance(found, Status):
                again = await self._connection.open_file(self._open_request(upload, exclusive=False))
                if isinstance(again, Handle):
                    host.open_plainly()
                    return again
        return opened

    async def _write(self, upload: Upload, handle: bytes, ahead: Callable[[], bool]) -> Staged | OperationRefused:
        size, folding = upload.size, self._connection.knowledge.folding
        is_big = size is None or size > _SMALL or upload.start > 0
        writes = _Writes()
        upload.unconfirmed = writes.unconfirmed
        upload.sent = upload.start
        sample = Sample(is_wanted=False, crowd=0) if upload.start else self._read_back.begin()
        try:
            refused = await self._stream(upload, handle, writes, sample) if is_big else OK
            small = b"" if is_big or not size else await self._read_small(upload, size, writes, sample)
            last = [] if is_big or not size else [sftp.write(handle, 0, small)]
            others = [it for it in folding.to_ask(upload.temporary) if not self._connection.why_unusable(it)]
            looks = [sftp.lstat(self._connection.absolute(other)) for other in others]
            asked = self._requests.send(looks) if looks else None
            steps = self._steps(upload, handle, last)
            in_flight = list(steps) if self._requests.host.keeps_order else list(steps)[: len(last)]
            closing = self._requests.send([steps[label] for label in in_flight])
            ahead()
            while writes.window:
                reply = await self._oldest_reply(writes)
                refused = refused if reply == OK or refused != OK else reply
        except OperationRefused as refusal:
            self._requests.send([sftp.close_unchecked(handle)])
            await self._connection.remove_file(upload.temporary)
            return refusal
        finally:
            for _ in writes.window:
                self._window.release()
        replies = dict(zip(in_flight, await self._requests.replies(closing), strict=True))
        writes.read = 0
        replies |= await self._one_by_one({label: steps[label] for label in steps if label not in replies})
        if asked is not None:
            for other, found in zip(others, await self._requests.replies(asked), strict=True):
                folding.learn(upload.temporary, other, is_found=isinstance(found, Attributes))
        return await self._verify(upload, {"write": refused, **replies}, sample)

    async def _one_by_one(self, steps: dict[_Step, sftp.Request]) -> dict[_Step, Reply]:
        """Send requests and wait for each reply before the next request; the last one goes with the one before it.

        A server that carries out requests at the same time could close the file before its last bytes are written, and
        write them into the next file that gets its descriptor.
        """
        labels = list(steps)
        replies: dict[_Step, Reply] = {}
        for flight in [*([label] for label in labels[:-2]), labels[-2:]]:
            found = await self._requests.exchange([steps[label] for label in flight])
            replies |= zip(flight, found, strict=True)
        return replies

    async def _stream(self, upload: Upload, handle: bytes, writes: _Writes, sample: Sample) -> Reply:
        """Send the content of a large file, and return the first refusal. Flights left in ``writes`` are unanswered."""
        window = writes.window
        size, piece_size = upload.size, self._connection.server.piece
        while size is None or upload.sent < size:
            # A file that waits for the window holds no place in it. Otherwise all files could wait for each other.
            while window and (len(window) >= self._file_window or not self._window.value):
                reply = await self._oldest_reply(writes)
                if reply != OK:
                    return reply
            offset = upload.sent
            await self._window.acquire()
            window.append((Flight([], 0), 0))  # holds the place, also when reading the source fails
            most = piece_size if size is None else min(piece_size, size - offset)
            if not (piece := await self._read(upload, most, writes)):
                window.pop()
                self._window.release()
                break
            sample.add(piece)
            window[-1] = self._requests.send([sftp.write(handle, offset, piece)]), len(piece)
            writes.read = 0
        return OK

    async def _oldest_reply(self, writes: _Writes) -> Reply:
        """Wait for the reply to the oldest write, and free its place in the window."""
        (reply,) = await self._requests.replies(writes.window[0][0])
        writes.window.popleft()
        self._window.release()
        return reply

    async def _read_small(self, upload: Upload, size: int, writes: _Writes, sample: Sample) -> bytes:
        """Read all of a small file. More than ``size`` bytes show that the file has grown."""
        data = b""
        while upload.sent < size and (piece := await self._read(upload, _SMALL - upload.sent, writes)):
            data += piece
        sample.add(data)
        return data

    async def _read(self, upload: Upload, limit: int, writes: _Writes) -> bytes:
        """Read and count the next bytes of the source. A local file is read in this thread, without a thread hop."""
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
        writes.read += len(piece)
        return piece

    def _steps(self, upload: Upload, handle: bytes, last: Sequence[sftp.Request]) -> dict[_Step, sftp.Request]:
        """Return the requests that end an upload, in order. ``last`` is the only write of a small file."""
        entry, connection = upload.content.entry, self._connection
        mtime, place = sftp.seconds(entry.mtime_ns), connection.absolute(upload.temporary)
        by_path = connection.requests.host.sets_times_by_path
        steps: dict[_Step, sftp.Request] = {"write": last[0]} if last else {}
        if not by_path:
            steps["settings"] = sftp.fsetstat(handle, mtime=mtime, mode=upload.mode)
        if connection.fsync and connection.server.flushes:
            steps["flush"] = sftp.flush(handle)
        steps["close"] = sftp.close(handle)
        if by_path:
            steps["settings"] = sftp.setstat(place, mtime=mtime, mode=upload.mode)
        return {**steps, "look": sftp.lstat(place)}

    async def _verify(
        self, upload: Upload, replies: Mapping[_Step, Reply], sample: Sample
    ) -> Staged | OperationRefused:
        """Judge an upload by the replies. A refused time or mode alone does not fail it."""
        size, found = upload.due, replies["look"]
        for step, doing in _DOING.items():
            status = replies.get(step, OK)
            if isinstance(status, Status) and not status.is_ok:
                return await self._prober.explain(upload, status, is_begun=True, stored=_size_of(found), doing=doing)
        if _size_of(found) != size:  # the server may have looked before it had written all
            (found,) = await self._requests.exchange([sftp.lstat(self._connection.absolute(upload.temporary))])
        if isinstance(found, Attributes) and found.size == upload.sent == size:
            refusal = await (self._resumer.refusal(upload) if upload.start else self._read_back.compare(upload, sample))
            refusal = refusal or await self._names.check(upload.path, upload.temporary)
            if refusal is not None:
                await self._connection.remove_file(upload.temporary)
                return refusal
            if replies["settings"] != OK and not self._requests.host.refuses_times:
                found = await self._set_by_path(upload, found)
            mtime_ns = None if found.mtime is None else found.mtime * 10**9
            self._connection.knowledge.probes.note_taken(parent_of(upload.temporary))
            if upload.mode is not None and found.mode not in {None, upload.mode}:
                reply = replies["settings"]
                reason = "the server ignores it" if reply == OK else f"the server refuses it: {reply}"
                self._connection.knowledge.unset_modes.note(upload.path, reason)
            return Staged(upload.path, upload.temporary, size, mtime_ns)
        if isinstance(found, Status) and found.is_denied:
            await self._connection.remove_file(upload.temporary)
            return OperationRefused(
                f"the server does not show the file that it was sent ({found}), so no upload can be verified; "
                "allow the request LSTAT on the server"
            )
        if upload.sent != size:
            await self._connection.remove_file(upload.temporary)
            return OperationRefused("it was changed while it was read", retry=True)
        return await self._prober.explain(upload, OK, is_begun=True, stored=_size_of(found))

    async def _set_by_path(self, upload: Upload, found: Attributes) -> Attributes:
        """Set the time and permissions of a closed temporary, because the server refused that for the open file.

        Return what the server then reports for it.
        """
        host, place = self._requests.host, self._connection.absolute(upload.temporary)
        entry = upload.content.entry
        (status,) = await self._requests.exchange(
            [sftp.setstat(place, mtime=sftp.seconds(entry.mtime_ns), mode=upload.mode)]
        )
        if status != OK:
            host.refuse_times()
            return found
        host.set_times_by_path()
        (looked,) = await self._requests.exchange([sftp.lstat(place)])
        return looked if isinstance(looked, Attributes) else found


def _size_of(found: Reply) -> int | None:
    return found.size if isinstance(found, Attributes) else None
