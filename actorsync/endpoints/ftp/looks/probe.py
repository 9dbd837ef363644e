"""The probe after a refused upload: a small file, uploaded beside the refused one, that shows why it was refused.

A probe costs some round trips, and is sent only after a refusal. Its finding is believed for a few seconds, and the
number of probes in that time is limited: 10,000 refused files do not cost 10,000 probes.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import Upload
from actorsync.endpoints.ftp.looks.sizes import Sizes
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.own_content import OwnContent
from actorsync.endpoints.shared.paths import trial_beside
from actorsync.endpoints.shared.probe_cache import SMALL, small_content
from actorsync.errors import OperationRefused
from actorsync.model.entry import name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import Reply, command_line
from actorsync.protocols.upload_diagnosis import Attempt, Finding, Hint, find, hint_of, judge

__all__ = ["Prober", "attempt_of"]

_HINTS: Mapping[int, Hint] = {
    452: "no room",
    552: "no room",
    425: "cut off",
    426: "cut off",  # also pyftpdlib on a full disk
}


def attempt_of(size: int, reply: Reply, *, is_begun: bool, stored: int | None = None) -> Attempt:
    """Describe an upload of ``size`` bytes by the server's final reply to it."""
    hint = _HINTS.get(reply.code) or hint_of(" ".join(reply.lines))
    may_pass = reply.is_transient
    return Attempt(size, str(reply), reply.code, is_begun, reply.is_positive, stored, may_pass, hint)


@frozen
class Prober:
    """Finds out why the server refused an upload."""

    _connection: FtpConnection
    _sizes: Sizes

    async def explain(self, upload: Upload, reply: Reply, *, is_begun: bool, stored: int | None) -> OperationRefused:
        """Return why an upload was refused, or came out short. Removes its temporary."""
        refused = attempt_of(upload.due, reply, is_begun=is_begun, stored=stored)
        probes, directory = self._connection.known.probes, parent_of(upload.temporary)
        finding = probes.recall(directory, is_begun=is_begun)
        if finding is None and probes.may_try():
            refused, missing = await self._inspect(upload.temporary, refused)
            if missing is None:
                finding = await self.probe(upload.temporary, refused)
            if finding is not None and finding is not Finding.CUT:
                probes.note(directory, finding, is_begun=is_begun)
            if missing is not None:
                await self._connection.remove_temporaries([upload.temporary])
                return OperationRefused(missing)
        await self._connection.remove_temporaries([upload.temporary])
        again = probes.stops_again(upload.path, refused.stored)
        return judge(refused, finding, again=again, only_dot=not oddness(name_of(upload.path)))

    async def probe(self, temporary: str, refused: Attempt) -> Finding | None:
        """Upload a small file while the refused one still exists. Returns None when no probe is possible."""
        # Where the server accepted the upload and it came out short, the probe has one byte: a broken network can cut
        # any file but the smallest.
        size = 1 if refused.is_accepted else SMALL
        path = trial_beside(temporary)
        if self._connection.fault(path):
            return None
        try:
            probe = await self._upload(path, size)
        except OperationRefused:
            return None  # there is no data connection
        await self._connection.remove_temporaries([path])
        finding = find(refused, probe)
        if finding is Finding.CLOSED and self._connection.known.probes.note_closed(parent_of(temporary)):
            finding = find(refused, probe, nor_others=True)
        return finding

    async def _inspect(self, temporary: str, refused: Attempt) -> tuple[Attempt, str | None]:
        """Read back how many bytes were stored. For an upload that was refused at once, check its directory as well.

        Returns the attempt with ``stored``, and what is wrong with the directory, if anything.
        """
        connection = self._connection
        directory = connection.at(parent_of(temporary))
        (stored,) = await connection.control.play(dialogues.sizes([connection.at(temporary)]))
        missing = None
        if not refused.is_begun and not await connection.is_directory(directory):
            (size,) = await connection.control.play(dialogues.sizes([directory]))
            missing = "parent directory missing or inaccessible" if size is None else "its parent directory is a file"
        return attrs.evolve(refused, stored=stored), missing

    async def _upload(self, path: str, size: int) -> Attempt:
        """Upload a small file, and read back how many bytes were stored."""
        connection = self._connection
        data, _ = await connection.open_data()
        small = Upload(path, path, OwnContent(small_content(path, size)))
        await connection.control.send([command_line("STOR", connection.at(path))])

        async def speak() -> bool:
            is_sent = await data.send(small, size)
            await data.finish()
            return is_sent

        async def hear() -> Reply:
            return checked("STOR", await connection.control.reply())

        needs_150_first = connection.needs_150_first
        is_sent, reply = await data.converse(_wait_for_150 if needs_150_first else speak, hear)
        is_begun = reply.is_preliminary
        if is_begun and needs_150_first:
            is_sent = await speak()
        if is_begun:
            reply = checked("STOR", await connection.end_of_upload(data, is_sent=is_sent is True))
        connection.check_resumption(data, reply)
        connection.close_data()
        stored = await self._sizes.stored(path, size)
        return attempt_of(size, reply, is_begun=is_begun, stored=stored)

    async def check_storage(self, upload: Upload) -> OperationRefused | None:
        """After an upload that was never answered, find out whether the server can store anything at all.

        Returns a refusal of ``upload`` when the target is full.
        """
        path, probes = trial_beside(upload.temporary), self._connection.known.probes
        if self._connection.fault(path) or not probes.may_try():
            return None
        probe = await self._upload(path, SMALL)
        await self._connection.remove_temporaries([path])
        probes.is_suspected = False
        if probe.is_whole or not probe.is_begun:
            return None  # the upload of the file itself will tell more
        finding = find(probe, probe)
        if finding is Finding.FULL:
            probes.note(parent_of(path), finding, is_begun=True)
            return judge(probe, finding)
        return None


async def _wait_for_150() -> None:
    """Stand in for the sending side while the server has not yet said that it wants the data."""
    return
