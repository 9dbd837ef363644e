"""Finding out why an SFTP server does not take a file: by its room, and by a small file that is tried beside it."""

from __future__ import annotations

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.sftp.connection import SftpLink
from actorsync.endpoints.shared.paths import trial_beside
from actorsync.endpoints.shared.probe_cache import SMALL, small_content
from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Kind, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.sftp import packets as sftp
from actorsync.protocols.sftp.dialogues import Vague
from actorsync.protocols.sftp.packets import Attributes, Handle, Status
from actorsync.protocols.upload_diagnosis import Attempt, Finding, Hint, find, full, hint_of, judge

__all__ = ["SftpTrials"]

_DENIED = 3


class SftpTrials(SftpLink):
    """Uploads that were refused, over an `SftpLink`."""

    async def _refused(
        self, upload: Upload, status: Status, *, is_begun: bool, stored: int | None = None, doing: str = ""
    ) -> OperationRefused:
        """Say why an upload was refused, or came out short. Nothing of it is left behind."""
        said = f"{status} {doing}".rstrip()
        refused = _attempt(upload.due, status, is_begun=is_begun, stored=stored, said=said)
        trials, directory = self._trials, parent_of(upload.temporary)
        finding, why = trials.recall(directory, is_begun=is_begun), None
        if finding is None and trials.may_try():
            why = await self._told(self._at(directory), status, is_begun=is_begun)
            if why is None:
                finding = await self._find(upload.temporary, refused)
                trials.note(directory, finding, is_begun=is_begun)
            elif isinstance(why, TargetFull):
                trials.note(directory, Finding.FULL, is_begun=is_begun)
        if is_begun:  # else it is not there, or not ours
            await self._drop(upload.temporary)
        again = trials.stops_again(upload.path, refused.stored)
        return why or judge(refused, finding, again=again, only_dot=not oddness(name_of(upload.path)))

    async def _told(self, directory: str, status: Status, *, is_begun: bool) -> OperationRefused | None:
        """Ask what can be known without trying: the room on the disk, and what the directory is."""
        if await self._is_full(directory):
            return full("the server's disk is full" + ("" if status.is_ok else f" ({status})"))
        if is_begun:
            return None
        (found,) = await self._wire.exchange([sftp.stat_path(directory)])
        if isinstance(found, Status) and found.is_missing:
            return OperationRefused("its directory is not there")
        if isinstance(found, Attributes) and found.kind not in {Kind.DIRECTORY, None}:
            return OperationRefused("a file is where its directory should be")
        return None

    async def _is_full(self, path: str) -> bool:
        """Ask whether the disk that ``path`` is on is full; False when the server does not tell."""
        if not self._server.tells_room:
            return False
        (answer,) = await self._wire.exchange([sftp.file_system(path)])
        return sftp.has_room(answer) is False

    async def _vague(self, refusal: OperationRefused, path: str) -> OperationRefused:
        """Look whether what was refused without a reason, and without an upload, was refused for want of room."""
        if not isinstance(refusal, Vague) or not self._trials.may_try():
            return refusal
        directory = parent_of(path)
        if self._trials.is_full or await self._is_full(self._at(directory)):
            self._trials.note(directory, Finding.FULL, is_begun=False)
            return full(f"the server's disk is full ({refusal.status})")
        return refusal

    async def _find(self, temporary: str, refused: Attempt) -> Finding:
        """Try a small file while what was refused is still there."""
        path = trial_beside(temporary)
        trial = await self._try(self._at(path))
        await self._drop(path)
        finding = find(refused, trial)
        if finding is Finding.CLOSED and self._trials.note_closed(parent_of(temporary)):
            finding = find(refused, trial, nor_others=True)
        return finding

    async def _try(self, path: str) -> Attempt:
        (opened,) = await self._wire.exchange([sftp.open_new(path)])
        if not isinstance(opened, Handle):
            assert isinstance(opened, Status)
            return _attempt(SMALL, opened, is_begun=False)
        small = sftp.write(opened.handle, 0, small_content(path, SMALL))
        written, closed = await self._wire.exchange([small, sftp.close(opened.handle)])
        (found,) = await self._wire.exchange([sftp.lstat(path)])
        stored = found.size if isinstance(found, Attributes) else None
        status = written if written != sftp.OK else closed
        assert isinstance(status, Status)
        return _attempt(SMALL, status, is_begun=True, stored=stored)

    async def _drop(self, path: str) -> None:
        """Remove a temporary of this session's own making, whether it is there or not."""
        await self._wire.exchange([sftp.remove(self._at(path))])


def _attempt(
    size: int, status: Status, *, is_begun: bool, stored: int | None = None, said: str | None = None
) -> Attempt:
    hint: Hint = "denied" if status.code == _DENIED else hint_of(status.message)
    return Attempt(size, said or str(status), status.code, is_begun, status.is_ok, stored, hint=hint)
