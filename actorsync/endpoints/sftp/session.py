"""An SFTP session under the contract: directories listed and made, files removed and read; uploads are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from actorsync.endpoints.contract import Content, Relocation
from actorsync.endpoints.sftp.connection import Server
from actorsync.endpoints.sftp.read import open_content
from actorsync.endpoints.sftp.upload import SftpUploads
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.endpoints.shared.symlink_guard import astray
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Problem, join, parent_of
from actorsync.model.text import display, shorten
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import packets as sftp
from actorsync.protocols.sftp.packets import Attributes, Status

__all__ = ["Server", "SftpSession"]

#: What a server gets to have a temporary removed when we are on our way out. One that is silent by then stays silent.
_ABANDON_SECONDS = 2.0


class SftpSession(SftpUploads):
    """One connection, with every verb of the contract. Tasks may use it side by side."""

    async def list_directory(self, directory: str) -> Listing:
        """List a directory; names that cannot be in one make all of it unknown."""
        if why := self._fault(directory):
            return Listing(directory, problem=Problem(directory, why))
        found = await self._wire.play(ask.list_directory(self._at(directory)))
        if isinstance(found, Status):
            return Listing(directory, problem=await self._problem(directory, found))
        if (fault := _fault_of([name for name, _ in found])) is not None:
            return Listing(directory, problem=Problem(directory, fault))
        known = {join(directory, name): attributes for name, attributes in found}
        await self._look_again(known)
        entries = [sftp.entry_of(path, attributes) for path, attributes in known.items()]
        told = tuple(entry for entry in entries if entry is not None)
        if len(told) < len(entries):
            return Listing(directory, problem=Problem(directory, "the server does not say what its entries are"))
        return Listing(directory, told)

    async def _look_again(self, known: dict[str, Attributes]) -> None:
        """Ask what the listing did not tell."""
        vague = [path for path, attributes in known.items() if attributes.kind is None]
        answers = await self._wire.play(ask.look([self._at(path) for path in vague])) if vague else []
        known.update({p: answer for p, answer in zip(vague, answers, strict=True) if isinstance(answer, Attributes)})

    async def _problem(self, directory: str, status: Status) -> Problem:
        if not status.is_missing:
            return Problem(directory, f"the server does not list it: {status}")
        (found,) = await self._wire.play(ask.look([self._at(directory)]))
        if isinstance(found, Attributes):
            return Problem(directory, "it is not a directory")
        return Problem(directory, "it is not there", vanished=True)

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a file for reading, a few reads ahead."""
        if why := self._fault(path):
            raise OperationRefused(f"cannot open {display(path)!r}: {why}")
        return open_content(self._wire, self._reading, path, self._at(path))

    # Directories and removals.

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories level by level. Those above the root may be links, those below it may not."""
        if "" in paths:
            refusal = await self._wire.play(ask.make_root(self._server.root))
            if refusal is not None:
                return [refusal for _ in paths]
        faults = {path: OperationRefused(why) for path in paths if (why := self._fault(path))}
        links = await self._through_links(sorted({parent_of(path) for path in paths if path} - set(paths)))
        faults |= {path: astray(links[parent_of(path)]) for path in paths if path and parent_of(path) in links}
        good = [path for path in paths if path and path not in faults]
        made = await self._wire.play(ask.make_directories([self._at(path) for path in good]))
        results: dict[str, OperationRefused | None] = {**faults}
        for path, refusal in zip(good, made, strict=True):
            results[path] = None if refusal is None else await self._vague(refusal, path)
            if refusal is None:
                self._straight.add(path)
        return [results.get(path) or Entry(path, Kind.DIRECTORY) for path in paths]

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove what is still as its entry says: files in one flight, then directories from the deepest up."""
        results: dict[Entry, bool | OperationRefused] = {}
        usable: list[Entry] = []
        links = await self._through_links([parent_of(entry.path) for entry in entries])
        for entry in dict.fromkeys(entries):
            why = self._fault(entry.path) or (None if entry.path else "it is the root")
            if parent_of(entry.path) in links:
                results[entry] = astray(links[parent_of(entry.path)])
            elif why:
                results[entry] = OperationRefused(why)
            else:
                usable.append(entry)
        doomed: list[Entry] = []
        for entry, found in zip(
            usable, await self._wire.play(ask.look([self._at(entry.path) for entry in usable])), strict=True
        ):
            verdict = _verdict(entry, found)
            if verdict is None:
                doomed.append(entry)
            else:
                results[entry] = verdict
        files = [entry for entry in doomed if entry.kind is not Kind.DIRECTORY]
        folders = [entry for entry in doomed if entry.kind is Kind.DIRECTORY]
        removed = await self._wire.play(ask.remove_files([self._at(entry.path) for entry in files]))
        results |= {entry: refusal or True for entry, refusal in zip(files, removed, strict=True)}
        unmade = await self._wire.play(ask.remove_directories([self._at(entry.path) for entry in folders]))
        results |= dict(zip(folders, unmade, strict=True))
        for entry, result in results.items():
            if result is True:
                self._folding.give_up(entry.path)
        return [results[entry] for entry in entries]

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename what is still as its entry says, in two flights: the request of SFTP that replaces nothing."""
        results: dict[int, Entry | OperationRefused] = {}
        usable: list[int] = []
        links = await self._through_links([parent_of(path) for it in relocations for path in (it.entry.path, it.path)])
        for place, item in enumerate(relocations):
            link = links.get(parent_of(item.path)) or links.get(parent_of(item.entry.path))
            why = self._fault(item.entry.path) or self._fault(item.path)
            refusal = astray(link) if link else OperationRefused(why) if why else await self._claim(item.path)
            if refusal is None:
                usable.append(place)
            else:
                results[place] = refusal
        pairs = {
            place: (self._at(relocations[place].entry.path), self._at(relocations[place].path)) for place in usable
        }
        found = await self._wire.play(ask.look([path for pair in pairs.values() for path in pair]))
        for place, old, new in zip(usable, found[::2], found[1::2], strict=True):
            verdict = _whether_to_move(relocations[place], old, new)
            if verdict is not None:
                results[place] = verdict
                del pairs[place]
        renamed = await self._wire.play(ask.move_files(list(pairs.values())))
        for place, (status, shown) in zip(pairs, renamed, strict=True):
            item = relocations[place]
            entry = _shown(item, shown) if status.is_ok or status.is_missing else None
            results[place] = entry or OperationRefused(f"the server does not move it: {status}")
        for place, result in results.items():
            if isinstance(result, Entry):
                self._folding.give_up(relocations[place].entry.path)
        return [results[place] for place in range(len(relocations))]

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries; what was set aside for one comes back to its final name."""
        faults = {path: OperationRefused(why) for path in temporaries if (why := self._fault(path))}
        good = [path for path in temporaries if path not in faults]
        known = finals or {}
        results = await self._wire.play(
            ask.sweep(
                [
                    ask.Temporary(
                        self._at(path),
                        self._at(aside_of(path)),
                        self._at(known[path]) if path in known else None,
                        self._at(trial_beside(path)),
                    )
                    for path in good
                ]
            )
        )
        swept: dict[str, OperationRefused | None] = {**faults, **dict(zip(good, results, strict=True))}
        return [swept[path] or True for path in temporaries]

    async def abandon(self, temporary: str) -> bool:
        """Remove the temporary: what was in flight for it comes before that, or is refused."""
        with trio.move_on_after(_ABANDON_SECONDS):
            return (await self.sweep([temporary]))[0] is True
        return False

    def describe(self) -> Sequence[tuple[str, str]]:
        """Say what the server is and can do."""
        server = self._server
        return (
            ("server", display(server.description)),
            ("root", display(server.root or "/")),
            ("replacing", "in one stroke" if server.replaces else "in two steps, with the old file set aside"),
            ("times", "set with the file"),
            ("extensions", shorten(display(" ".join(sorted(server.extensions))), 300) or "none told"),
        )

    def warnings(self) -> Sequence[str]:
        """Warn when the server cannot do what the profile wants of it."""
        if self._fsync and not self._server.flushes:
            return ("the server cannot flush files to its disk when asked, so target.fsync has no effect",)
        return ()


def _fault_of(names: Sequence[str]) -> str | None:
    """Say what is wrong with the names of a directory, or None: no path is ever made of a name like these."""
    for name in names:
        if not name or "/" in name or "\0" in name:
            return f'the server lists a name that no file has: "{shorten(display(name), 100)}"'
    return "the server lists a name twice" if len(set(names)) < len(names) else None


def _whether_to_move(
    item: Relocation, old: Attributes | Status, new: Attributes | Status
) -> Entry | OperationRefused | None:
    """Say what becomes of a file without moving it, or None: it is to be moved."""
    if isinstance(old, Status):
        by_an_earlier_call = _shown(item, new) if old.is_missing else None
        return by_an_earlier_call or OperationRefused(f"not moved: the server does not show it: {old}")
    if _verdict(item.entry, old) is not None:
        return OperationRefused("not moved: it was changed on the server")
    if isinstance(new, Attributes):
        return OperationRefused("not moved: something is in its place")
    return None if new.is_missing else OperationRefused(f"not moved: whether its place is free is not known: {new}")


def _shown(item: Relocation, found: Attributes | Status) -> Entry | None:
    """Give what the server shows under the new name, if it is the file."""
    if isinstance(found, Status) or _verdict(attrs.evolve(item.entry, path=item.path), found) is not None:
        return None
    return sftp.entry_of(item.path, found)


def _verdict(entry: Entry, found: Attributes | Status) -> bool | OperationRefused | None:
    """Say what becomes of ``entry`` without removing it, or None: it is to be removed."""
    if isinstance(found, Status):
        return True if found.is_missing else OperationRefused(f"the server does not show it: {found}")
    now = sftp.entry_of(entry.path, found)
    if now is None or now.kind is not entry.kind:
        return OperationRefused("not removed: it was changed on the server")
    is_changed = now.size != entry.size or (
        None not in {now.mtime_ns, entry.mtime_ns} and now.mtime_ns != entry.mtime_ns
    )
    if entry.kind is Kind.FILE and is_changed:
        return OperationRefused("not removed: it was changed on the server")
    return None
