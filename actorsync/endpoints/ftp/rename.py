"""Giving files their names on an FTP server: a rename that replaces, or, where a server does not do that, three.

Where a server refuses to replace a file (IIS: 550, others: 553), the old one is set aside first, and removed when the
new one has its name. The name aside follows from the temporary's, so the journal knows it before the server does.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.ftp.connection import UNKNOWN
from actorsync.endpoints.ftp.probe import FtpTrials, attempt_of
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.errors import OperationRefused, ProtocolError
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.model.text import display
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.replies import checked, format_time, parse_mdtm_time, size_of
from actorsync.protocols.ftp.wire import Reply, command_line
from actorsync.protocols.upload_diagnosis import Finding, judge

__all__ = ["FtpRenames"]


class FtpRenames(FtpTrials):
    """Committing over an `FtpLink`."""

    def _fault_of(self, staged: Staged) -> str | None:
        return self._fault(staged.temporary) or self._fault(staged.path)

    def _rename(self, staged: Staged) -> _Rename:
        temporary, final = self._at(staged.temporary), self._at(staged.path)
        lines = [
            command_line("RNFR", temporary),
            command_line("RNTO", final),
            command_line("SIZE", final),
            command_line("MDTM", final),
        ]
        # Without a time to go by, only the temporary tells whether it was renamed.
        asks_temporary = staged.mtime_ns is None or not self._known.has_mdtm
        if asks_temporary:
            lines.append(command_line("SIZE", temporary))
        return _Rename(staged, lines, asks_temporary)

    async def _read_rename(self, rename: _Rename) -> Entry | OperationRefused:
        """Read what became of a rename, and what the server then shows under the final name."""
        staged, is_left = rename.staged, None
        rnfr = checked("RNFR", await self._control.reply())
        rnto = checked("RNTO", await self._control.reply())
        size = size_of(checked("SIZE", await self._control.reply()))
        shown = checked("MDTM", await self._control.reply())
        if rename.asks_temporary:
            is_left = size_of(checked("SIZE", await self._control.reply())) is not None
        mtime_ns = parse_mdtm_time(shown.text.strip()) if shown.is_positive else None
        if shown.is_positive and mtime_ns is None and shown.text.strip().isdecimal():
            raise ProtocolError(f"the server answers MDTM with what is no time, but may be a size: {shown}")
        if shown.code in UNKNOWN:
            self._known.has_mdtm, mtime_ns = False, staged.mtime_ns
        refusal = ask.rename_outcome(rnfr, rnto)
        wanted_ns = None if staged.mtime_ns is None else parse_mdtm_time(format_time(staged.mtime_ns))
        has_its_time = wanted_ns is not None and mtime_ns == wanted_ns and self._known.has_mdtm
        entry = Entry(staged.path, Kind.FILE, staged.size, mtime_ns)
        if refusal is None:
            is_proven = size == staged.size and (has_its_time or is_left is False)
            return entry if is_proven else _Doubtful(entry, size)
        if rnfr.is_refusal:
            # Its temporary is gone. Renamed before the connection was lost, or taken away by somebody?
            if size == staged.size and has_its_time:
                return entry
            return OperationRefused(f"its temporary is gone: {rnfr}", retry=True)
        return _Unrenamed(rnto, is_taken=size is not None)

    async def _settle_rename(self, staged: Staged, result: Entry | OperationRefused) -> Entry | OperationRefused:
        """After a rename that was half accepted, or only said to be done: find out, and clear up."""
        if isinstance(result, _Unrenamed):
            await self._control.play(ask.disarm_rename())
            result = (
                await self._swap(staged, result.reply) if result.is_taken else await self._name(staged, result.reply)
            )
            if isinstance(result, OperationRefused) and not result.retry:
                await self._drop([staged.temporary])
        elif isinstance(result, _Doubtful):
            (left,) = await self._control.play(ask.sizes([self._at(staged.temporary)]))
            if left is not None:
                await self._drop([staged.temporary])
                return OperationRefused("the server says that it renamed it, and has not")
            # With the time that the server made of ours.
            result = result.entry if result.size == staged.size else OperationRefused(str(result), retry=True)
        if staged.temporary in self._known.asides and isinstance(result, Entry):
            await self._drop([aside_of(staged.temporary)])
            self._known.asides.discard(staged.temporary)
        return result

    async def _swap(self, staged: Staged, reply: Reply) -> Entry | OperationRefused:
        """Replace a file in two steps: set the old one aside first, and put it back when the new one is refused."""
        aside, known = aside_of(staged.temporary), self._known
        if self._fault(aside):
            return _unnamed(reply)
        known.asides.add(staged.temporary)  # from here on, also for whoever does it again over a new connection
        if (refusal := await self._move(staged.path, aside)) is not None:
            known.asides.discard(staged.temporary)
            return OperationRefused(
                f"the server does not let it take the place of what is there, nor set that aside ({refusal}); "
                "see who may write there"
            )
        rename = self._rename(staged)
        await self._control.send(rename.lines)
        result = await self._read_rename(rename)
        if isinstance(result, Entry | _Doubtful):
            return await self._settle_rename(staged, result)
        if isinstance(result, _Unrenamed):
            await self._control.play(ask.disarm_rename())
        if (refusal := await self._move(aside, staged.path)) is not None:
            why = f"what it was to replace was set aside as {display(aside)!r}, and stays there: {refusal}"
            return OperationRefused(why, retry=True)
        known.asides.discard(staged.temporary)
        return _unnamed(result.reply) if isinstance(result, _Unrenamed) else result

    async def _move(self, path: str, to: str) -> Reply | None:
        """Rename one path; None when it was done, or the refusal, with nothing left armed."""
        lines = [command_line("RNFR", self._at(path)), command_line("RNTO", self._at(to))]
        rnfr, rnto = await self._control.play(ask.exchange([tuple(lines)]))
        refusal = ask.rename_outcome(rnfr, rnto)
        if refusal is not None and not rnfr.is_refusal:
            await self._control.play(ask.disarm_rename())
        return refusal

    async def _name(self, staged: Staged, reply: Reply) -> OperationRefused:
        """Say why a final name was refused that no file has: it is a directory's, or the server has no such names."""
        final, trial, trials = self._at(staged.path), trial_beside(staged.temporary), self._known.trials
        if await self._is_directory(final):
            return OperationRefused("a directory is in its place")
        if self._fault(trial) or not trials.may_try():
            return _unnamed(reply)
        if await self._move(staged.temporary, trial) is None:
            await self._drop([trial])
            return judge(attempt_of(staged.size, reply, is_begun=False), Finding.NAME)
        refused = attempt_of(staged.size, reply, is_begun=True)
        if await self._find(staged.temporary, refused) is Finding.FULL:
            trials.note(parent_of(staged.path), Finding.FULL, is_begun=True)
            return judge(refused, Finding.FULL)
        return _unnamed(reply)

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename, and read back size and time under the final name, in one flight for each file."""
        await self._get_in_step()
        results: list[Entry | OperationRefused] = []
        for item in staged:
            if why := self._fault_of(item):
                results.append(OperationRefused(why))
                continue
            if (taken := await self._claim(item.path)) is not None:
                await self._drop([item.temporary])
                results.append(taken)
                continue
            rename = self._rename(item)
            await self._control.send(rename.lines)
            results.append(await self._settle_rename(item, await self._read_rename(rename)))
        return results

    async def _claim(self, path: str) -> OperationRefused | None:
        """See that a name is not another file's but for upper and lower case, where the server makes no difference."""
        folding, directory = self._known.folding, parent_of(path)
        if folding.lacks(directory):
            names, refusal = await self._names(directory)
            if refusal is not None:
                return refusal
            folding.load(directory, names)
        return folding.claim(path)


@attrs.frozen
class _Rename:
    """The flight that gives a file its name."""

    staged: Staged
    lines: list[bytes]
    asks_temporary: bool


class _Unrenamed(OperationRefused):
    """The first half of a rename was accepted and the second refused: the temporary is still there."""

    def __init__(self, reply: Reply, *, is_taken: bool) -> None:
        super().__init__(str(_unnamed(reply)))
        self.reply, self.is_taken = reply, is_taken


class _Doubtful(OperationRefused):
    """The server says that it renamed, and does not show what it should then."""

    def __init__(self, entry: Entry, size: int | None) -> None:
        shown = "nothing" if size is None else f"{size} bytes"
        super().__init__(f"after its rename the server shows {shown} under its name")
        self.entry, self.size = entry, size


def _unnamed(reply: Reply) -> OperationRefused:
    return OperationRefused(f"the server does not give it its name: {reply}")
