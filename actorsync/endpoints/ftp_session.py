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

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from actorsync.endpoints.contract import Content, Staged, Upload, nothing_ahead
from actorsync.endpoints.ftp_wire import Control, Data
from actorsync.errors import ConnectionLost, FatalError, OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Problem, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary import oddness, signature
from actorsync.protocols import ftp_dialogues as ask
from actorsync.protocols.ftp import Dialogue, Reply, command_line, why_unsendable
from actorsync.protocols.ftp_listing import ParsedListing, parse_list, parse_mlsd
from actorsync.protocols.ftp_replies import (
    Features,
    TimeSetter,
    checked,
    epsv_port,
    format_time,
    parse_mdtm_time,
    parse_working_directory,
    pasv_port,
    set_time_line,
    size_of,
    was_time_set,
)

__all__ = ["FtpSession", "Knowledge"]

#: Sent before the server has said that it wants the file: fits any socket buffer, so that it cannot block. Small files
#: are whole within it; of big ones this much is lost when the server refuses.
_BLIND = 64 * 1024

#: A command that the server does not have, or not in this form.
_UNKNOWN = frozenset({500, 502, 504})

_MAX_LISTING = 256 * 1024 * 1024


@attrs.define(eq=False)
class Knowledge:
    """What was learnt of a server, shared by all connections to it for as long as the endpoint lives."""

    features: Features = attrs.Factory(Features)
    greeting: str = ""
    setter: TimeSetter | None = None
    has_mlsd: bool | None = None
    has_mdtm: bool = True
    uses_pasv: bool = False
    stores: set[str] = attrs.Factory(set)  # traits of names that were seen to be stored as they are

    @property
    def is_sequential(self) -> bool:
        """Whether the server reads no command before it is done with the last, so that one may be sent early."""
        return "vsFTPd" in self.greeting


class FtpSession:
    """One logged-in control connection, and at most one data connection."""

    def __init__(self, control: Control, knowledge: Knowledge, root: str) -> None:
        self._control = control
        self._known = knowledge
        self._root = root
        self._data: Data | None = None
        self._port: int | None = None  # of a data connection that was asked for ahead

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"

    def _fault(self, path: str) -> str | None:
        """Say why ``path`` cannot be used: it would lead elsewhere, or cannot be sent. Every path passes here."""
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
            return "it is no path below the root"
        why = why_unsendable(self._at(path))
        return None if why is None else f"it cannot be sent over FTP: {why}"

    def let_go(self) -> None:
        """Close the data connection, if there is one."""
        if self._data is not None:
            self._data.close()
            self._data = None

    async def _get_in_step(self) -> None:
        """Leave behind whatever was interrupted."""
        self.let_go()
        await self._control.catch_up()

    # Data connections.

    async def _open_data(self) -> Data:
        """Connect a data connection: to the port that was asked for ahead, or to a new one."""
        known, peer = self._known, self._control.peer
        port, self._port = self._port, None
        if port is None and not known.uses_pasv:
            (reply,) = await self._control.exchange([command_line("EPSV")])
            port = self._read_port(reply)
            if port is None and len(peer) != 2:
                raise OperationRefused(f"no data connection: {reply}", retry=reply.is_transient)
        with_pasv = port is None
        if port is None:
            (reply,) = await self._control.exchange([command_line("PASV")])
            port = pasv_port(reply)
        try:
            self._data = await Data.connect(peer, port, self._control.patience)
        except ConnectionLost:
            known.uses_pasv = not with_pasv and len(peer) == 2  # some firewalls only understand one of the verbs
            raise
        return self._data

    def _read_port(self, reply: Reply) -> int | None:
        port = epsv_port(reply)
        if port is None:
            self._known.uses_pasv = len(self._control.peer) == 2  # PASV has no words for IPv6
        return port

    # Reading.

    async def list_directory(self, directory: str) -> Listing:
        """List a directory with MLSD, or with CWD and LIST where there is no MLSD."""
        await self._get_in_step()
        parsed, problem = await self._list(directory)
        if parsed is None or problem is not None:
            return Listing(directory, problem=problem)
        entries = [
            Entry(join(directory, found.name), found.kind, found.size or 0, found.mtime_ns) for found in parsed.entries
        ]
        if not self._known.has_mlsd:
            entries = await self._with_times(entries)
        return Listing(directory, tuple(entries))

    async def _list(self, directory: str) -> tuple[ParsedListing | None, Problem | None]:
        if why := self._fault(directory):
            return None, Problem(directory, why)
        try:
            return await self._list_there(directory, self._at(directory))
        except OperationRefused as refused:
            return None, Problem(directory, str(refused))

    async def _list_there(self, directory: str, path: str) -> tuple[ParsedListing | None, Problem | None]:
        if self._known.has_mlsd:
            data = await self._fetch(command_line("MLSD", path))
            if isinstance(data, bytes):
                return self._trust(directory, parse_mlsd(data))
            if data.code not in _UNKNOWN:
                return None, await self._why_unlisted(directory, data)
            self._known.has_mlsd = False  # it said it could
        entered = checked("CWD", (await self._control.exchange([command_line("CWD", path)]))[0])
        if not entered.is_positive:
            return None, Problem(directory, str(entered), vanished=entered.code == 550)
        data = await self._fetch(command_line("LIST", "-a"))
        if not isinstance(data, bytes):
            return None, Problem(directory, str(data))
        parsed = parse_list(data)
        if not parsed.entries and not parsed.has_dot_entries:
            # What three of four servers say of a directory that they may not read (226, and nothing).
            return None, Problem(directory, "an empty answer, which an unreadable directory gives as well")
        return self._trust(directory, parsed)

    async def _why_unlisted(self, directory: str, refusal: Reply) -> Problem:
        """Tell a directory that is not there from one that may not be read."""
        # Not by CWD: Pure-FTPd delays every one that fails, longer each time.
        (looked,) = await self._control.exchange([command_line("MLST", self._at(directory))])
        return Problem(directory, str(refusal), vanished=checked("MLST", looked).code == 550)

    def _trust(self, directory: str, parsed: ParsedListing) -> tuple[ParsedListing, Problem | None]:
        if parsed.is_whole:
            return parsed, None
        return parsed, Problem(directory, "; ".join(parsed.problems) or "the listing is not whole")

    async def _fetch(self, line: bytes) -> bytes | Reply:
        """Give what a listing command sends, or the server's refusal."""
        data = await self._open_data()
        verb = line.split(maxsplit=1)[0].decode("ascii")
        await self._control.send([line])
        reply = checked(verb, await self._control.reply())
        if reply.is_refusal:
            self.let_go()
            return reply
        content = await data.receive_all(_MAX_LISTING)
        self.let_go()
        if reply.is_preliminary:
            reply = checked(verb, await self._control.reply())
        return reply if reply.is_refusal else content

    async def _with_times(self, entries: Sequence[Entry]) -> list[Entry]:
        """Ask for the times that LIST does not give (see `parse_list` for why)."""
        askable = [e for e in entries if e.kind is Kind.FILE and not self._fault(e.path)]
        answers = await self._control.play(ask.facts([self._at(entry.path) for entry in askable]))
        known = {e.path: answer for e, answer in zip(askable, answers, strict=True) if answer is not None}
        return [
            attrs.evolve(entry, size=known[entry.path][0], mtime_ns=known[entry.path][1])
            if entry.path in known
            else entry
            for entry in entries
        ]

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Reading from a server is not offered yet: servers are targets."""
        raise FatalError(f"cannot read {display(path)!r}: a server cannot be the source")

    # Writing.

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Upload to the temporary, with one earlier commit in the same flight; verify by SIZE, set the time."""
        await self._get_in_step()
        committed: list[Entry | OperationRefused] = []
        riding = commit[0] if len(commit) == 1 and not self._fault_of(commit[0]) else None
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
        control, data, size = self._control, self._data, upload.content.entry.size
        assert data is not None
        rename = self._rename(riding) if riding is not None else None
        await control.send([*(rename.lines if rename else ()), command_line("STOR", self._at(upload.temporary))])
        taken = await self._push(data, upload, min(size, _BLIND))
        afterwards: _Afterwards | None = None
        if size <= _BLIND and taken is True:
            afterwards = await self._finish(data, upload, ahead)
        if rename is not None:
            committed.append(await self._read_rename(rename))
        reply = checked("STOR", await control.reply())
        if reply.is_preliminary:
            if afterwards is None and taken is True:
                taken = await self._push(data, upload, size)
                if taken is True:
                    afterwards = await self._finish(data, upload, ahead)
            reply = checked("STOR", await self._stored(data, patient=taken is True))
        self.let_go()
        if afterwards is not None:
            if not afterwards.is_sent:
                await control.send(afterwards.lines)
            await self._read_afterwards(afterwards)
        if riding is not None:
            committed[-1] = await self._settle_rename(riding, committed[-1])
        refusal = taken if isinstance(taken, OperationRefused) else _verdict(upload, reply, afterwards)
        if refusal is None or (_is_lost(afterwards) and reply.is_positive):
            refusal = await self._check_name(upload) or refusal
        if refusal is not None:
            await self.sweep([upload.temporary])
            return refusal
        return _as_staged(upload, afterwards)

    async def _push(self, data: Data, upload: Upload, limit: int) -> bool | OperationRefused:
        """Send up to byte ``limit``. False: the server takes no more. A refusal: the source gives no more."""
        try:
            return await data.send(upload, limit)
        except OperationRefused as refused:
            self.let_go()
            return refused

    async def _finish(self, data: Data, upload: Upload, ahead: Callable[[], bool]) -> _Afterwards:
        """End the transfer, and prepare what is asked when it is over."""
        data.finish()
        temporary, mtime_ns, setter = self._at(upload.temporary), upload.content.entry.mtime_ns, self._known.setter
        asks_port = ahead() and not self._known.uses_pasv
        afterwards = _Afterwards([command_line("SIZE", temporary)], asks_port)
        if asks_port:
            afterwards.lines.insert(0, command_line("EPSV"))
        if mtime_ns is not None and setter is not None and setter is not TimeSetter.NONE:
            afterwards.wanted_ns, afterwards.setter = mtime_ns, setter
            afterwards.lines.append(set_time_line(setter, temporary, mtime_ns))
        if self._known.is_sequential:
            afterwards.is_sent = True
            await self._control.send(afterwards.lines)
        return afterwards

    async def _read_afterwards(self, afterwards: _Afterwards) -> None:
        if afterwards.asks_port:
            self._port = self._read_port(await self._control.reply())
        size = checked("SIZE", await self._control.reply())
        if size.code in _UNKNOWN:
            raise FatalError(f"the server has no SIZE command, so no upload can be verified: {size}")
        afterwards.size = size_of(size)
        if afterwards.wanted_ns is not None:
            setter = afterwards.setter  # `known` may say otherwise by now: it is shared
            reply = checked(setter.value, await self._control.reply())
            if was_time_set(reply):
                afterwards.mtime_ns = parse_mdtm_time(format_time(afterwards.wanted_ns))
            elif (setter is TimeSetter.MDTM and afterwards.size is not None) or reply.code in _UNKNOWN:
                self._known.setter = TimeSetter.NONE  # it only looked as if it could

    async def _stored(self, data: Data, *, patient: bool) -> Reply:
        """Wait for the reply that ends a transfer for as long as the kernel's buffer still empties."""
        if not patient:
            return await self._control.reply(self._control.patience.last_words)
        unsent, stall = data.unsent(), self._control.patience.stall
        while True:
            with trio.move_on_after(stall):
                return await self._control.reply(2 * stall)
            before, unsent = unsent, data.unsent()
            if not unsent or unsent >= before:
                raise ConnectionLost("the server does not say whether it has the file")

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
        await self.sweep(disguised)
        return refusal or _misnamed(traits)

    async def _names(self, directory: str) -> tuple[set[str], OperationRefused | None]:
        parsed, problem = await self._list(directory)
        if parsed is None:
            why = problem.reason if problem else ""
            return set(), OperationRefused(f"whether the server keeps its name cannot be seen: {why}")
        return {found.name for found in parsed.entries}, None

    # Renames.

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
        if shown.code in _UNKNOWN:
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
        return _Unrenamed(f"the server does not give it its name: {rnto}")

    async def _settle_rename(self, staged: Staged, result: Entry | OperationRefused) -> Entry | OperationRefused:
        """After a rename that was half accepted, or only said to be done: find out, and clear up."""
        if isinstance(result, _Unrenamed):
            await self._control.play(ask.disarm_rename())
            await self.sweep([staged.temporary])
        elif isinstance(result, _Doubtful):
            (left,) = await self._control.play(ask.sizes([self._at(staged.temporary)]))
            if left is not None:
                await self.sweep([staged.temporary])
                return OperationRefused("the server says that it renamed it, and has not")
            if result.size == staged.size:
                return result.entry  # with the time that the server made of ours
            return OperationRefused(str(result), retry=True)
        return result

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename, and read back size and time under the final name, in one flight for each file."""
        await self._get_in_step()
        results: list[Entry | OperationRefused] = []
        for item in staged:
            if why := self._fault_of(item):
                results.append(OperationRefused(why))
                continue
            rename = self._rename(item)
            await self._control.send(rename.lines)
            results.append(await self._settle_rename(item, await self._read_rename(rename)))
        return results

    # Directories and removals.

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories in bursts; a refusal is looked into, because "it exists" is refused like "you may not"."""
        await self._get_in_step()
        if "" in paths:
            parts = self._root.split("/")[1:]
            await self._control.play(self._make(["/" + "/".join(parts[:n]) for n in range(1, len(parts))]))
        made: list[Entry | OperationRefused] = []
        for is_suspect, group in itertools.groupby(paths, self._is_suspect):
            if is_suspect:
                made += [await self._make_odd(path) for path in group]
            else:
                run = list(group)
                results = await self._each_directory(run, self._make)
                made += [
                    result if isinstance(result, OperationRefused) else Entry(path, Kind.DIRECTORY)
                    for path, result in zip(run, results, strict=True)
                ]
        return made

    def _is_suspect(self, path: str) -> bool:
        """Whether the server has not shown yet that it keeps such a name."""
        return not oddness(name_of(path)) <= self._known.stores and not self._fault(path)

    async def _make_odd(self, path: str) -> Entry | OperationRefused:
        """Make one directory, and see under which name it is stored. One under another name is removed again."""
        parent, name = parent_of(path), name_of(path)
        before, refusal = await self._names(parent)
        if refusal is not None:
            return refusal
        (reply,) = await self._control.exchange([command_line("MKD", self._at(path))])
        if checked("MKD", reply).is_refusal:
            (result,) = await self._each_directory([path], self._make)
            if isinstance(result, OperationRefused):
                return result
        names, refusal = await self._names(parent)
        if name in names:
            self._known.stores |= oddness(name)
            return Entry(path, Kind.DIRECTORY)
        became = name_of((parse_working_directory(reply) if reply.is_positive else None) or "")
        if became in names - before:
            await self._control.play(self._unmake([self._at(join(parent, became))]))
        return refusal or _misnamed(oddness(name))

    async def _each_directory(
        self, paths: Sequence[str], dialogue: Callable[[Sequence[str]], Dialogue[list[Reply | None]]]
    ) -> list[bool | OperationRefused]:
        """Play a dialogue about directories; once more without MLST if the server only said that it has it."""
        used_mlst = self._known.has_mlsd  # which is shared, and may change while we wait
        results = await self._each(paths, dialogue)
        if used_mlst and any(isinstance(result, OperationRefused) for result in results):
            (looked,) = await self._control.exchange([command_line("MLST", self._root or "/")])
            if looked.code in _UNKNOWN:
                self._known.has_mlsd = False
                results = await self._each(paths, dialogue)
        return results

    def _make(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        return ask.make_directories(paths, mlst=bool(self._known.has_mlsd))

    def _unmake(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        return ask.remove_directories(paths, mlst=bool(self._known.has_mlsd))

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files whose size and time are still as recorded, then directories, each kind in bursts."""
        await self._get_in_step()
        results: dict[Entry, bool | OperationRefused] = {}
        usable: list[Entry] = []
        for entry in dict.fromkeys(entries):
            why = self._fault(entry.path) or (None if entry.path else "it is the root")
            if why:
                results[entry] = OperationRefused(why)
            else:
                usable.append(entry)
        files = [entry for entry in usable if entry.kind is not Kind.DIRECTORY]
        folders = [entry for entry in usable if entry.kind is Kind.DIRECTORY]
        # Without MLST, a file looks like a directory that is gone.
        look_at = files if self._known.has_mlsd else usable
        found = await self._control.play(ask.facts([self._at(entry.path) for entry in look_at]))
        doomed = []
        for entry, now in zip(look_at, found, strict=True):
            if now is None:
                results[entry] = True
            elif entry.kind is Kind.DIRECTORY or _is_changed(entry, *now):
                results[entry] = OperationRefused("not removed: it was changed on the server")
            else:
                doomed.append(entry)
        doomed_folders = [entry for entry in folders if not isinstance(results.get(entry), OperationRefused)]
        removed = await self._each([entry.path for entry in doomed], ask.remove_files)
        results |= dict(zip(doomed, removed, strict=True))
        unmade = await self._each_directory([entry.path for entry in doomed_folders], self._unmake)
        for entry, result in zip(doomed_folders, unmade, strict=True):
            refused = isinstance(result, OperationRefused)
            results[entry] = await self._holds_something(entry.path) if refused else result
        return [results[entry] for entry in entries]

    async def _holds_something(self, directory: str) -> bool | OperationRefused:
        """Say why a directory could not be removed: False when it is not empty."""
        parsed, problem = await self._list(directory)
        if parsed is not None and parsed.entries:
            return False
        return OperationRefused(problem.reason if problem else "the server does not remove it")

    async def sweep(self, temporaries: Sequence[str]) -> list[bool | OperationRefused]:
        """Remove temporaries in bursts. One whose name cannot be sent was never there."""
        await self._get_in_step()
        possible = [temporary for temporary in temporaries if not self._fault(temporary)]
        results = dict(zip(possible, await self._each(possible, ask.remove_files), strict=True))
        return [results.get(temporary, True) for temporary in temporaries]

    async def _each(
        self, paths: Sequence[str], dialogue: Callable[[Sequence[str]], Dialogue[list[Reply | None]]]
    ) -> list[bool | OperationRefused]:
        """Play a dialogue about many paths; one that cannot be used is refused alone."""
        faults = {path: self._fault(path) for path in paths}
        usable = [path for path in paths if not faults[path]]
        replies = iter(await self._control.play(dialogue([self._at(path) for path in usable])))
        results: list[bool | OperationRefused] = []
        for path in paths:
            why = faults[path]
            reply = None if why else next(replies)
            if why:
                results.append(OperationRefused(why))
            else:
                results.append(True if reply is None else OperationRefused(str(reply)))
        return results

    async def abandon(self, temporary: str) -> bool:
        """Cut the transfer off, hear the server out, and remove what it kept."""
        return (await self.sweep([temporary]))[0] is True

    def describe(self) -> Sequence[tuple[str, str]]:
        """Say what the server is and can do."""
        known = self._known
        setter = known.setter or TimeSetter.NONE
        return (
            ("server", display(known.greeting)),
            ("root", display(self._root or "/")),
            ("listing", "MLSD" if known.has_mlsd else "CWD, LIST and MDTM"),
            ("data", "PASV" if known.uses_pasv else "EPSV"),
            (
                "times",
                {"MFMT": "set with MFMT", "MDTM": "set with MDTM, if allowed"}.get(setter.value, "cannot be set"),
            ),
            ("features", display(" ".join(sorted(known.features.names))) or "none told"),
        )


@attrs.define
class _Afterwards:
    """The flight behind an upload, and what it brought."""

    lines: list[bytes]
    asks_port: bool
    is_sent: bool = False
    wanted_ns: int | None = None
    setter: TimeSetter = TimeSetter.NONE
    size: int | None = None
    mtime_ns: int | None = None


@attrs.frozen
class _Rename:
    """The flight that gives a file its name."""

    staged: Staged
    lines: list[bytes]
    asks_temporary: bool


class _Unrenamed(OperationRefused):
    """The first half of a rename was accepted and the second refused: the temporary is still there."""


class _Doubtful(OperationRefused):
    """The server says that it renamed, and does not show what it should then."""

    def __init__(self, entry: Entry, size: int | None) -> None:
        shown = "nothing" if size is None else f"{size} bytes"
        super().__init__(f"after its rename the server shows {shown} under its name")
        self.entry, self.size = entry, size


def _verdict(upload: Upload, reply: Reply, afterwards: _Afterwards | None) -> OperationRefused | None:
    """Say what is wrong with an upload that the server has answered with ``reply``."""
    size = upload.content.entry.size
    if reply.is_refusal:
        return OperationRefused(f"the server refuses it: {reply}", retry=reply.is_transient)
    if afterwards is not None and afterwards.size == upload.sent == size:
        return None
    stored = "an unknown number" if _is_lost(afterwards) or afterwards is None else str(afterwards.size)
    return OperationRefused(f"the server has {stored} of its {size} bytes", retry=True)


def _is_lost(afterwards: _Afterwards | None) -> bool:
    """Whether the server took a file and does not find it: it may have stored it under another name."""
    return afterwards is not None and afterwards.size is None


def _as_staged(upload: Upload, afterwards: _Afterwards | None) -> Staged:
    assert afterwards is not None
    return Staged(upload.path, upload.temporary, upload.content.entry.size, afterwards.mtime_ns)


def _misnamed(traits: frozenset[str]) -> OperationRefused:
    return OperationRefused(f"the server stores this name differently (it holds: {display(', '.join(sorted(traits)))})")


def _is_changed(entry: Entry, size: int, mtime_ns: int | None) -> bool:
    return size != entry.size or (None not in {mtime_ns, entry.mtime_ns} and mtime_ns != entry.mtime_ns)
