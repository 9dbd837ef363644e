"""Diagnosis of refused uploads: the free space of the server's disk, and a small probe file next to the upload."""

from __future__ import annotations

from actorsync.endpoints.contract import Upload
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.paths import trial_beside
from actorsync.endpoints.shared.probe_cache import SMALL, small_content
from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Kind, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.dialogues import UnexplainedRefusal
from actorsync.protocols.sftp.replies import OK, Attributes, Handle, Status, has_room
from actorsync.protocols.upload_diagnosis import Attempt, Finding, Hint, find, full, hint_of, judge

__all__ = ["Prober"]

_PERMISSION_DENIED = 3


class Prober:
    """Finds out why the server refused an upload or a name."""

    def __init__(self, connection: SftpConnection) -> None:
        self._connection = connection
        self._requests = connection.requests
        self._probes = connection.knowledge.probes

    async def explain(
        self, upload: Upload, status: Status, *, is_begun: bool, stored: int | None = None, doing: str = ""
    ) -> OperationRefused:
        """Return the reason why an upload was refused or incomplete, and remove its temporary.

        ``is_begun`` says that the temporary was created, ``stored`` how many bytes of it the server has. ``doing`` adds
        to the status what was requested, such as "to close it".
        """
        refused = _attempt(upload.due, status, is_begun=is_begun, stored=stored, said=f"{status} {doing}".rstrip())
        directory = parent_of(upload.temporary)
        finding, why = self._probes.recall(directory, is_begun=is_begun), None
        if finding is None and self._probes.may_try():
            why = await self._explain_by_looking(directory, status, is_begun=is_begun)
            if why is None:
                finding = await self._find(upload.temporary, refused)
                self._probes.note(directory, finding, is_begun=is_begun)
            elif isinstance(why, TargetFull):
                self._probes.note(directory, Finding.FULL, is_begun=is_begun)
        if is_begun:  # otherwise it does not exist, or another program made it
            await self._connection.remove_file(upload.temporary)
        again = self._probes.stops_again(upload.path, refused.stored)
        return why or judge(refused, finding, again=again, only_dot=not oddness(name_of(upload.path)))

    async def explain_name(self, refusal: OperationRefused, path: str) -> OperationRefused:
        """Return the refusal of a new name or directory; a full disk if that is the reason the server did not give."""
        if not isinstance(refusal, UnexplainedRefusal) or not self._probes.may_try():
            return refusal
        directory = parent_of(path)
        if self._probes.is_full or await self._is_full(directory):
            self._probes.note(directory, Finding.FULL, is_begun=False)
            return full(f"the server's disk is full ({refusal.status})")
        return refusal

    async def _explain_by_looking(self, directory: str, status: Status, *, is_begun: bool) -> OperationRefused | None:
        """Return the reason that shows without a probe file: a full disk, or a directory that is missing or a file."""
        if await self._is_full(directory):
            return full("the server's disk is full" + ("" if status.is_ok else f" ({status})"))
        if is_begun:
            return None
        (found,) = await self._requests.exchange([sftp.stat_path(self._connection.absolute(directory))])
        if isinstance(found, Status) and found.is_missing:
            return OperationRefused("parent directory missing or inaccessible")
        if isinstance(found, Attributes) and found.kind not in {Kind.DIRECTORY, None}:
            return OperationRefused("a file is where its directory should be")
        return None

    async def _is_full(self, directory: str) -> bool:
        """Return whether the disk of a directory is full; False when the server does not report it."""
        if not self._connection.server.reports_room:
            return False
        (reply,) = await self._requests.exchange([sftp.file_system(self._connection.absolute(directory))])
        return has_room(reply) is False

    async def _find(self, temporary: str, refused: Attempt) -> Finding:
        """Upload a probe file while the refused temporary still exists, and conclude from both."""
        path = trial_beside(temporary)
        probe = await self._probe(self._connection.absolute(path))
        await self._connection.remove_file(path)
        finding = find(refused, probe)
        if finding is Finding.CLOSED and self._probes.note_closed(parent_of(temporary)):
            finding = find(refused, probe, nor_others=True)
        return finding

    async def _probe(self, place: str) -> Attempt:
        exclusive = self._requests.host.opens_exclusively
        opened = await self._connection.open_file(sftp.open_new(place, exclusive=exclusive))
        if not isinstance(opened, Handle):
            assert isinstance(opened, Status)
            return _attempt(SMALL, opened, is_begun=False)
        content = sftp.write(opened.handle, 0, small_content(place, SMALL))
        written, closed = await self._requests.exchange([content, sftp.close(opened.handle)])
        (found,) = await self._requests.exchange([sftp.lstat(place)])
        stored = found.size if isinstance(found, Attributes) else None
        status = written if written != OK else closed
        assert isinstance(status, Status)
        return _attempt(SMALL, status, is_begun=True, stored=stored)


def _attempt(
    size: int, status: Status, *, is_begun: bool, stored: int | None = None, said: str | None = None
) -> Attempt:
    hint: Hint = "denied" if status.code == _PERMISSION_DENIED else hint_of(status.message)
    return Attempt(size, said or str(status), status.code, is_begun, status.is_ok, stored, hint=hint)
