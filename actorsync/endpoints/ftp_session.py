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
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from actorsync.endpoints.contract import Content, Staged, Upload, nothing_ahead
from actorsync.endpoints.ftp_wire import STALL_SECONDS, Control, Data
from actorsync.errors import ConnectionLost, FatalError, OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Problem, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary import oddness
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
    pasv_port,
    set_time_line,
    size_of,
    was_time_set,
)

__all__ = ["FtpSession", "Knowledge"]

#: Sent before the server has said that it wants the file: fits any socket buffer, so that it cannot block. Small files
#: are whole within it; of big ones this much is lost when the server refuses.
_BLIND = 64 * 1024

#: After a write error: how long the server has to say what was wrong.
_LAST_WORDS_SECONDS = 10.0

_MAX_LISTING = 256 * 1024 * 1024


@attrs.define(eq=False)
class Knowledge:
    """What was learnt of a server, shared by all connections to it for as long as the endpoint lives."""

    features: Features = attrs.Factory(Features)
    greeting: str = ""
    setter: TimeSetter | None = None
    has_mlsd: bool | None = None
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
        port, self._port = self._port, None
        if port is None and not self._known.uses_pasv:
            (reply,) = await self._control.exchange([command_line("EPSV")])
            port = self._read_port(reply)
        if port is None:
            (reply,) = await self._control.exchange([command_line("PASV")])
            port = pasv_port(reply)
        try:
            self._data = await Data.connect(self._control.peer, port)
        except ConnectionLost:
            if not self._known.uses_pasv and len(self._control.peer) == 2:
                self._known.uses_pasv = True  # some firewalls only understand the older verb
            raise
        return self._data

    def _read_port(self, reply: Reply) -> int | None:
        port = epsv_port(reply)
        if port is None:
            self._known.uses_pasv = True
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
        path = self._at(directory)
        if why := why_unsendable(path):
            return None, Problem(directory, why)
        if self._known.has_mlsd:
            data = await self._fetch(command_line("MLSD", path))
            if isinstance(data, bytes):
                return self._trust(directory, parse_mlsd(data))
            if data.code not in {500, 502, 504}:
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
        askable = [e for e in entries if e.kind is Kind.FILE and not why_unsendable(self._at(e.path))]
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
        riding = commit[0] if len(commit) == 1 else None
        if riding is None and commit:
            committed = await self.commit(commit)
        if why := why_unsendable(self._at(upload.path)) or why_unsendable(self._at(upload.temporary)):
            if riding is not None:
                committed = await self.commit([riding])
            return OperationRefused(f"cannot be sent over FTP: {why}"), committed

        staged = await self._upload(upload, riding, ahead, committed)
        if isinstance(staged, Staged):
            staged = await self._check_name(staged)
        return staged, committed

    async def _upload(
        self,
        upload: Upload,
        riding: Staged | None,
        ahead: Callable[[], bool],
        committed: list[Entry | OperationRefused],
    ) -> Staged | OperationRefused:
        """Send one file to its temporary. What became of ``riding`` is added to ``committed`` once it is known."""
        control, size = self._control, upload.content.entry.size
        temporary = self._at(upload.temporary)
        data = await self._open_data()
        await control.send([*(self._rename_lines(riding) if riding else ()), command_line("STOR", temporary)])
        is_open = await data.send(upload, min(size, _BLIND))
        afterwards: _Afterwards | None = None
        if size <= _BLIND and is_open:
            afterwards = await self._finish(data, upload, ahead)
        if riding is not None:
            committed.append(await self._read_rename(riding))
        reply = checked("STOR", await control.reply())
        if reply.is_preliminary:
            if afterwards is None and is_open and (is_open := await data.send(upload, size)):
                afterwards = await self._finish(data, upload, ahead)
            reply = checked("STOR", await self._stored(data, patient=is_open))
        self.let_go()
        if afterwards is not None:
            if not afterwards.is_sent:
                await control.send(afterwards.lines)
            await self._read_afterwards(afterwards)
        await self._clear_up_renames(riding, committed)
        if reply.is_refusal:
            await self.sweep([upload.temporary])
            return OperationRefused(f"the server refuses it: {reply}", retry=reply.is_transient)
        if afterwards is None or not (afterwards.size == upload.sent == size):
            await self.sweep([upload.temporary])
            stored = "an unknown number" if afterwards is None else afterwards.size
            return OperationRefused(f"the server has {stored} of its {size} bytes", retry=True)
        return Staged(upload.path, upload.temporary, size, afterwards.mtime_ns)

    async def _finish(self, data: Data, upload: Upload, ahead: Callable[[], bool]) -> _Afterwards:
        """End the transfer, and prepare what is asked when it is over."""
        data.finish()
        temporary, mtime_ns, setter = self._at(upload.temporary), upload.content.entry.mtime_ns, self._known.setter
        asks_port = ahead() and not self._known.uses_pasv
        afterwards = _Afterwards([command_line("SIZE", temporary)], asks_port)
        if asks_port:
            afterwards.lines.insert(0, command_line("EPSV"))
        if mtime_ns is not None and setter is not None and setter is not TimeSetter.NONE:
            afterwards.wanted_ns = mtime_ns
            afterwards.lines.append(set_time_line(setter, temporary, mtime_ns))
        if self._known.is_sequential:
            afterwards.is_sent = True
            await self._control.send(afterwards.lines)
        return afterwards

    async def _read_afterwards(self, afterwards: _Afterwards) -> None:
        if afterwards.asks_port:
            self._port = self._read_port(await self._control.reply())
        size = checked("SIZE", await self._control.reply())
        if size.code in {500, 502}:
            raise FatalError(f"the server has no SIZE command, so no upload can be verified: {size}")
        afterwards.size = size_of(size)
        if afterwards.wanted_ns is not None:
            setter = self._known.setter or TimeSetter.NONE
            reply = checked(setter.value, await self._control.reply())
            if was_time_set(reply):
                afterwards.mtime_ns = parse_mdtm_time(format_time(afterwards.wanted_ns))
            elif setter is TimeSetter.MDTM or reply.code in {500, 502, 504}:
                self._known.setter = TimeSetter.NONE  # it only looked as if it could

    async def _stored(self, data: Data, *, patient: bool) -> Reply:
        """Wait for the reply that ends a transfer for as long as the kernel's buffer still empties."""
        if not patient:
            return await self._control.reply(_LAST_WORDS_SECONDS)
        unsent = data.unsent()
        while True:
            with trio.move_on_after(STALL_SECONDS):
                return await self._control.reply(2 * STALL_SECONDS)
            before, unsent = unsent, data.unsent()
            if not unsent or unsent >= before:
                raise ConnectionLost("the server does not say whether it has the file")

    async def _check_name(self, staged: Staged) -> Staged | OperationRefused:
        """See that the server stores an odd name as it is: the temporary is odd in the same way."""
        temporary = name_of(staged.temporary)
        refusal = await self._misnamed(parent_of(staged.temporary), temporary, name_of(staged.path))
        if refusal is None:
            return staged
        await self.sweep([staged.temporary])
        return refusal

    async def _misnamed(self, directory: str, name: str, traits_of: str) -> OperationRefused | None:
        traits = oddness(traits_of)
        if traits <= self._known.stores:
            return None
        parsed, problem = await self._list(directory)
        if parsed is None:
            return OperationRefused(f"whether the server keeps its name cannot be seen: {problem and problem.reason}")
        if any(found.name == name for found in parsed.entries):
            self._known.stores |= traits
            return None
        return OperationRefused(
            f"the server stores this name differently (it holds: {display(', '.join(sorted(traits)))})"
        )

    # Renames.

    def _rename_lines(self, staged: Staged) -> tuple[bytes, ...]:
        temporary, final = self._at(staged.temporary), self._at(staged.path)
        return (
            command_line("RNFR", temporary),
            command_line("RNTO", final),
            command_line("SIZE", final),
            command_line("MDTM", final),
        )

    async def _read_rename(self, staged: Staged) -> Entry | OperationRefused:
        """Read what became of a rename, and what the server then shows under the final name."""
        rnfr = checked("RNFR", await self._control.reply())
        rnto = checked("RNTO", await self._control.reply())
        size = size_of(checked("SIZE", await self._control.reply()))
        shown = checked("MDTM", await self._control.reply())
        mtime_ns = parse_mdtm_time(shown.text.strip()) if shown.is_positive else None
        refusal = ask.rename_outcome(rnfr, rnto)
        is_there = size == staged.size and staged.mtime_ns in {None, mtime_ns}
        if refusal is None and is_there:
            return Entry(staged.path, Kind.FILE, staged.size, mtime_ns)
        if refusal is None:
            return OperationRefused(f"after its rename the server shows {size} bytes under its name", retry=True)
        if rnfr.is_refusal:
            # Its temporary is gone. Renamed before the connection was lost, or taken away by somebody?
            if is_there and staged.mtime_ns is not None:
                return Entry(staged.path, Kind.FILE, staged.size, mtime_ns)
            return OperationRefused(f"its temporary is gone: {rnfr}", retry=True)
        return _Unrenamed(f"the server does not give it its name: {rnto}")

    async def _clear_up_renames(self, staged: Staged | None, committed: Sequence[Entry | OperationRefused]) -> None:
        """After a rename that was half accepted: forget the first half, and remove what was to be renamed."""
        if staged is not None and committed and isinstance(committed[-1], _Unrenamed):
            await self._control.play(ask.disarm_rename())
            await self.sweep([staged.temporary])

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename, and read back size and time under the final name, in one flight for each file."""
        await self._get_in_step()
        results: list[Entry | OperationRefused] = []
        for item in staged:
            await self._control.send(self._rename_lines(item))
            results.append(await self._read_rename(item))
            await self._clear_up_renames(item, results)
        return results

    # Directories and removals.

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories in bursts; a refusal is looked into, because "it exists" is refused like "you may not"."""
        await self._get_in_step()
        if "" in paths:
            parts = self._root.split("/")[1:]
            await self._control.play(self._make(["/" + "/".join(parts[:n]) for n in range(1, len(parts))]))
        results = await self._each(paths, self._make)
        made: list[Entry | OperationRefused] = []
        for path, result in zip(paths, results, strict=True):
            refusal = result if isinstance(result, OperationRefused) else await self._check_directory(path)
            made.append(refusal or Entry(path, Kind.DIRECTORY))
        return made

    async def _check_directory(self, path: str) -> OperationRefused | None:
        refusal = await self._misnamed(parent_of(path), name_of(path), name_of(path)) if path else None
        if refusal is not None:
            await self._control.play(self._unmake([self._at(path)]))
        return refusal

    def _make(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        return ask.make_directories(paths, mlst=self._known.features.has_mlst)

    def _unmake(self, paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
        return ask.remove_directories(paths, mlst=self._known.features.has_mlst)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files whose size and time are still as recorded, then directories, each kind in bursts."""
        await self._get_in_step()
        results: dict[str, bool | OperationRefused] = {}
        files = [entry for entry in entries if entry.kind is not Kind.DIRECTORY]
        sendable = [entry for entry in files if not why_unsendable(self._at(entry.path))]
        found = await self._control.play(ask.facts([self._at(entry.path) for entry in sendable]))
        doomed = []
        for entry, now in zip(sendable, found, strict=True):
            if now is None:
                results[entry.path] = True
            elif now[0] != entry.size or (None not in {now[1], entry.mtime_ns} and now[1] != entry.mtime_ns):
                results[entry.path] = OperationRefused("not removed: it was changed on the server")
            else:
                doomed.append(entry.path)
        removed = await self._each(doomed, ask.remove_files)
        results |= dict(zip(doomed, removed, strict=True))
        folders = [entry.path for entry in entries if entry.kind is Kind.DIRECTORY]
        for path, result in zip(folders, await self._each(folders, self._unmake), strict=True):
            results[path] = await self._holds_something(path) if isinstance(result, OperationRefused) else result
        missing = OperationRefused("its name cannot be sent over FTP")
        return [results.get(entry.path, missing) for entry in entries]

    async def _holds_something(self, directory: str) -> bool | OperationRefused:
        """Say why a directory could not be removed: False when it is not empty."""
        parsed, problem = await self._list(directory)
        if parsed is not None and parsed.entries:
            return False
        return OperationRefused(problem.reason if problem else "the server does not remove it")

    async def sweep(self, temporaries: Sequence[str]) -> list[bool | OperationRefused]:
        """Remove temporaries in bursts."""
        await self._get_in_step()
        return await self._each(temporaries, ask.remove_files)

    async def _each(
        self, paths: Sequence[str], dialogue: Callable[[Sequence[str]], Dialogue[list[Reply | None]]]
    ) -> list[bool | OperationRefused]:
        """Play a dialogue about many paths; a name that cannot be sent is refused alone."""
        sendable = [path for path in paths if not why_unsendable(self._at(path))]
        replies = await self._control.play(dialogue([self._at(path) for path in sendable]))
        answers = dict(zip(sendable, replies, strict=True))
        results: list[bool | OperationRefused] = []
        for path in paths:
            if path not in answers:
                results.append(OperationRefused(f"cannot be sent over FTP: {why_unsendable(self._at(path))}"))
            else:
                reply = answers[path]
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
    size: int | None = None
    mtime_ns: int | None = None


class _Unrenamed(OperationRefused):
    """The first half of a rename was accepted and the second refused: the temporary is still there."""
