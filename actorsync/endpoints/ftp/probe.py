"""Finding out why an FTP server does not take a file, by trying a small one beside it.

It costs some round trips, and only where something was refused. What was found is believed for a few seconds, and
there is a limit to how much is tried in that time: 10,000 refused files do not cost 10,000 trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from actorsync.endpoints.contract import Content, Upload
from actorsync.endpoints.ftp.connection import FtpLink
from actorsync.endpoints.ftp.data import Data
from actorsync.endpoints.shared.paths import trial_beside
from actorsync.endpoints.shared.probe_cache import SMALL, small_content
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, name_of, parent_of
from actorsync.planning.temporary_names import oddness
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import Reply, command_line
from actorsync.protocols.upload_diagnosis import Attempt, Finding, Hint, find, hint_of, judge

__all__ = ["FtpTrials", "attempt_of"]

_HINTS: Mapping[int, Hint] = {
    452: "no room",
    552: "no room",
    425: "cut off",
    426: "cut off",  # also pyftpdlib on a full disk
}


def attempt_of(size: int, reply: Reply, *, is_begun: bool, stored: int | None = None) -> Attempt:
    """Describe an upload of ``size`` bytes by the server's last word on it."""
    hint = _HINTS.get(reply.code) or hint_of(" ".join(reply.lines))
    may_pass = reply.is_transient
    return Attempt(size, str(reply), reply.code, is_begun, reply.is_positive, stored, may_pass, hint)


@attrs.define(eq=False)
class _Small(Content):
    """The content of the small file."""

    data: bytes

    @property
    def entry(self) -> Entry:
        return Entry("", Kind.FILE, len(self.data))

    def fileno(self) -> None:
        return None

    async def read(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        piece, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return piece

    async def is_unchanged(self) -> bool:
        await trio.lowlevel.checkpoint()
        return True


class FtpTrials(FtpLink):
    """Uploads that were refused, over an `FtpLink`."""

    async def _refused(self, upload: Upload, reply: Reply, *, is_begun: bool, stored: int | None) -> OperationRefused:
        """Say why an upload was refused, or came out short. Nothing of it is left behind."""
        refused = attempt_of(upload.due, reply, is_begun=is_begun, stored=stored)
        trials, directory = self._known.trials, parent_of(upload.temporary)
        finding = trials.recall(directory, is_begun=is_begun)
        if finding is None and trials.may_try():
            refused, missing = await self._look(upload.temporary, refused)
            if missing is None:
                finding = await self._find(upload.temporary, refused)
            if finding is not None and finding is not Finding.CUT:
                trials.note(directory, finding, is_begun=is_begun)
            if missing is not None:
                await self._drop([upload.temporary])
                return OperationRefused(missing)
        await self._drop([upload.temporary])
        again = trials.stops_again(upload.path, refused.stored)
        return judge(refused, finding, again=again, only_dot=not oddness(name_of(upload.path)))

    async def _find(self, temporary: str, refused: Attempt) -> Finding | None:
        """Try a small file while what was refused is still there; None when nothing can be tried."""
        # One that the server said to have taken came out short: a network can do that to any file but the smallest.
        size = 1 if refused.is_accepted else SMALL
        path = trial_beside(temporary)
        if self._fault(path):
            return None
        try:
            trial = await self._try(path, size)
        except OperationRefused:
            return None  # there is no data connection
        await self._drop([path])
        finding = find(refused, trial)
        if finding is Finding.CLOSED and self._known.trials.note_closed(parent_of(temporary)):
            finding = find(refused, trial, nor_others=True)
        return finding

    async def _look(self, temporary: str, refused: Attempt) -> tuple[Attempt, str | None]:
        """See how far the upload came; and, when it was refused at once, whether its directory is one that is there."""
        directory = self._at(parent_of(temporary))
        (stored,) = await self._control.play(ask.sizes([self._at(temporary)]))
        missing = None
        if not refused.is_begun and not await self._is_directory(directory):
            (size,) = await self._control.play(ask.sizes([directory]))
            missing = (
                "its directory is not there, or closed" if size is None else "a file is where its directory should be"
            )
        return attrs.evolve(refused, stored=stored), missing

    async def _try(self, path: str, size: int) -> Attempt:
        """Upload a small file, and look what became of it."""
        data, _ = await self._open_data()
        small = Upload(path, path, _Small(small_content(path, size)))
        await self._control.send([command_line("STOR", self._at(path))])

        async def speak() -> bool:
            taken = await data.send(small, size)
            await data.finish()
            return taken

        async def hear() -> Reply:
            return checked("STOR", await self._control.reply())

        async def wait() -> None:
            return None

        taken, reply = await data.converse(wait if self._known.waits_for_word else speak, hear)
        is_begun = reply.is_preliminary
        if is_begun and self._known.waits_for_word:
            taken = await speak()
        if is_begun:
            reply = checked("STOR", await self._stored(data, patient=taken is True))
        self._believe(data, reply)
        self.let_go()
        (stored,) = await self._control.play(ask.sizes([self._at(path)]))
        return attempt_of(size, reply, is_begun=is_begun, stored=stored)

    async def _clear_suspicion(self, upload: Upload) -> OperationRefused | None:
        """After an upload that was never answered, see first whether the server can store anything at all."""
        path, trials = trial_beside(upload.temporary), self._known.trials
        if self._fault(path) or not trials.may_try():
            return None
        trial = await self._try(path, SMALL)
        await self._drop([path])
        trials.is_suspected = False
        if trial.is_whole or not trial.is_begun:
            return None  # the file's own fate will tell more
        finding = find(trial, trial)
        if finding is Finding.FULL:
            trials.note(parent_of(path), finding, is_begun=True)
            return judge(trial, finding)
        return None

    async def _stored(self, data: Data, *, patient: bool) -> Reply:
        """Wait for the reply that ends a transfer for as long as the kernel's buffer still empties."""
        if not patient:
            return await self._control.reply(self._control.patience.last_words)
        unsent, stall = data.unsent(), self._control.patience.stall
        while True:
            if (reply := await self._control.reply_within(stall)) is not None:
                return reply
            before, unsent = unsent, data.unsent()
            if not unsent or unsent >= before:
                self._known.trials.is_suspected = True  # pyftpdlib, on a full disk
                # Or it is pyftpdlib whose data came before the STOR, which took another way and was late: it then
                # drops the data connection, and waits for another. From now on, it is asked first.
                self._known.waits_for_word = True
                raise ConnectionLost("the server does not say whether it has the file")

    async def _drop(self, paths: Sequence[str]) -> None:
        """Remove temporaries of this session's own making, whether they are there or not."""
        await self._each([path for path in paths if not self._fault(path)], ask.remove_files)
