"""What every verb of an FTP session is made of: paths that stay below the root, data connections, listings."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

import attrs

from actorsync.endpoints.contract import nothing_ahead
from actorsync.endpoints.ftp.control import Control
from actorsync.endpoints.ftp.data import Data
from actorsync.endpoints.shared.case_folding import Folding
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.endpoints.shared.probe_cache import Trials
from actorsync.endpoints.shared.symlink_guard import Straight, above
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Kind, Problem, name_of, parent_of
from actorsync.protocols.ftp import dialogues as ask
from actorsync.protocols.ftp.listing import ParsedListing, mlst_kind, parse_list, parse_mlsd
from actorsync.protocols.ftp.replies import (
    Features,
    TimeSetter,
    checked,
    epsv_port,
    pasv_port,
)
from actorsync.protocols.ftp.wire import Dialogue, Reply, command_line, why_unsendable

__all__ = ["UNKNOWN", "FtpLink", "Knowledge"]

#: A command that the server does not have, or not in this form.
UNKNOWN = frozenset({500, 502, 504})

#: What servers say of a data connection whose TLS session they do not know: ProFTPD, vsftpd.
_UNRESUMED = frozenset({425, 522})

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
    waits_for_word: bool = False  # whether data that came before the STOR was seen to be lost on it
    stores: set[str] = attrs.Factory(set)  # traits of names that were seen to be stored as they are
    asides: set[str] = attrs.Factory(set)  # temporaries that may have something set aside beside them
    identities: dict[str, str] = attrs.Factory(dict)  # of the directories that listings have shown, by path
    straight: Straight = attrs.Factory(Straight)
    folding: Folding = attrs.Factory(Folding)
    trials: Trials = attrs.Factory(Trials)

    @property
    def is_sequential(self) -> bool:
        """Whether the server reads no command before it is done with the last, so that one may be sent early."""
        return "vsFTPd" in self.greeting


class FtpLink:
    """One logged-in control connection, and at most one data connection."""

    def __init__(self, control: Control, knowledge: Knowledge, root: str) -> None:
        self._control = control
        self._known = knowledge
        self._root = root
        self._data: Data | None = None
        self._port: int | None = None  # of a data connection that was asked for ahead
        self._is_sent = True  # whether the server has said how the last file that was read has ended
        #: What the user should be told of this connection, a sentence each.
        self.concerns: Sequence[str] = ()

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

    async def _open_data(self, beside: Sequence[bytes] = ()) -> tuple[Data, list[Reply]]:
        """Connect a data connection: to the port that was asked for ahead, or to a new one.

        What is asked ``beside`` that costs no time where a port is asked for as well; its replies are given back.
        """
        known, peer = self._known, self._control.peer
        port, self._port = self._port, None
        told: list[Reply] = []
        with_pasv = False
        if port is not None and beside:
            # First: pyftpdlib takes the end of a file for the end of the connection, where it has one that is idle.
            told = await self._control.exchange(beside)
        elif port is None and not known.uses_pasv:
            *told, reply = await self._control.exchange([*beside, command_line("EPSV")])
            beside, port = (), self._read_port(reply)
            if port is None and len(peer) != 2:
                raise OperationRefused(f"no data connection: {reply}", retry=reply.is_transient)
        if port is None:
            *more, reply = await self._control.exchange([*beside, command_line("PASV")])
            told, with_pasv, port = told + more, True, pasv_port(reply)
        try:
            self._data = await self._control.open_data(port)
        except ConnectionLost:
            known.uses_pasv = not with_pasv and len(peer) == 2  # some firewalls only understand one of the verbs
            raise
        return self._data, told

    def _read_port(self, reply: Reply) -> int | None:
        port = epsv_port(reply)
        if port is None:
            self._known.uses_pasv = len(self._control.peer) == 2  # PASV has no words for IPv6
        return port

    # Links.

    def _ask_whereabouts(self, directories: Sequence[str]) -> list[bytes]:
        """Give what is asked to see where directories really are; the session then stands in the root."""
        lines = [line for path in directories for line in (command_line("CWD", self._at(path)), command_line("PWD"))]
        return [*lines, command_line("CWD", self._at("")), command_line("PWD")] if directories else []

    async def _judge_whereabouts(self, directories: Sequence[str], replies: Sequence[Reply]) -> dict[str, str]:
        """Give those directories that are reached through a link, and where it is."""
        found: dict[str, str] = {}
        *places, root = ask.whereabouts(replies) or [None]
        for path, place in zip(directories, places, strict=True):
            if place is None or root is None:
                continue  # it is not there, or the server does not say: then it cannot be told
            expected = f"{root.rstrip('/')}/{path}"
            link = None if _is_same(place, expected) else await self._find_link(path)
            if link is None:
                self._known.straight.add(path)
            else:
                found[path] = link
        return found

    async def _find_link(self, directory: str) -> str | None:
        """See by listings whether a path leads through a link; the name of a directory alone may be told in any way."""
        self.let_go()
        for path in above(directory):
            parsed, _ = await self._list(parent_of(path))
            kinds = {entry.name: entry.kind for entry in parsed.entries} if parsed else {}
            if kinds.get(name_of(path)) is Kind.LINK:
                return path
        return None

    async def _through_links(self, directories: Sequence[str]) -> dict[str, str]:
        """Look at those of the directories that nobody has looked at, in bursts; give what leads through a link."""
        unknown = [path for path in self._known.straight.unknown(directories) if not self._fault(path)]
        units = [(line,) for line in self._ask_whereabouts(unknown)]
        return await self._judge_whereabouts(unknown, await self._control.play(ask.exchange(units)))

    # Listings.

    async def _list(
        self, directory: str, ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[ParsedListing | None, Problem | None]:
        if why := self._fault(directory):
            return None, Problem(directory, why)
        try:
            return await self._list_there(directory, self._at(directory), ahead)
        except OperationRefused as refused:
            return None, Problem(directory, str(refused))

    async def _list_there(
        self, directory: str, path: str, ahead: Callable[[], bool]
    ) -> tuple[ParsedListing | None, Problem | None]:
        if self._known.has_mlsd:
            data = await self._fetch(command_line("MLSD", path), ahead)
            if isinstance(data, bytes):
                return self._trust(directory, parse_mlsd(data))
            if data.code not in UNKNOWN:
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

    async def _fetch(self, line: bytes, ahead: Callable[[], bool] = nothing_ahead) -> bytes | Reply:
        """Give what a listing command sends, or the server's refusal.

        When another listing follows, its port is asked for as soon as this one has come to its end, in one flight with
        the wait for the last word: ProFTPD has that to say only when we have closed as well. The transfer is over by
        then, on both sides.
        """
        data, _ = await self._open_data()
        verb = line.split(maxsplit=1)[0].decode("ascii")
        await self._control.send([line])

        async def hear() -> Reply:
            return checked(verb, await self._control.reply())

        is_open, reply = await data.converse(_say_nothing, hear)
        content, asks_port = b"", False
        if is_open and not reply.is_refusal:
            content = await data.receive_all(_MAX_LISTING)
            asks_port = ahead() and not self._known.uses_pasv
        self.let_go()  # before the last reply: ProFTPD waits for it
        if asks_port:
            await self._control.send([command_line("EPSV")])
        if reply.is_preliminary:
            reply = checked(verb, await self._control.reply(None if is_open else self._control.patience.last_words))
        if asks_port:
            self._port = self._read_port(await self._control.reply())
        self._believe(data, reply)
        if reply.is_refusal:
            return reply
        if not is_open:
            raise ConnectionLost("the data connection was lost before the listing")
        return content

    def _believe(self, data: Data, reply: Reply) -> None:
        """See that a transfer was not refused for what another connection would have."""
        if reply.code in _UNRESUMED and not data.is_resumed:
            raise ConnectionLost(f"the server wants the TLS session resumed, and it was not: {reply}")

    async def _is_directory(self, path: str) -> bool:
        """Look whether a path on the server is a directory."""
        enter = [(command_line("CWD", path),), (command_line("CWD", "/"),)]  # not to stay there
        units = [(command_line("MLST", path),)] if self._known.has_mlsd else enter
        looked, *_ = await self._control.play(ask.exchange(units))
        return looked.is_positive and (not self._known.has_mlsd or mlst_kind(looked) is Kind.DIRECTORY)

    async def _names(self, directory: str) -> tuple[set[str], OperationRefused | None]:
        parsed, problem = await self._list(directory)
        if parsed is None:
            why = problem.reason if problem else ""
            return set(), OperationRefused(f"whether the server keeps its name cannot be seen: {why}")
        return {found.name for found in parsed.entries}, None

    # Many paths at once.

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries in bursts, with what may have been tried beside them. What is unsendable was never there.

        Where the final name is known, what a broken replacement has set aside is put back, or removed.
        """
        await self._get_in_step()
        possible = [temporary for temporary in temporaries if not self._fault(temporary)]
        results: dict[str, bool | OperationRefused] = {}
        for temporary, refusal in (await self._put_back(possible, finals or {})).items():
            results[temporary] = OperationRefused(f"what it was to replace was set aside, and stays there: {refusal}")
        beside = [trial for temporary in possible if not self._fault(trial := trial_beside(temporary))]
        gone = await self._each([*possible, *beside], ask.remove_files)
        for temporary, result in zip(possible, gone, strict=False):
            results.setdefault(temporary, result)
        return [results.get(temporary, True) for temporary in temporaries]

    async def _put_back(self, temporaries: Sequence[str], finals: Mapping[str, str]) -> dict[str, Reply]:
        """See that a file which was set aside has its name again, or is gone; give what is left as it is, and why."""
        items = [(t, aside_of(t), finals[t]) for t in temporaries if t in finals]
        usable = [item for item in items if not self._fault(item[1]) and not self._fault(item[2])]
        pairs = [(self._at(aside), self._at(final)) for _, aside, final in usable]
        refusals = await self._control.play(ask.put_back(pairs))
        return {t: refusal for (t, _, _), refusal in zip(usable, refusals, strict=True) if refusal is not None}

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


def _is_same(place: str, expected: str) -> bool:
    """Whether two texts name one directory, for all that can be told: servers differ in what they do with letters."""
    return _fold(place.replace("\\", "/").rstrip("/")) == _fold(expected.replace("\\", "/").rstrip("/"))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


async def _say_nothing() -> bool:
    """Stand in for what is said on a data connection, where only the server has something to say."""
    return True
