"""Commits on an FTP server: one rename that replaces, or three where a server refuses to replace.

Some servers refuse to rename onto an existing file (IIS: 550, others: 553). There the old file is set aside first, and
removed when the new one has its name. The name aside is derived from the temporary's name, so the journal's entry for
the temporary is enough to find it.
"""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import frozen
from actorsync.endpoints.contract import Staged
from actorsync.endpoints.ftp.looks.probe import Prober, attempt_of
from actorsync.endpoints.ftp.looks.sizes import Sizes
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.model.text import display
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.flights import OutOfStep
from actorsync.protocols.ftp.replies import checked, format_time, parse_mdtm_time, size_of
from actorsync.protocols.ftp.wire import Reply, command_line
from actorsync.protocols.upload_diagnosis import Finding, judge

__all__ = ["RenameFlight", "Renamer"]


@frozen
class RenameFlight:
    """The flight that gives a staged file its final name, and reads back what the server then shows."""

    staged: Staged
    lines: list[bytes]
    asks_size: bool
    asks_temporary: bool


class _Unrenamed(OperationRefused):
    """The server accepted RNFR and refused RNTO. The temporary still exists."""

    def __init__(self, reply: Reply, *, is_taken: bool) -> None:
        super().__init__(str(_not_renamed(reply)))
        self.reply, self.is_taken = reply, is_taken


class _NotBegun(OperationRefused):
    """The server refused RNFR. The temporary is gone, or the account may not rename."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"its temporary is gone: {reply}", retry=True)
        self.reply = reply


class _Unproven(OperationRefused):
    """The server reports a rename as done, and does not show the size and time that the file should then have."""

    def __init__(self, entry: Entry, size: int | None, *, lacks_size: bool = False) -> None:
        shown = "nothing" if size is None else f"{size} bytes"
        super().__init__(f"after the rename the server reports {shown} for the final name")
        self.entry, self.size, self.lacks_size = entry, size, lacks_size


@frozen
class Renamer:
    """Renames staged files to their final names."""

    _connection: FtpConnection
    _spellings: FtpSpellings
    _prober: Prober
    _sizes: Sizes

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename, and read back size and time under the final name, in one flight for each file."""
        await self._connection.resync()
        results: list[Entry | OperationRefused] = []
        for item in staged:
            if why := self.fault(item):
                results.append(OperationRefused(why))
            elif (taken := await self._spellings.claim(item.path)) is not None:
                await self._connection.remove_temporaries([item.temporary])
                results.append(taken)
            else:
                flight = self.flight(item)
                await self._connection.control.send(flight.lines)
                results.append(await self.settle(item, await self.read(flight)))
        return results

    def fault(self, staged: Staged) -> str | None:
        """Return why one of the two paths cannot be used, or None."""
        return self._connection.fault(staged.temporary) or self._connection.fault(staged.path)

    def flight(self, staged: Staged) -> RenameFlight:
        """Build the flight for one file. Send its lines, then pass it to `read` and the result to `settle`."""
        temporary, final = self._connection.at(staged.temporary), self._connection.at(staged.path)
        lines = [
            command_line("RNFR", temporary),
            command_line("RNTO", final),
        ]
        asks_size = self._connection.known.has_size
        if asks_size:
            lines += [command_line("SIZE", final), command_line("MDTM", final)]
        # Without a time to compare, only the temporary shows whether it was renamed.
        asks_temporary = asks_size and (staged.mtime_ns is None or not self._connection.known.has_mdtm)
        if asks_temporary:
            lines.append(command_line("SIZE", temporary))
        return RenameFlight(staged, lines, asks_size, asks_temporary)

    async def read(self, flight: RenameFlight) -> Entry | OperationRefused:
        """Read the replies to a flight. The result may still be open, so that `settle` has to be called with it."""
        control, known = self._connection.control, self._connection.known
        staged, is_left = flight.staged, None
        rnfr = checked("RNFR", await control.reply())
        rnto = checked("RNTO", await control.reply())
        refusal = dialogues.rename_outcome(rnfr, rnto)
        if not flight.asks_size:
            return _renamed_unseen(staged, rnfr, rnto)
        size_reply = checked("SIZE", await control.reply())
        size, lacks_size = size_of(size_reply), known.commands.lacks("SIZE", size_reply)
        shown = checked("MDTM", await control.reply())
        if flight.asks_temporary:
            is_left = size_of(checked("SIZE", await control.reply())) is not None
        mtime_ns = _shown_time(shown)
        if known.commands.lacks("MDTM", shown):
            known.has_mdtm, mtime_ns = False, staged.mtime_ns
        wanted_ns = None if staged.mtime_ns is None else parse_mdtm_time(format_time(staged.mtime_ns))
        has_its_time = wanted_ns is not None and mtime_ns == wanted_ns and known.has_mdtm
        entry = Entry(staged.path, Kind.FILE, staged.size, mtime_ns, mode=staged.mode)
        if refusal is None:
            is_proven = size == staged.size and (has_its_time or is_left is False)
            return entry if is_proven else _Unproven(entry, size, lacks_size=lacks_size)
        if rnfr.is_refusal:
            # The temporary is gone: renamed before the connection was lost, or removed by another client.
            if size == staged.size and has_its_time:
                return entry
            return _NotBegun(rnfr)
        return _Unrenamed(rnto, is_taken=size is not None)

    async def settle(self, staged: Staged, result: Entry | OperationRefused) -> Entry | OperationRefused:
        """Finish a rename that is only half done or not proven, and remove what it left."""
        connection = self._connection
        if isinstance(result, _Unrenamed):
            await connection.control.play(dialogues.disarm_rename())
            if result.is_taken:
                result = await self._replace_in_steps(staged, result.reply)
            else:
                result = await self._explain(staged, result.reply)
            if isinstance(result, OperationRefused) and not result.retry:
                await connection.remove_temporaries([staged.temporary])
        elif isinstance(result, _NotBegun):
            (left,) = await connection.control.play(dialogues.sizes([connection.at(staged.temporary)]))
            if left is not None:
                await connection.remove_temporaries([staged.temporary])
                why = f"the server lets no file be renamed, which every upload needs ({result.reply})"
                return OperationRefused(f"{why}; allow RNFR and RNTO for this account", retry=result.reply.is_transient)
        elif isinstance(result, _Unproven) and result.lacks_size:
            return await self._look_at_renamed(staged, result)
        elif isinstance(result, _Unproven):
            (left,) = await connection.control.play(dialogues.sizes([connection.at(staged.temporary)]))
            if left is not None:
                await connection.remove_temporaries([staged.temporary])
                return OperationRefused("the server reported that it renamed the file, but did not")
            # The entry has the time that the server shows: it may have changed ours.
            result = result.entry if result.size == staged.size else OperationRefused(str(result), retry=True)
        if staged.temporary in connection.known.set_aside and isinstance(result, Entry):
            await connection.remove_temporaries([aside_of(staged.temporary)])
            connection.known.set_aside.discard(staged.temporary)
        return result

    async def _look_at_renamed(self, staged: Staged, result: _Unproven) -> Entry | OperationRefused:
        """Check a rename by a look at the final name, where there is no SIZE."""
        await self._sizes.confirm_missing(staged.path)
        size = await self._sizes.stored(staged.path, staged.size)
        if size == staged.size:
            return result.entry
        return OperationRefused(str(_Unproven(result.entry, size)), retry=True)

    async def _replace_in_steps(self, staged: Staged, reply: Reply) -> Entry | OperationRefused:
        """Set the old file aside, then rename. Put the old file back when the rename is refused."""
        aside, set_aside = aside_of(staged.temporary), self._connection.known.set_aside
        if self._connection.fault(aside):
            return _not_renamed(reply)
        set_aside.add(staged.temporary)  # shared, so that a repeat over a new connection knows of it as well
        if (refusal := await self._move(staged.path, aside)) is not None:
            set_aside.discard(staged.temporary)
            return OperationRefused(
                f"the server neither replaces the existing file nor renames it aside ({refusal}); "
                "check the write permissions there"
            )
        flight = self.flight(staged)
        await self._connection.control.send(flight.lines)
        result = await self.read(flight)
        if isinstance(result, Entry | _Unproven):
            return await self.settle(staged, result)
        if isinstance(result, _Unrenamed):
            await self._connection.control.play(dialogues.disarm_rename())
        if (refusal := await self._move(aside, staged.path)) is not None:
            why = f"the old file was set aside as {display(aside)!r} and could not be put back: {refusal}"
            return OperationRefused(why, retry=True)
        set_aside.discard(staged.temporary)
        return _not_renamed(result.reply) if isinstance(result, _Unrenamed) else result

    async def _move(self, path: str, to: str) -> Reply | None:
        """Rename one path. Returns None when it is done, or the refusal, with no RNFR left armed."""
        at, control = self._connection.at, self._connection.control
        lines = [command_line("RNFR", at(path)), command_line("RNTO", at(to))]
        rnfr, rnto = await control.play(dialogues.exchange([tuple(lines)]))
        refusal = dialogues.rename_outcome(rnfr, rnto)
        if refusal is not None and not rnfr.is_refusal:
            await control.play(dialogues.disarm_rename())
        return refusal

    async def _explain(self, staged: Staged, reply: Reply) -> OperationRefused:
        """Return why a final name was refused that no file has: a directory has it, or the server rejects the name."""
        connection = self._connection
        probe, probes = trial_beside(staged.temporary), connection.known.probes
        if await connection.is_directory(connection.at(staged.path)):
            return OperationRefused("a directory is in its place")
        if connection.fault(probe) or not probes.may_try():
            return _not_renamed(reply)
        if await self._move(staged.temporary, probe) is None:
            await connection.remove_temporaries([probe])
            return judge(attempt_of(staged.size, reply, is_begun=False), Finding.NAME)
        refused = attempt_of(staged.size, reply, is_begun=True)
        if await self._prober.probe(staged.temporary, refused) is Finding.FULL:
            probes.note(parent_of(staged.path), Finding.FULL, is_begun=True)
            return judge(refused, Finding.FULL)
        return _not_renamed(reply)


def _renamed_unseen(staged: Staged, rnfr: Reply, rnto: Reply) -> Entry | OperationRefused:
    """Return what a rename has come to as far as its own replies tell."""
    if rnfr.is_refusal:
        return OperationRefused(f"its temporary is gone: {rnfr}", retry=True)
    if rnto.is_refusal:
        return _Unrenamed(rnto, is_taken=True)  # perhaps: a server that does not replace must be asked in steps
    return _Unproven(Entry(staged.path, Kind.FILE, staged.size, staged.mtime_ns), None, lacks_size=True)


def _shown_time(reply: Reply) -> int | None:
    """Read the time from a checked reply to MDTM. A number that is no time shows that the replies are out of step."""
    text = reply.text.strip()
    mtime_ns = parse_mdtm_time(text) if reply.is_positive else None
    if reply.is_positive and mtime_ns is None and text.isdecimal():
        raise OutOfStep(f"answers out of step: MDTM was answered with a number that is no time: {reply}")
    return mtime_ns


def _not_renamed(reply: Reply) -> OperationRefused:
    return OperationRefused(f"the server refused the rename to the final name: {reply}")
