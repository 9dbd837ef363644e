"""Uploads over FTP, in as few round trips as the protocol allows.

A small file costs three (see ``docs/design.md``). The commands that finish file *i* share flights with file *i+1*:

1. after the ``226`` of *i*: ``EPSV`` (for *i+1*), ``SIZE tmp_i``, ``MFMT time tmp_i`` in one write;
2. the data connection of *i+1*, while the answer to ``SIZE`` decides whether *i* is whole;
3. ``RNFR tmp_i``, ``RNTO final_i``, ``SIZE`` and ``MDTM final_i``, ``STOR tmp_i+1`` in one write, and the data behind
   it at once, without waiting for the ``150``.

Nothing is sent on the control connection during a transfer: ProFTPD answers 450, Pure-FTPd 500, and pyftpdlib drops the
transfer. Only a server that is known to read strictly one command after the other (vsftpd) gets its flight early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Staged, Upload, nothing_ahead
from actorsync.endpoints.ftp.looks.listing import Lister, stored_differently
from actorsync.endpoints.ftp.looks.names import NameCheck
from actorsync.endpoints.ftp.looks.probe import Prober, attempt_of
from actorsync.endpoints.ftp.looks.sizes import Sizes
from actorsync.endpoints.ftp.looks.spelling import FtpSpellings
from actorsync.endpoints.ftp.looks.symlinks import SymlinkFinder
from actorsync.endpoints.ftp.modes import ModeSetter
from actorsync.endpoints.ftp.rename import Renamer
from actorsync.endpoints.ftp.resume import Resumer
from actorsync.endpoints.ftp.wire.connection import UNKNOWN, FtpConnection
from actorsync.endpoints.ftp.wire.data import DataConnection
from actorsync.endpoints.shared.seam import refused_to_continue
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.planning.temporary_names import oddness, signature
from actorsync.protocols.ftp.flights import Flight
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

__all__ = ["Uploader"]

#: Bytes sent before the server has said that it wants the file. Few enough for any socket buffer, so that sending them
#: cannot block. A small file fits as a whole; of a big one this much is sent in vain when the server refuses.
_SENT_BLIND = 64 * 1024
#: More than any content has, for content whose size only its end shows.
_ALL = 1 << 63


@define
class _FollowUp:
    """The flight behind an upload, and what its replies say."""

    temporary: str
    lines: list[bytes]
    asks_port: bool
    asks_size: bool
    is_sent: bool = False
    other_spellings: list[str] = attrs.Factory(list)
    wanted_ns: int | None = None
    time_setter: TimeSetter = TimeSetter.NONE
    size: int | None = None
    mtime_ns: int | None = None
    asks_mode: bool = False
    mode: int | None = None

    @property
    def kind(self) -> Flight:
        return Flight.PORT if self.asks_port else Flight.BURST


@frozen
class Uploader:
    """Uploads files to temporaries, with the commit of an earlier one in the same flight."""

    _connection: FtpConnection
    _lister: Lister
    _symlinks: SymlinkFinder
    _prober: Prober
    _renamer: Renamer
    _sizes: Sizes
    _modes: ModeSetter
    _spellings: FtpSpellings
    _resumer: Resumer

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Upload to the temporary, verify it by SIZE, and set its time. The contract is `Session.stage`."""
        await self._connection.resync()
        committed: list[Entry | OperationRefused] = []
        riding = self._choose_rider(commit, is_continued=upload.start > 0)
        if riding is None and commit:
            committed = await self._renamer.commit(commit)
        if refusal := await self._prepare(upload):
            if riding is not None:
                committed = await self._renamer.commit([riding])
            return refusal, committed
        return await self._upload(upload, riding, ahead, committed), committed

    def _choose_rider(self, commit: Sequence[Staged], *, is_continued: bool) -> Staged | None:
        """Return the commit that shares the flight of the STOR, or None when they are to be made before.

        Nothing may be between REST and STOR.
        """
        if len(commit) != 1 or is_continued or self._renamer.fault(commit[0]):
            return None
        # A server that folds case needs a listing before each commit. In lock step, some servers read nothing between
        # EPSV and the transfer, so the rename goes before.
        known = self._connection.known
        return None if known.case_folding.is_on or not known.flights.allows(Flight.STORE) else commit[0]

    async def _prepare(self, upload: Upload) -> OperationRefused | None:
        """Check the paths and open the data connection. Returns a refusal when the upload cannot begin."""
        connection = self._connection
        if why := connection.fault(upload.path) or connection.fault(upload.temporary):
            return OperationRefused(why)
        if upload.keeps_mode:
            await self._modes.take_over(upload)
        try:
            if connection.known.probes.is_suspected and (full := await self._prober.check_storage(upload)):
                return full
            directories = self._symlinks.unknown([parent_of(upload.temporary)])
            _, replies = await connection.open_data(self._symlinks.lines(directories))
            if links := await self._symlinks.read(directories, replies):
                connection.close_data()
                return next(iter(links.values()))
            if connection.data is None:  # a listing has used it up
                await connection.open_data()
            if upload.start and (refusal := await self._resumer.begin(upload)):
                connection.close_data()
                await connection.remove_temporaries([upload.temporary])
                return refusal
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
        """Send one file to its temporary. The result of ``riding`` is added to ``committed`` as soon as it is known."""
        connection, control, data = self._connection, self._connection.control, self._connection.data
        assert data is not None
        upload.unconfirmed, upload.sent = data.unsent, upload.start
        rename = self._renamer.flight(riding) if riding is not None else None
        stor = command_line("STOR", connection.at(upload.temporary))
        flight = [*(rename.lines if rename else ()), stor]
        goes_blind = not connection.needs_150_first and control.goes_as_one(flight, Flight.STORE) and not upload.start
        await control.send(flight, Flight.STORE)

        async def hear() -> Reply:
            if rename is not None:
                committed.append(await self._renamer.read(rename))
            return checked("STOR", await control.reply())

        begun, reply = await data.converse(lambda: self._begin(data, upload, ahead, goes_blind=goes_blind), hear)
        sent, follow_up = begun or (False, None)
        is_begun = reply.is_preliminary
        if is_begun:
            if follow_up is None and sent is True:
                sent, follow_up = await self._send_rest(data, upload, ahead)
            reply = checked("STOR", await connection.end_of_upload(data, is_sent=sent is True))
        connection.check_resumption(data, reply)
        connection.close_data()
        if follow_up is not None:
            await self._play_follow_up(follow_up, upload)
        if riding is not None:
            committed[-1] = await self._renamer.settle(riding, committed[-1])
        if isinstance(sent, OperationRefused):
            await connection.remove_temporaries([upload.temporary])
            return sent
        return await self._judge(upload, follow_up, reply, is_begun=is_begun)

    async def _judge(
        self, upload: Upload, follow_up: _FollowUp | None, reply: Reply, *, is_begun: bool
    ) -> Staged | OperationRefused:
        """Judge an upload that the server has answered with ``reply``. A refused upload leaves nothing behind."""
        size, stored = upload.due, None if follow_up is None else follow_up.size
        if reply.is_positive and follow_up is not None:
            if stored is None:
                stored = await self._sizes.stored_in_spite(upload.temporary, size)
            is_whole = stored == upload.sent == size
            # With no size, the server may have stored the file under another name.
            if (is_whole or stored is None) and (renamed := await self._check_name(upload, is_stored=is_whole)):
                await self._connection.remove_temporaries([upload.temporary])
                return renamed
            if is_whole and upload.start and (damaged := await self._resumer.refusal(upload)):
                await self._connection.remove_temporaries([upload.temporary])
                return damaged
            if is_whole:
                if not self._connection.known.has_size:
                    await self._spellings.learn(upload.temporary)
                self._connection.known.probes.note_taken(parent_of(upload.temporary))
                return Staged(upload.path, upload.temporary, size, follow_up.mtime_ns, follow_up.mode)
            if upload.sent != size:  # the source ended early, or has grown
                await self._connection.remove_temporaries([upload.temporary])
                return judge(attempt_of(size, reply, is_begun=is_begun, stored=stored), None)
        if upload.start and not is_begun:
            self._resumer.deny()
            await self._connection.remove_temporaries([upload.temporary])
            return refused_to_continue(str(reply))
        if upload.keeps_part and is_begun:
            await self._resumer.keep_part(upload, attempt_of(size, reply, is_begun=True, stored=stored))
        return await self._prober.explain(upload, reply, is_begun=is_begun, stored=stored)

    async def _begin(
        self, data: DataConnection, upload: Upload, ahead: Callable[[], bool], *, goes_blind: bool
    ) -> tuple[bool | OperationRefused, _FollowUp | None]:
        """Send what goes out before the server has said that it wants the file: a small file as a whole.

        Returns what `_send` returns, and the follow-up when all of the file was sent.
        """
        if not goes_blind:
            return True, None
        size = upload.size
        sent = await self._send(data, upload, _SENT_BLIND if size is None else min(size, _SENT_BLIND))
        # Content of unknown size that fills the limit exactly may have more behind it.
        is_whole = sent is True and (upload.sent < _SENT_BLIND if size is None else size <= _SENT_BLIND)
        return sent, await self._finish(data, upload, ahead) if is_whole else None

    async def _send_rest(
        self, data: DataConnection, upload: Upload, ahead: Callable[[], bool]
    ) -> tuple[bool | OperationRefused, _FollowUp | None]:
        """Send what `_begin` has left, and return the same."""
        sent = await self._send(data, upload, _ALL if upload.size is None else upload.size)
        return sent, await self._finish(data, upload, ahead) if sent is True else None

    async def _send(self, data: DataConnection, upload: Upload, limit: int) -> bool | OperationRefused:
        """Send up to byte ``limit``. False: the server accepts no more. A refusal: the source provides no more."""
        try:
            return await data.send(upload, limit)
        except OperationRefused as refused:
            # Ended properly all the same: under TLS 1.2 a server forgets the session of a connection that is dropped.
            await data.finish()
            self._connection.close_data()
            return refused

    # The flight behind an upload.

    async def _finish(self, data: DataConnection, upload: Upload, ahead: Callable[[], bool]) -> _FollowUp:
        """End the transfer, and build the flight that follows it."""
        await data.finish()
        follow_up = self._build_follow_up(upload, asks_port=ahead() and self._connection.asks_port_ahead)
        if self._connection.known.is_sequential:
            follow_up.is_sent = True
            await self._connection.control.send(follow_up.lines, follow_up.kind)
        return follow_up

    def _build_follow_up(self, upload: Upload, *, asks_port: bool) -> _FollowUp:
        connection, known = self._connection, self._connection.known
        temporary, mtime_ns, time_setter = (
            connection.at(upload.temporary),
            upload.content.entry.mtime_ns,
            known.time_setter,
        )
        port = [command_line("EPSV")] if asks_port else []
        follow_up = _FollowUp(upload.temporary, port, asks_port, known.has_size)
        if follow_up.asks_size:
            follow_up.lines.append(command_line("SIZE", temporary))
        if mtime_ns is not None and time_setter is not None and time_setter is not TimeSetter.NONE:
            follow_up.wanted_ns, follow_up.time_setter = mtime_ns, time_setter
            follow_up.lines.append(set_time_line(time_setter, temporary, mtime_ns))
        others = known.case_folding.to_ask(upload.temporary) if follow_up.asks_size else []
        follow_up.other_spellings = [other for other in others if not connection.fault(other)]
        follow_up.lines += [command_line("SIZE", connection.at(other)) for other in follow_up.other_spellings]
        if (line := self._modes.line(upload)) is not None:
            follow_up.asks_mode = True
            follow_up.lines.append(line)
        return follow_up

    async def _play_follow_up(self, follow_up: _FollowUp, upload: Upload) -> None:
        """Send the flight, where that was not done early, and read its replies."""
        control, known = self._connection.control, self._connection.known
        if not follow_up.is_sent:
            await control.send(follow_up.lines, follow_up.kind)
        if follow_up.asks_port:
            self._connection.keep_port(await control.reply())
        size = checked("SIZE", await control.reply()) if follow_up.asks_size else None
        lacks_size = size is None or known.commands.lacks("SIZE", size)
        if size is not None:
            follow_up.size = size_of(size)
        if follow_up.wanted_ns is not None:
            self._read_time(follow_up, checked(follow_up.time_setter.value, await control.reply()), follow_up.wanted_ns)
        for other in follow_up.other_spellings:
            found = size_of(checked("SIZE", await control.reply()))
            if follow_up.size is not None:
                known.case_folding.learn(follow_up.temporary, other, is_found=found is not None)
        if follow_up.asks_mode and upload.mode is not None:
            follow_up.mode = self._modes.read(upload.path, upload.mode, checked("SITE", await control.reply()))
        if lacks_size:
            await self._sizes.confirm_missing(upload.temporary)
            follow_up.size = await self._sizes.stored(upload.temporary, upload.due)

    def _read_time(self, follow_up: _FollowUp, reply: Reply, wanted_ns: int) -> None:
        """Read whether the time was set. A server that cannot set times is not asked again."""
        setter = follow_up.time_setter  # `known` is shared, and may hold another by now
        commands = self._connection.known.commands
        if was_time_set(reply):
            commands.note("a time")
            follow_up.mtime_ns = parse_mdtm_time(format_time(wanted_ns))
        elif commands.works("a time"):
            pass  # it is about this file
        elif (setter is TimeSetter.MDTM and follow_up.size is not None) or reply.code in UNKNOWN:
            self._connection.known.time_setter = TimeSetter.NONE

    # Names.

    async def _check_name(self, upload: Upload, *, is_stored: bool) -> OperationRefused | None:
        """Check that the server stores an odd name unchanged. The temporary's name has the same traits.

        ``is_stored`` says that the server has the temporary by its own name.
        """
        traits = oddness(name_of(upload.path))
        if traits <= self._connection.known.kept_traits:
            return None
        directory, name = parent_of(upload.temporary), name_of(upload.temporary)
        names, refusal = await self._lister.names(directory)
        if name in names:
            self._connection.known.kept_traits |= traits
            return None
        # The file may have no name that can be asked for (Pure-FTPd: one with a space at its end). The random part of
        # the temporary's name finds it in the listing.
        mark = signature(name)
        disguised = [join(directory, found) for found in names if mark and mark in found]
        if is_stored and await NameCheck(self._connection).keeps(upload.temporary, map(name_of, disguised)):
            self._connection.known.kept_traits |= traits
            return None
        await self._connection.remove_temporaries(disguised)
        return refusal or stored_differently(traits)
