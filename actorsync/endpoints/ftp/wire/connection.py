"""One logged-in FTP connection: its control connection, its data connection, and what is known of the server.

`FtpConnection` is shared by the classes that carry out the verbs of a session (`Uploader`, `Renamer`, `Mover`,
`Reader`, `Prober`, `Lister`, ...). It holds what all of them need and knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.ftp.wire.control import ControlConnection
from actorsync.endpoints.ftp.wire.data import DataConnection
from actorsync.endpoints.shared.case_folding import CaseFolding
from actorsync.endpoints.shared.paths import below, why_not_inside
from actorsync.endpoints.shared.probe_cache import ProbeCache
from actorsync.endpoints.shared.symlink_guard import SymlinkGuard
from actorsync.endpoints.shared.unset_modes import UnsetModes
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Kind
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.commands import UNKNOWN, Commands
from actorsync.protocols.ftp.flights import Flight, Flights
from actorsync.protocols.ftp.link_signs import LinkSigns
from actorsync.protocols.ftp.listing import mlst_kind
from actorsync.protocols.ftp.replies import Features, TimeSetter, checked, epsv_port, pasv_port
from actorsync.protocols.ftp.time_shift import TimeShift
from actorsync.protocols.ftp.wire import Dialogue, Reply, command_line, is_utf8, verb_of, why_unsendable

__all__ = ["UNKNOWN", "FtpConnection", "Knowledge"]

#: Seconds after which a client that has sent everything looks whether the server has dropped the data.
_SOON: Final = 1.0
#: Seconds in which a port that was requested ahead is used. Later, the server may not listen there any more.
_PORT_SECONDS: Final = 5.0

#: The codes for a data connection that does not resume the TLS session: 522 from ProFTPD, 425 from vsftpd.
_NOT_RESUMED = frozenset({425, 522})


@define(eq=False)
class Knowledge:
    """What is known of a server. All connections of an endpoint share it for as long as the endpoint lives."""

    flights: Flights = attrs.Factory(Flights)
    features: Features = attrs.Factory(Features)
    commands: Commands = attrs.Factory(Commands)
    #: How many connections were logged in so far.
    connections: int = 0
    greeting: str = ""
    time_setter: TimeSetter | None = None
    has_mlsd: bool | None = None
    has_mdtm: bool = True
    has_size: bool = True
    has_cwd: bool = True
    #: Whether an upload was believed, because nothing shows what the server has.
    is_unverified: bool = False
    uses_pasv: bool = False
    #: Whether the server lost data that arrived before the STOR. Data is then sent only after the 150.
    needs_150_first: bool = False
    #: The arguments of LIST to try, in order: ``-a`` shows names that begin with a dot, and is no option everywhere.
    list_options: tuple[str | None, ...] = ("-a", None)
    #: Whether LIST is known not to show ``.`` and ``..``, as in DOS form.
    lists_no_dots: bool = False
    #: Whether each listing with MLSD is completed by one with LIST, which tells links from what they lead to: MLSD of
    #: pyftpdlib shows the directory, and that of ProFTPD leaves a link out that leads nowhere, or out of its root. What
    #: ``links`` says is done as well.
    finds_links: bool = False
    #: How the server shows links, and whether they have to be found before anything is changed.
    links: LinkSigns = attrs.Factory(LinkSigns)
    #: Whether a listing has shown a name that begins with a dot.
    shows_dots: bool = False
    #: Traits of names (see `oddness`) that the server was seen to store unchanged.
    kept_traits: set[str] = attrs.Factory(set)
    #: The directory beside the root that old files may go to, as a path that begins with ``../``; "" for none.
    outside: str = ""
    #: Directories that a file was set aside in; "" stands for the one that the file itself is in.
    aside_places: set[str] = attrs.Factory(set)
    #: Old files that the server has replaced and not set aside, each with its refusal.
    unkept: list[str] = attrs.Factory(list)
    #: Temporaries of files that are being published. After a lost connection, the server may still be at work on them.
    publishing: set[str] = attrs.Factory(set)
    #: Temporaries whose old file may still be set aside beside them.
    set_aside: set[str] = attrs.Factory(set)
    #: The ``unique`` fact of each directory that a listing has shown, by path.
    identities: dict[str, str] = attrs.Factory(dict)
    #: Whether the server answers when a data connection is closed in the middle of a download.
    ends_early: bool = True
    #: Whether the server was seen to refuse a download after REST, or to send all of the file.
    ignores_restart: bool = False
    #: Files that the server did not open for reading in time: another connection may still be writing to them.
    locked: set[str] = attrs.Factory(set)
    time_shift: TimeShift = attrs.Factory(TimeShift)
    symlink_guard: SymlinkGuard = attrs.Factory(SymlinkGuard)
    case_folding: CaseFolding = attrs.Factory(CaseFolding)
    probes: ProbeCache = attrs.Factory(ProbeCache)
    unset_modes: UnsetModes = attrs.Factory(UnsetModes)

    @property
    def tells_links(self) -> bool:
        """Whether links are told from directories by all that the server shows, before anything is changed."""
        return self.finds_links or self.links.is_wanted

    def begin_pass(self) -> None:
        """Forget what was seen of the tree, and of files on their way. What is known of the server stays."""
        self.symlink_guard.forget()
        for seen in (self.identities, self.unkept, self.publishing, self.set_aside, self.locked):
            seen.clear()

    @property
    def keeps_data_idle(self) -> bool:
        """Whether the server was tested to leave a data connection alone until a command is about it.

        pyftpdlib does not: it takes the end of a file for the end of the next one.
        """
        return self.flights.is_known and "pyftpdlib" not in self.greeting

    @property
    def is_sequential(self) -> bool:
        """Whether the server reads a command only after it has finished the last, so that one may be sent early."""
        return "vsFTPd" in self.greeting


class FtpConnection:
    """One logged-in control connection, and at most one data connection."""

    def __init__(self, control: ControlConnection, knowledge: Knowledge, root: str) -> None:
        self.control = control
        self.known = knowledge
        knowledge.connections += 1
        self.number = knowledge.connections
        self.root = root
        self.data: DataConnection | None = None
        self._port: int | None = None  # the port of the next data connection, where it was requested ahead
        self._port_until = 0.0

    # Paths.

    def at(self, path: str) -> str:
        """Return the absolute path on the server of a path below the root."""
        return below(self.root, path)

    def fault(self, path: str) -> str | None:
        """Return why ``path`` cannot be used, or None. Every path is checked here before it is sent."""
        if (why := why_not_inside(path, self.known.outside, self.root)) is not None:
            return why
        why = why_unsendable(self.at(path))
        if why is None and self.known.flights.swallows and not is_utf8(command_line("SIZE", path)):
            why = "it is not UTF-8, and the server never answers a command with such a name; rename or exclude it"
        return None if why is None else f"it cannot be sent over FTP: {why}"

    # DataConnection connections.

    def close_data(self) -> None:
        """Close the data connection, if there is one."""
        if self.data is not None:
            self.data.close()
            self.data = None

    async def resync(self) -> None:
        """Discard what an interrupted verb left: its data connection, and the replies that are still due."""
        self.close_data()
        await self.control.drain_replies()

    async def keep_alive(self) -> None:
        """Make a request without an effect, and drop what was prepared for a next transfer. Any reply will do."""
        self._port = None
        await self.resync()
        await self.control.exchange([command_line("NOOP")])

    async def open_data(self, extra: Sequence[bytes] = ()) -> tuple[DataConnection, list[Reply]]:
        """Open a data connection: to the port that was requested ahead, or to a new one.

        The command lines in ``extra`` go out in the same flight as EPSV or PASV, so that they cost no round trip.
        Returns the data connection and the replies to ``extra``.

        Raises:
            OperationRefused: The server refuses a data connection.
            ConnectionLost: The port could not be reached.
        """
        known, peer = self.known, self.control.peer
        port = self._port if trio.current_time() < self._port_until else None
        self._port = None
        replies: list[Reply] = []
        with_pasv = False
        asked = extra if port is not None and known.keeps_data_idle else ()
        if port is not None and extra and not asked:
            # Before connecting: when pyftpdlib has an idle data connection, it takes the end of a file for its end.
            replies = await self.control.exchange(extra)
        elif port is None and not known.uses_pasv:
            *replies, reply = await self.control.exchange([*extra, command_line("EPSV")])
            extra, port = (), self._read_port(reply)
            if port is None and len(peer) != 2:
                raise OperationRefused(f"the server refused a data connection: {reply}", retry=reply.is_transient)
        if port is None:
            *more, reply = await self.control.exchange([*extra, command_line("PASV")])
            replies, with_pasv, port = replies + more, True, pasv_port(reply)
        try:
            self.data = await self.control.open_data(port, asked)
            replies += await self.control.exchange(asked, is_sent=True)
        except ConnectionLost:
            known.uses_pasv = not with_pasv and len(peer) == 2  # some firewalls understand only one of the two verbs
            raise
        return self.data, replies

    @property
    def needs_150_first(self) -> bool:
        """Whether data must wait until the server has asked for them.

        Through a proxy, data overtakes the command: the two connections share no order there.
        """
        return self.known.needs_150_first or self.control.is_proxied or not self.known.flights.allows(Flight.STORE)

    @property
    def asks_port_ahead(self) -> bool:
        """Whether EPSV for the next data connection can go while the server still has something else to answer."""
        return not self.known.uses_pasv and self.known.flights.allows(Flight.PORT)

    def keep_port(self, reply: Reply) -> None:
        """Keep the port in a reply to EPSV for the next data connection, if that is opened soon."""
        self._port, self._port_until = self._read_port(reply), trio.current_time() + _PORT_SECONDS

    def _read_port(self, reply: Reply) -> int | None:
        port = epsv_port(reply)
        if port is None:
            self.known.uses_pasv = len(self.control.peer) == 2  # PASV cannot express an IPv6 address
        return port

    # Transfers.

    async def begin_download(self, data: DataConnection, line: bytes) -> tuple[bool, Reply]:
        """Send a command whose answer comes over ``data``, and read the first reply.

        Returns whether ``data`` is ready to receive, and the reply.
        """
        await self.control.send([line])

        async def hear() -> Reply:
            return checked(verb_of(line), await self.control.reply())

        is_open, reply = await data.converse(_send_nothing, hear)
        return bool(is_open), reply

    async def end_of_upload(self, data: DataConnection, *, is_sent: bool) -> Reply:
        """Return the reply that ends a STOR. Waits for as long as the kernel's send buffer still drains.

        Without ``is_sent`` the server stopped the transfer itself, and has only the last timeout to say why.

        Raises:
            ConnectionLost: The buffer no longer drains, and there is no reply.
        """
        if not is_sent:
            if (reply := await self.control.reply_within(self.control.timeouts.after_error)) is not None:
                return reply
            self.known.needs_150_first = True  # as below: the beginning may have arrived before the STOR
            raise ConnectionLost("the server accepts no more data, and does not say why")
        unsent, timeouts = data.unsent(), self.control.timeouts
        for patience in chain([min(_SOON, timeouts.stall)], repeat(timeouts.stall)):
            if (reply := await self.control.reply_within(patience)) is not None:
                return reply
            if data.was_reset():
                if (reply := await self.control.reply_within(timeouts.after_error)) is not None:
                    return reply
                # pyftpdlib, when the data arrives before the STOR: it drops that data connection unread, and waits for
                # another. From now on, data is sent only after the 150.
                self.known.needs_150_first = True
                break
            before, unsent = unsent, data.unsent()
            if patience == timeouts.stall and (not unsent or unsent >= before):
                self.known.probes.is_suspected = True  # pyftpdlib on a full disk: it has read all of the data
                break
        raise ConnectionLost("the server did not confirm that it has the file")

    def check_resumption(self, data: DataConnection, reply: Reply) -> None:
        """Raise `ConnectionLost` when a transfer was refused because the TLS session was not resumed.

        Another connection may succeed, so that this is no refusal of the file.
        """
        if reply.code in _NOT_RESUMED and not data.is_resumed:
            raise ConnectionLost(f"the server requires the TLS session resumed, and it was not: {reply}")

    # Dialogues about paths.

    async def is_directory(self, path: str) -> bool:
        """Return whether an absolute path on the server is a directory, or a link to one.

        MLST is asked first: Pure-FTPd delays each CWD that fails. Where MLST gives no clear answer, or has never given
        one, CWD decides.
        """
        if self.known.has_mlsd:
            (looked,) = await self.control.play(dialogues.exchange([(command_line("MLST", path),)]))
            has_worked = self.known.commands.works("MLST")
            self.known.commands.lacks("MLST", looked)
            if (kind := mlst_kind(looked)) in {Kind.DIRECTORY, Kind.FILE} or (looked.code == 550 and has_worked):
                return kind is Kind.DIRECTORY
        return await self.can_enter(path)

    async def can_enter(self, path: str) -> bool:
        """Return whether an absolute path on the server can be entered: a directory, or a link to one."""
        leave = command_line("CWD", "/")
        entered, _ = await self.control.play(dialogues.exchange([(command_line("CWD", path),), (leave,)]))
        self.known.has_cwd &= not self.known.commands.lacks("CWD", entered)
        return entered.is_positive

    async def each(
        self, paths: Sequence[str], dialogue: Callable[[Sequence[str]], Dialogue[list[Reply | None]]]
    ) -> list[bool | OperationRefused]:
        """Play a dialogue about many paths. A path that cannot be used is refused, and the others are not."""
        faults = {path: self.fault(path) for path in paths}
        usable = [path for path in paths if not faults[path]]
        replies = iter(await self.control.play(dialogue([self.at(path) for path in usable])))
        results: list[bool | OperationRefused] = []
        for path in paths:
            why = faults[path]
            reply = None if why else next(replies)
            if why:
                results.append(OperationRefused(why))
            else:
                results.append(True if reply is None else OperationRefused(str(reply)))
        return results

    async def remove_temporaries(self, paths: Sequence[str]) -> None:
        """Remove temporaries of this session, whether they exist or not. Failures are ignored: a sweep follows."""
        await self.each([path for path in paths if not self.fault(path)], dialogues.remove_files)


async def _send_nothing() -> bool:
    """Stand in for the sending side of a transfer in which only the server sends."""
    return True
