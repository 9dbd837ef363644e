"""FTP under the contract, in as few round trips as the protocol allows.

A small file costs three (see ``docs/design.md``). What belongs to file *i* rides with file *i+1*:

1. after the ``226`` of *i*: ``EPSV`` (for *i+1*), ``SIZE tmp_i``, ``MFMT time tmp_i`` in one write;
2. the data connection of *i+1*, while the answer to ``SIZE`` decides whether *i* is whole;
3. ``RNFR tmp_i``, ``RNTO final_i``, ``SIZE`` and ``MDTM final_i``, ``STOR tmp_i+1`` in one write, and the data behind
   it at once, without waiting for the ``150``.

Nothing is ever sent on the control connection during a transfer: ProFTPD answers 450, Pure-FTPd 500, and pyftpdlib
drops the transfer. Only a server that is known to read strictly one command after the other gets its flight early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from actorsync.endpoints.contract import Staged, Upload, nothing_ahead
from actorsync.endpoints.ftp.connection import UNKNOWN
from actorsync.endpoints.ftp.data import Data
from actorsync.endpoints.ftp.probe import attempt_of
from actorsync.endpoints.ftp.rename import FtpRenames
from actorsync.endpoints.shared.case_folding import other_case
from actorsync.endpoints.shared.symlink_guard import astray
from actorsync.errors import FatalError, OperationRefused
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary_names import oddness, signature
from actorsync.protocols.ftp.replies import (
    TimeSetter,
    checked,
    format_time,
    parse_mdtm_time,
    set_time_line,
    size_of,
    was_time_set,
)
from actorsync.protocols.ftp.wire import Reply, command_line
from actorsync.protocols.upload_diagnosis import judge

__all__ = ["FtpUploads", "misnamed"]

#: Sent before the server has said that it wants the file: fits any socket buffer, so that it cannot block. Small files
#: are whole within it; of big ones this much is lost when the server refuses.
_BLIND = 64 * 1024
#: More than any content has, where only its end tells how much that is.
_ALL = 1 << 63


class FtpUploads(FtpRenames):
    """Staging, beside the renames."""

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Upload to the temporary, with one earlier commit in the same flight; verify by SIZE, set the time."""
        await self._get_in_step()
        committed: list[Entry | OperationRefused] = []
        riding = commit[0] if len(commit) == 1 and not self._fault_of(commit[0]) else None
        if riding is not None and self._known.folding.is_on:
            riding = None  # names have to be looked at first
        if riding is None and commit:
            committed = await self.commit(commit)
        if refusal := await self._prepare(upload):
            if riding is not None:
                committed = await self.commit([riding])
            return refusal, committed
        return await self._upload(upload, riding, ahead, committed), committed

    async def _prepare(self, upload: Upload) -> OperationRefused | None:
        if why := self._fault(upload.path) or self._fault(upload.temporary):
            return OperationRefused(why)
        try:
            if self._known.trials.is_suspected and (full := await self._clear_suspicion(upload)):
                return full
            directories = self._known.straight.unknown([parent_of(upload.temporary)])
            _, replies = await self._open_data(self._ask_whereabouts(directories))
            if links := await self._judge_whereabouts(directories, replies):
                self.let_go()
                return astray(*links.values())
            if self._data is None:  # a closer look has taken its place
                await self._open_data()
        except OperationRefused as refused:
            return refused
        return None

    async def _upload(
        self,
        upload: Upload,
        riding: Staged | None,
        ahead: Callable[[], bool],
        committed: list[Entry | OperationRefused],
    ) -> Staged | OperationRefused:
        """Send one file to its temporary. What became of ``riding`` is added to ``committed`` once it is known."""
        control, data = self._control, self._data
        assert data is not None
        rename = self._rename(riding) if riding is not None else None
        await control.send([*(rename.lines if rename else ()), command_line("STOR", self._at(upload.temporary))])

        async def hear() -> Reply:
            if rename is not None:
                committed.append(await self._read_rename(rename))
            return checked("STOR", await control.reply())

        begun, reply = await data.converse(lambda: self._begin(data, upload, ahead), hear)
        taken, afterwards = begun or (False, None)
        is_begun = reply.is_preliminary
        if is_begun:
            if afterwards is None and taken is True:
                taken = await self._push(data, upload, _ALL if upload.size is None else upload.size)
                if taken is True:
                    afterwards = await self._finish(data, upload, ahead)
            reply = checked("STOR", await self._stored(data, patient=taken is True))
        self._believe(data, reply)
        self.let_go()
        if afterwards is not None:
            if not afterwards.is_sent:
                await control.send(afterwards.lines)
            await self._read_afterwards(afterwards)
        if riding is not None:
            committed[-1] = await self._settle_rename(riding, committed[-1])
        if isinstance(taken, OperationRefused):
            await self._drop([upload.temporary])
            return taken
        return await self._judged(upload, afterwards, reply, is_begun=is_begun)

    async def _judged(
        self, upload: Upload, afterwards: _Afterwards | None, reply: Reply, *, is_begun: bool
    ) -> Staged | OperationRefused:
        """Judge an upload that the server has answered with ``reply``. What is refused leaves nothing behind."""
        size, stored = upload.due, None if afterwards is None else afterwards.size
        is_whole = reply.is_positive and stored == upload.sent == size
        if reply.is_positive and (is_whole or _is_lost(afterwards)) and (misnamed := await self._check_name(upload)):
            await self._drop([upload.temporary])
            return misnamed
        if is_whole:
            self._known.trials.note_taken(parent_of(upload.temporary))
            return _as_staged(upload, afterwards)
        if upload.sent != size and reply.is_positive and afterwards is not None:  # so it was the source that ended
            await self._drop([upload.temporary])
            return judge(attempt_of(size, reply, is_begun=is_begun, stored=stored), None)
        return await self._refused(upload, reply, is_begun=is_begun, stored=stored)

    async def _begin(
        self, data: Data, upload: Upload, ahead: Callable[[], bool]
    ) -> tuple[bool | OperationRefused, _Afterwards | None]:
        """Send what goes out before the server has said that it wants the file: all of it, if it is small."""
        if self._known.waits_for_word:
            return True, None
        size = upload.size
        taken = await self._push(data, upload, _BLIND if size is None else min(size, _BLIND))
        # Content of unknown size that fills it exactly has its end, or more, behind it.
        is_whole = taken is True and (upload.sent < _BLIND if size is None else size <= _BLIND)
        return taken, await self._finish(data, upload, ahead) if is_whole else None

    async def _push(self, data: Data, upload: Upload, limit: int) -> bool | OperationRefused:
        """Send up to byte ``limit``. False: the server takes no more. A refusal: the source gives no more."""
        try:
            return await data.send(upload, limit)
        except OperationRefused as refused:
            # Properly ended even so: under TLS 1.2 a server forgets the session of a connection that is just dropped.
            await data.finish()
            self.let_go()
            return refused

    async def _finish(self, data: Data, upload: Upload, ahead: Callable[[], bool]) -> _Afterwards:
        """End the transfer, and prepare what is asked when it is over."""
        await data.finish()
        temporary, mtime_ns, setter = self._at(upload.temporary), upload.content.entry.mtime_ns, self._known.setter
        asks_port = ahead() and not self._known.uses_pasv
        afterwards = _Afterwards([command_line("SIZE", temporary)], asks_port)
        if asks_port:
            afterwards.lines.insert(0, command_line("EPSV"))
        if mtime_ns is not None and setter is not None and setter is not TimeSetter.NONE:
            afterwards.wanted_ns, afterwards.setter = mtime_ns, setter
            afterwards.lines.append(set_time_line(setter, temporary, mtime_ns))
        if self._known.folding.is_on is None and not self._fault(other_case(upload.temporary)):
            afterwards.asks_case = True
            afterwards.lines.append(command_line("SIZE", self._at(other_case(upload.temporary))))
        if self._known.is_sequential:
            afterwards.is_sent = True
            await self._control.send(afterwards.lines)
        return afterwards

    async def _read_afterwards(self, afterwards: _Afterwards) -> None:
        if afterwards.asks_port:
            self._port = self._read_port(await self._control.reply())
        size = checked("SIZE", await self._control.reply())
        if size.code in UNKNOWN:
            raise FatalError(f"the server has no SIZE command, so no upload can be verified: {size}")
        afterwards.size = size_of(size)
        if afterwards.wanted_ns is not None:
            setter = afterwards.setter  # `known` may say otherwise by now: it is shared
            reply = checked(setter.value, await self._control.reply())
            if was_time_set(reply):
                afterwards.mtime_ns = parse_mdtm_time(format_time(afterwards.wanted_ns))
            elif (setter is TimeSetter.MDTM and afterwards.size is not None) or reply.code in UNKNOWN:
                self._known.setter = TimeSetter.NONE  # it only looked as if it could
        if afterwards.asks_case:
            found = size_of(checked("SIZE", await self._control.reply()))
            if afterwards.size is not None:
                self._known.folding.is_on = found is not None

    async def _check_name(self, upload: Upload) -> OperationRefused | None:
        """See that the server stores an odd name as it is: the temporary is odd in the same way."""
        traits = oddness(name_of(upload.path))
        if traits <= self._known.stores:
            return None
        directory, name = parent_of(upload.temporary), name_of(upload.temporary)
        names, refusal = await self._names(directory)
        if name in names:
            self._known.stores |= traits
            return None
        # What it became may not answer to its name (Pure-FTPd: one with a space at its end), but has our random mark.
        mark = signature(name)
        disguised = [join(directory, found) for found in names if mark and mark in found]
        await self._drop(disguised)
        return refusal or misnamed(traits)


@attrs.define
class _Afterwards:
    """The flight behind an upload, and what it brought."""

    lines: list[bytes]
    asks_port: bool
    is_sent: bool = False
    asks_case: bool = False
    wanted_ns: int | None = None
    setter: TimeSetter = TimeSetter.NONE
    size: int | None = None
    mtime_ns: int | None = None


def _is_lost(afterwards: _Afterwards | None) -> bool:
    """Whether the server took a file and does not find it: it may have stored it under another name."""
    return afterwards is not None and afterwards.size is None


def _as_staged(upload: Upload, afterwards: _Afterwards | None) -> Staged:
    assert afterwards is not None
    return Staged(upload.path, upload.temporary, upload.due, afterwards.mtime_ns)


def misnamed(traits: frozenset[str]) -> OperationRefused:
    """Say that the server does not keep a name with these traits."""
    return OperationRefused(f"the server stores this name differently (it holds: {display(', '.join(sorted(traits)))})")
