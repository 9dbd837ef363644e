"""Listings of an FTP server, and what follows from them: which names it keeps, and which are symbolic links."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import nothing_ahead
from actorsync.endpoints.ftp.looks.places import Places
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.endpoints.shared.odd_names import stored_differently
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Problem, join, name_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.listing import ListedEntry, ParsedListing, disguised_links, parse_list, parse_mlsd
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import Reply, command_line, verb_of

__all__ = ["Lister", "stored_differently"]

_MAX_LISTING = 256 * 1024 * 1024
_OTHERS: Final = (Kind.LINK, Kind.OTHER)
#: How many links of a directory are entered, to see whether the server shows links to directories.
_SOME: Final = 8


@frozen
class Lister:
    """Lists directories, with MLSD or else with CWD and LIST."""

    _connection: FtpConnection
    _places: Places

    async def list_directory(self, directory: str, ahead: Callable[[], bool]) -> Listing:
        """List a directory as `PrefetchingSession.list_directory_ahead` says."""
        await self._connection.resync()
        parsed, problem = await self.told_directory(directory, ahead)
        if parsed is None or problem is not None:
            return Listing(directory, problem=problem)
        above = self._identities_above(directory)
        entries = [
            Entry(
                join(directory, found.name),
                self._kind(found, directory, above),
                found.size or 0,
                found.mtime_ns,
                mode=found.mode,
            )
            for found in parsed.entries
        ]
        if not self._connection.known.has_mlsd:
            entries = await self._with_times(entries)
        return Listing(directory, tuple(entries))

    def _identities_above(self, directory: str) -> set[str]:
        """Return the ``unique`` facts of a directory and of those above it, as far as listings have shown them."""
        identities = self._connection.known.identities
        parts = directory.split("/")
        paths = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        return {identities[path] for path in paths if path in identities}

    def _kind(self, found: ListedEntry, directory: str, above: set[str]) -> Kind:
        """Return the kind of an entry. A directory that is also one of those above it is a link.

        pyftpdlib follows links and calls them directories: a tree with such a link in it would have no end.
        """
        if found.kind is not Kind.DIRECTORY or found.unique is None:
            return found.kind
        if found.unique in above:
            return Kind.LINK
        self._connection.known.identities[join(directory, found.name)] = found.unique
        return found.kind

    async def _with_times(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add the times that LIST does not give (see `parse_list` for why)."""
        connection = self._connection
        askable = [e for e in entries if e.kind is Kind.FILE and not connection.fault(e.path)]
        answers = await connection.control.play(dialogues.facts([connection.at(entry.path) for entry in askable]))
        known = {e.path: answer for e, answer in zip(askable, answers, strict=True) if answer is not None}
        return [
            attrs.evolve(entry, size=known[entry.path][0], mtime_ns=known[entry.path][1])
            if entry.path in known
            else entry
            for entry in entries
        ]

    async def told_directory(
        self, directory: str, ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[ParsedListing | None, Problem | None]:
        """List a directory as `parse_directory` does, with all that tells links from directories, if that is wanted.

        That costs one flight for a directory with directories in it, or a second listing, as the server has it.
        """
        parsed, problem = await self.parse_directory(directory, ahead)
        known = self._connection.known
        if parsed is None or problem is not None or not known.tells_links:
            return parsed, problem
        disguised = disguised_links(parsed)
        parsed = _with_links_in(parsed, disguised)
        paths = [join(directory, entry.name) for entry in parsed.entries if entry.kind is Kind.DIRECTORY]
        if paths and await self._places.walks(paths[0]):
            elsewhere = await self._places.elsewhere(paths)
            return _with_links_in(parsed, {name_of(path) for path in elsewhere}), None
        if paths and known.has_mlsd and not known.finds_links:
            told, problem = await self._with_links(directory, self._connection.at(directory), parsed)
            parsed = told or parsed
        links = [join(directory, entry.name) for entry in parsed.entries if entry.kind is Kind.LINK]
        if links and not known.links.has_shown and known.has_cwd:
            known.links.has_shown = await self._places.enterable(links[:_SOME])
        return parsed, problem

    async def parse_directory(
        self, directory: str, ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[ParsedListing | None, Problem | None]:
        """Return the parsed listing of a directory, None where there is none; and what is wrong with it, if anything.

        When ``ahead`` says that another listing follows, the port for that one is requested in the same flight.
        """
        if why := self._connection.fault(directory):
            return None, Problem(directory, why)
        try:
            parsed, problem = await self._list(directory, self._connection.at(directory), ahead)
        except OperationRefused as refused:
            return None, Problem(directory, str(refused))
        known = self._connection.known
        if parsed is not None and not known.shows_dots:
            known.shows_dots = any(entry.name.startswith(".") for entry in parsed.entries)
        return parsed, problem

    async def _list(
        self, directory: str, path: str, ahead: Callable[[], bool]
    ) -> tuple[ParsedListing | None, Problem | None]:
        known = self._connection.known
        data: bytes | Reply
        if known.has_mlsd:
            data = await self._fetch(command_line("MLSD", path), ahead)
            if isinstance(data, bytes):
                known.commands.note("MLSD")
                parsed = parse_mlsd(data)
                shows_nothing = parsed.is_whole and not parsed.entries and not parsed.has_dot_entries
                # Some servers send an empty listing of a directory that does not exist.
                if shows_nothing and not await self._connection.is_directory(path):
                    return None, Problem(
                        directory, "the server lists nothing, and has no such directory", vanished=True
                    )
                if known.finds_links and parsed.is_whole:
                    return await self._with_links(directory, path, parsed)
                return _with_problem(directory, parsed)
            if not known.commands.lacks("MLSD", data):
                return None, await self._why_unlisted(directory, data)
            known.has_mlsd = False  # FEAT promised MLST, and the server does not have it
        return await self._list_entered(directory, path)

    async def _with_links(
        self, directory: str, path: str, parsed: ParsedListing
    ) -> tuple[ParsedListing | None, Problem | None]:
        """Return a listing by MLSD with the links and special files that LIST shows. Without LIST there is none."""
        listed, problem = await self._list_entered(directory, path)
        if problem is not None or listed is None:
            if not parsed.entries:
                return parsed, None  # LIST of an empty directory may look like that of a forbidden one
            why = problem.reason if problem is not None else "there is none"
            return None, Problem(directory, f"it cannot be told which of its entries are links: {why}")
        others = {entry.name: entry for entry in listed.entries if entry.kind in _OTHERS}
        entries = [others.pop(entry.name, entry) for entry in parsed.entries]
        return attrs.evolve(parsed, entries=(*entries, *others.values())), None

    async def _list_entered(self, directory: str, path: str) -> tuple[ParsedListing | None, Problem | None]:
        """List a directory with CWD and LIST, as `parse_directory` says."""
        known = self._connection.known
        (reply,) = await self._connection.control.exchange([command_line("CWD", path)])
        entered = checked("CWD", reply)
        if lacks_cwd := known.commands.lacks("CWD", entered):
            known.has_cwd = False
        elif not entered.is_positive:
            return None, Problem(directory, str(entered), vanished=entered.code == 550)
        listed = await self._list_current((path,) if lacks_cwd else known.list_options)
        if isinstance(listed, Reply):
            return None, Problem(directory, str(listed))
        shows_nothing = listed.is_whole and not listed.entries and not listed.has_dot_entries
        if shows_nothing and not await self._lists_no_dots():
            # Three of four servers answer so for a directory that they may not read: 226, and no data.
            return None, Problem(directory, "the server sent no entries, which may also mean no permission")
        return _with_problem(directory, listed)

    async def _list_current(self, arguments: Sequence[str | None]) -> ParsedListing | Reply:
        """List the current directory with LIST, or the one in ``arguments``. Returns the refusal if there is one.

        To some servers ``-a`` is the name of a file: they refuse it, or list nothing. Then LIST is sent without it.
        """
        known = self._connection.known
        results: list[ParsedListing | Reply] = []
        for option in arguments:
            data = await self._fetch(command_line("LIST", option))
            if not isinstance(data, bytes):
                results.append(data)
                continue
            parsed = parse_list(data)
            known.lists_no_dots = parsed.is_dos or known.lists_no_dots
            if parsed.entries or parsed.has_dot_entries or not parsed.is_whole:
                known.list_options = (option,) if option in known.list_options else known.list_options
                return parsed
            results.append(parsed)
        return next((result for result in results if isinstance(result, ParsedListing)), results[0])

    async def _lists_no_dots(self) -> bool:
        """Return whether an empty answer to LIST is the listing of an empty directory, as in DOS form."""
        known = self._connection.known
        if not known.lists_no_dots and not known.commands.works("SYST"):
            known.commands.note("SYST")  # asked once
            (system,) = await self._connection.control.play(dialogues.exchange([(command_line("SYST"),)]))
            known.lists_no_dots = system.is_positive and system.text.startswith("Windows")
        return known.lists_no_dots

    async def _why_unlisted(self, directory: str, refusal: Reply) -> Problem:
        """Return why a directory cannot be listed: ``vanished`` when it does not exist."""
        # Not by CWD: Pure-FTPd delays every one that fails, longer each time.
        (looked,) = await self._connection.control.exchange([command_line("MLST", self._connection.at(directory))])
        return Problem(directory, str(refusal), vanished=checked("MLST", looked).code == 550)

    async def _fetch(self, line: bytes, ahead: Callable[[], bool] = nothing_ahead) -> bytes | Reply:
        """Return the data that a listing command sends, or the server's refusal.

        When another listing follows, its port is requested as soon as the data of this one has ended, while the final
        reply is still due: ProFTPD sends that reply only after our close. The transfer is over by then, on both sides.
        """
        connection = self._connection
        control = connection.control
        data, _ = await connection.open_data()
        is_open, reply = await connection.begin_download(data, line)
        content, asks_port = b"", False
        if is_open and not reply.is_refusal:
            content = await data.receive_all(_MAX_LISTING)
            asks_port = ahead() and connection.asks_port_ahead
        connection.close_data()  # before the final reply: ProFTPD waits for it
        if asks_port:
            await control.send([command_line("EPSV")])
        if reply.is_preliminary:
            reply = checked(verb_of(line), await control.reply(None if is_open else control.timeouts.after_error))
        if asks_port:
            connection.keep_port(await control.reply())
        connection.check_resumption(data, reply)
        if reply.is_refusal:
            return reply
        if not is_open:
            raise ConnectionLost("the data connection was lost before the listing")
        return content

    # Names.

    async def names(self, directory: str) -> tuple[set[str], OperationRefused | None]:
        """Return the names in a directory, and a refusal when they cannot be read."""
        parsed, problem = await self.parse_directory(directory)
        if parsed is None:
            why = problem.reason if problem else ""
            return set(), OperationRefused(f"cannot check how the server stores its name: {why}")
        return {found.name for found in parsed.entries}, None


def _with_problem(directory: str, parsed: ParsedListing) -> tuple[ParsedListing, Problem | None]:
    if parsed.is_whole:
        return parsed, None
    return parsed, Problem(directory, "; ".join(parsed.problems) or "the listing is incomplete")


def _with_links_in(parsed: ParsedListing, names: Collection[str]) -> ParsedListing:
    """Return a listing in which the entries of these names are links."""
    if not names:
        return parsed
    entries = [attrs.evolve(it, kind=Kind.LINK) if it.name in names else it for it in parsed.entries]
    return attrs.evolve(parsed, entries=tuple(entries))
