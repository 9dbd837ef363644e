"""SFTP under the contract: a file in three round trips, and any number of files at once.

1. ``OPEN`` a new temporary; the renames of earlier files ride along;
2. all that is left of the file in writes, then ``FSETSTAT`` (time and permissions), ``CLOSE``, ``LSTAT``: the size is
   read back after the server has closed the file;
3. ``posix-rename`` and ``LSTAT`` of the final name, riding with the next file's ``OPEN``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence

from actorsync.endpoints.contract import Staged, Upload, nothing_ahead
from actorsync.endpoints.sftp.connection import PIECE
from actorsync.endpoints.sftp.probe import SftpTrials
from actorsync.endpoints.sftp.requests import Flight
from actorsync.endpoints.shared.case_folding import other_case
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.endpoints.shared.symlink_guard import astray
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, parent_of
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import packets as sftp
from actorsync.protocols.sftp.packets import Attributes, Handle, Reply, Status

__all__ = ["SftpUploads"]

#: A file of up to this size goes in the flight that also closes it, and does not count among the big writes.
_SMALL = 32 * 1024
#: Writes of one file that nobody has answered yet.
_AHEAD = 12


class SftpUploads(SftpTrials):
    """Staging and committing over an `SftpLink`."""

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write to the temporary, with earlier commits in flight beside it; read its size back once it is closed."""
        if why := self._fault(upload.path) or self._fault(upload.temporary):
            return OperationRefused(why), await self.commit(commit)
        if links := await self._through_links([parent_of(upload.temporary)]):
            return astray(*links.values()), await self.commit(commit)
        opening = self._wire.launch([sftp.open_new(self._at(upload.temporary))])
        committed = await self.commit(commit) if commit else []
        (opened,) = await self._wire.landed(opening)
        if not isinstance(opened, Handle):
            assert isinstance(opened, Status)
            return await self._refused(upload, opened, is_begun=False), committed
        return await self._write(upload, opened.handle, ahead), committed

    async def _write(self, upload: Upload, handle: bytes, ahead: Callable[[], bool]) -> Staged | OperationRefused:
        size = upload.size
        is_big = size is None or size > _SMALL
        writes: deque[Flight] = deque()
        try:
            refused = await self._stream(upload, handle, writes) if is_big else sftp.OK
            last = [] if is_big or not size else [sftp.write(handle, 0, await self._small(upload, size))]
            case = None if self._folding.is_on is not None else self._ask_case(upload.temporary)
            closing = self._wire.launch([*last, *self._ending(upload, handle)])
            ahead()
            while writes:
                (reply,) = await self._wire.landed(writes[0])
                writes.popleft()
                self._room.release()
                refused = refused if reply == sftp.OK or refused != sftp.OK else reply
        except OperationRefused as refusal:
            self._wire.launch([sftp.part(handle)])
            await self._drop(upload.temporary)
            return refusal
        finally:
            for _ in writes:
                self._room.release()
        replies = await self._wire.landed(closing)
        if case is not None:
            (found,) = await self._wire.landed(case)
            self._folding.is_on = isinstance(found, Attributes)
        return await self._verified(upload, refused, replies, was_small=bool(last))

    async def _stream(self, upload: Upload, handle: bytes, writes: deque[Flight]) -> Reply:
        """Send the content of a big file; give the first refusal. What is left in ``writes`` is still in flight."""
        size = upload.size
        while size is None or upload.sent < size:
            # Whoever waits for room holds none: else all could wait, each for what the others hold.
            while writes and (len(writes) >= _AHEAD or not self._room.value):
                (reply,) = await self._wire.landed(writes[0])
                writes.popleft()
                self._room.release()
                if reply != sftp.OK:
                    return reply
            offset = upload.sent
            await self._room.acquire()
            writes.append(Flight([], 0))  # it holds its place, also when reading fails
            if not (piece := await self._piece(upload, PIECE if size is None else min(PIECE, size - offset))):
                writes.pop()
                self._room.release()
                break
            writes[-1] = self._wire.launch([sftp.write(handle, offset, piece)])
        return sftp.OK

    async def _small(self, upload: Upload, size: int) -> bytes:
        """Read all of a small file, and more when there is more: then it has grown."""
        data = b""
        while upload.sent < size and (piece := await self._piece(upload, _SMALL - upload.sent)):
            data += piece
        return data

    async def _piece(self, upload: Upload, limit: int) -> bytes:
        """Read on in the source. A local file is read in place: one hop to a thread would cost more than the read."""
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

    def _ask_case(self, temporary: str) -> Flight | None:
        """Ask for the temporary by another name, which is the same to a server that folds case."""
        if self._fault(other_case(temporary)):
            return None
        return self._wire.launch([sftp.lstat(self._at(other_case(temporary)))])

    def _ending(self, upload: Upload, handle: bytes) -> list[sftp.Request]:
        entry = upload.content.entry
        flush = [sftp.flush(handle)] if self._fsync and self._server.flushes else []
        return [
            sftp.fsetstat(handle, mtime=sftp.seconds(entry.mtime_ns), mode=entry.mode),
            *flush,
            sftp.close(handle),
            sftp.lstat(self._at(upload.temporary)),
        ]

    async def _verified(
        self, upload: Upload, refused: Reply, replies: Sequence[Reply], *, was_small: bool
    ) -> Staged | OperationRefused:
        """Judge an upload by what the server says of its temporary; a refused time or mode is no refusal."""
        size, (*rest, closed, found) = upload.due, replies
        if was_small:
            refused = rest.pop(0)
        flushed = rest[1] if len(rest) > 1 else sftp.OK
        for status, doing in ((refused, ""), (flushed, "to flush it to its disk"), (closed, "to close it")):
            if isinstance(status, Status) and not status.is_ok:
                stored = found.size if isinstance(found, Attributes) else None
                return await self._refused(upload, status, is_begun=True, stored=stored, doing=doing)
        if not (isinstance(found, Attributes) and found.size == size):
            (found,) = await self._wire.exchange([sftp.lstat(self._at(upload.temporary))])  # it may have been too early
        if isinstance(found, Attributes) and found.size == upload.sent == size:
            mtime_ns = None if found.mtime is None else found.mtime * 10**9
            self._trials.note_taken(parent_of(upload.temporary))
            return Staged(upload.path, upload.temporary, size, mtime_ns)
        if upload.sent != size:
            await self._drop(upload.temporary)
            return OperationRefused("it was changed while it was read", retry=True)
        stored = found.size if isinstance(found, Attributes) else None
        return await self._refused(upload, sftp.OK, is_begun=True, stored=stored)

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename all in one flight, and read back what the server then shows under the final names."""
        results: dict[int, Entry | OperationRefused] = {}
        renames: dict[int, ask.Rename] = {}
        for place, item in enumerate(staged):
            if why := self._fault(item.temporary) or self._fault(item.path):
                results[place] = OperationRefused(why)
            elif (taken := await self._claim(item.path)) is not None:
                await self._drop(item.temporary)
                results[place] = taken
            else:
                renames[place] = self._rename(item)
        if not renames:
            return [results[place] for place in range(len(staged))]
        outcomes = await self._wire.play(ask.commit(list(renames.values()), replaces=self._server.replaces))
        for place, outcome in zip(renames, outcomes, strict=True):
            path = staged[place].path
            if isinstance(outcome, OperationRefused):
                results[place] = await self._vague(outcome, path)
                continue
            entry = sftp.entry_of(path, outcome)
            results[place] = entry or OperationRefused("the server does not say what it has under its name")
        return [results[place] for place in range(len(staged))]

    async def _claim(self, path: str) -> OperationRefused | None:
        """See that a name is not another file's but for upper and lower case, where the server makes no difference."""
        directory = parent_of(path)
        if self._folding.lacks(directory):
            found = await self._wire.play(ask.list_directory(self._at(directory)))
            if isinstance(found, Status):
                return OperationRefused(f"whether another file has its name cannot be seen: {found}")
            self._folding.load(directory, [name for name, _ in found])
        return self._folding.claim(path)

    def _rename(self, item: Staged) -> ask.Rename:
        return ask.Rename(
            self._at(item.temporary),
            self._at(item.path),
            self._at(aside_of(item.temporary)),
            item.size,
            sftp.seconds(item.mtime_ns),
            self._at(trial_beside(item.temporary)),
        )
