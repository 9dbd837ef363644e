"""The scanner: lists the source, several directories at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import attrs
import trio

from actorsync.actors.messages import Fact, Finding, Several, Turn, holding
from actorsync.actors.second_look import SecondLook
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.endpoints.contract import ReadSession, Source, list_first
from actorsync.model.entry import WHOLE_TREE, Kind, Problem, Root, ScanComplete, Scope, join
from actorsync.model.event import Learned, Scanned, Warned
from actorsync.model.left_out import NOTHING, LeftOut
from actorsync.model.operation import Side
from actorsync.model.row import CODES, ListingRows, decode, encode, rows_of
from actorsync.model.text import counted, display
from actorsync.planning.selection import Selection
from actorsync.planning.walk import Walk, WholeWalk, directories_of

__all__ = ["KEPT_BACK", "WALKERS", "Scanner", "is_slow", "select"]

#: Listings in progress at once: a cold disk answers two together. While the disk is warm they take turns.
WALKERS = 2

#: Directories that a session is asked for at once, at most. Those that it does not list are asked for again.
BATCH = 64

#: A source that takes longer than this is slow: seconds for each call, and for each entry.
SLOW_CALL, SLOW_ENTRY = 0.005, 20e-6

#: The trait of the source that holds what was reported as kept back.
KEPT_BACK = "kept back"

#: How many entries that report names.
_NAMED = 5

_FILE, _DIRECTORY, _LINK, _OTHER = (CODES[kind] for kind in (Kind.FILE, Kind.DIRECTORY, Kind.LINK, Kind.OTHER))


@define
class Scanner:
    """Walk ``source`` breadth first and send `ListingRows`, several directories at a time, then `ScanComplete`.

    A directory is sent before the directories in it. ``begin_at`` are the directories at which the scan begins: it
    lists these and everything below them, and its `ScanComplete` has that `Scope`. ``partial`` returns the walk of a
    scan that lists a part of the source, or None if this root needs a whole scan. ``links_are_errors``: a symbolic link
    is reported as a problem instead of being hidden. ``links_are_followed``: a link that the source still shows as
    one leads outside the source, nowhere, or in a circle.

    ``turn`` is held while a listing keeps the processor busy: threads that compete for the interpreter take three times
    as long as threads that take turns. A slow source is listed without it, so that a wait holds up no other actor.
    """

    source: Source
    selection: Selection
    statistics: Statistics
    turn: Turn
    links_are_errors: bool = False
    links_are_followed: bool = False
    walkers: int = WALKERS
    begin_at: Sequence[str] = ("",)
    partial: Callable[[Root], Walk | None] = lambda _: None
    second_look: SecondLook = attrs.field(default=attrs.Factory(lambda self: SecondLook(self.source), takes_self=True))
    """Tells whether a directory that cannot be listed has vanished."""
    told: str = ""
    """What an earlier run reported as kept back: the same is not reported again."""
    is_first: bool = False
    """Whether no earlier run has seen this source: an empty one is then reported."""
    _kept_back: list[str] = attrs.field(factory=list, init=False)
    _found: int = attrs.field(default=0, init=False)
    _hidden: int = attrs.field(default=0, init=False)
    _problems: int = attrs.field(default=0, init=False)
    _is_slow: bool = False

    async def run(self, listings: trio.MemorySendChannel[Finding], facts: trio.MemorySendChannel[Fact]) -> None:
        """Scan once. Raises `GuardRefused` when the root is not a directory that can be read."""
        with holding(listings, facts):
            root = await self.source.identify()
            walk = self.partial(root)
            if walk is None:
                walk = WholeWalk(Scope.of(self.begin_at))
            await self._list_all(walk, listings, facts)
            if walk.scope == WHOLE_TREE:
                await self._report_kept_back(facts)
                if self.is_first and not self._found:
                    await facts.send(Warned(nothing_text(self.source.display, self._hidden)))
            await listings.send(ScanComplete(root, walk.scope, self._problems))

    async def _list_all(
        self, walk: Walk, listings: trio.MemorySendChannel[Finding], facts: trio.MemorySendChannel[Fact]
    ) -> None:
        changed = trio.Condition()
        busy = 0

        async def walker() -> None:
            nonlocal busy
            async with self.source.open_session() as session:
                while True:
                    async with changed:
                        while walk.is_empty and busy:
                            await changed.wait()
                        if walk.is_empty:
                            return
                        batch = walk.next(min(BATCH, -(-len(walk) // self.walkers)))
                        busy += 1
                    listed = await self._list(session, batch)
                    walk.put_back(batch[len(listed) :])
                    found = [await self._confirmed(session, it) for it in walk.judge(listed)]
                    results, scanned = self._select(found)
                    below = [path for selected in results for path in walk.below(selected)]
                    if results:
                        await facts.send(Several(scanned))
                        await listings.send(tuple(results))
                    async with changed:
                        walk.add(below)
                        busy -= 1
                        changed.notify_all()

        async with trio.open_nursery() as nursery:
            for _ in range(self.walkers):
                nursery.start_soon(walker)

    async def _report_kept_back(self, facts: trio.MemorySendChannel[Fact]) -> None:
        """Report what is never sent, unless an earlier run has reported the same."""
        text = kept_back_text(self._kept_back)
        if text != self.told:
            if text:
                await facts.send(Warned(text))
            await facts.send(Learned(Side.SOURCE, KEPT_BACK, text))

    def _select(self, found: Sequence[ListingRows]) -> tuple[list[ListingRows], list[Scanned]]:
        """Return what of some directories is mirrored, and an event for each of them."""
        results: list[ListingRows] = []
        scanned: list[Scanned] = []
        for listed in found:
            selected, problems = select(listed, self.selection, links_are_errors=self.links_are_errors)
            left_out = self._left_out(listed, selected) if selected.hidden else NOTHING
            directories = directories_of(selected)
            files = len(selected.rows) - len(directories)
            self.statistics.files_found += files
            self._found += len(selected.rows) + len(problems)
            self._hidden += len(selected.hidden)
            self._problems += 0 if listed.problem else len(problems)
            scanned.append(Scanned(listed.directory, files, len(directories), len(selected.hidden), problems, left_out))
            results.append(selected)
        return results, scanned

    def _left_out(self, listed: ListingRows, selected: ListingRows) -> LeftOut:
        """Return the reasons why ``selected`` hides entries of a directory. What a pattern excludes has no other."""
        kept_back = self._kept_back_of(listed.directory, selected.hidden)
        self._kept_back += kept_back
        counts = Counter(
            row[1]
            for row in listed.rows
            if row[1] != _FILE
            and row[1] != _DIRECTORY
            and self.selection.is_included(join(listed.directory, decode(row[0])), is_directory=False)
        )
        links, special = counts[_LINK], counts[_OTHER]
        return LeftOut(
            excluded=len(selected.hidden) - len(kept_back) - links - special,
            links=0 if self.links_are_errors or self.links_are_followed else links,
            outside=links if self.links_are_followed else 0,
            special=special,
            private=len(kept_back),
        )

    def _kept_back_of(self, directory: str, hidden: frozenset[str]) -> list[str]:
        """Return the paths in a directory that are hidden because they are never sent."""
        selection = self.selection
        paths = [join(directory, name) for name in selection.may_be_private(directory) & hidden]
        return [
            it
            for it in paths
            if selection.is_private(it, is_directory=True) and selection.is_selected(it, is_directory=True)
        ]

    async def _confirmed(self, session: ReadSession, listed: ListingRows) -> ListingRows:
        """Return a listing as it is. A directory that does not exist is looked for, and listed again if it is shown."""
        if listed.problem is None or not listed.problem.vanished:
            return listed
        if await self.second_look.has_vanished(listed.directory):
            return listed
        again = rows_of(await session.list_directory(listed.directory))
        if again.problem is None or not again.problem.vanished:
            return again
        reason = f"{again.problem.reason}, but the source still lists it"
        return attrs.evolve(again, problem=Problem(listed.directory, reason))

    async def _list(self, session: ReadSession, directories: Sequence[str]) -> Sequence[ListingRows]:
        """List the first of the directories, and maybe more; in turn, unless the source is slow."""
        if self._is_slow:
            return await self._list_now(session, directories)
        async with self.turn.taken():
            return await self._list_now(session, directories)

    async def _list_now(self, session: ReadSession, directories: Sequence[str]) -> Sequence[ListingRows]:
        began = trio.current_time()
        found = await list_first(session, directories)
        self._is_slow = is_slow(trio.current_time() - began, sum(len(listed.rows) for listed in found))
        return found


def kept_back_text(paths: Iterable[str]) -> str:
    """Return one line about the entries that are never sent; ``""`` if there are none."""
    found = sorted(paths)
    if not found:
        return ""
    named = ", ".join(display(path) for path in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    way_out = '; to send .git: include = [".git/"]' if any(path.rpartition("/")[2] == ".git" for path in found) else ""
    return f"never sent: {named}{more}: the profile, its secrets, journals and .git stay on this machine{way_out}"


def nothing_text(source: str, hidden: int) -> str:
    """Return one line about a source in which there is nothing to mirror. ``hidden`` entries are left out."""
    if hidden:
        entries = counted(hidden, "entry", "entries")
        return f"nothing in {display(source)} is mirrored: all is left out ({entries}); check the patterns and links"
    return f"the source is empty: {display(source)}; if this is not intended, check its path"


def is_slow(seconds: float, entries: int) -> bool:
    """Tell by the time of one call whether a source is slow: a disk that is cold, or far away."""
    return seconds > SLOW_CALL + entries * SLOW_ENTRY


def select(
    found: ListingRows, selection: Selection, *, links_are_errors: bool = False
) -> tuple[ListingRows, tuple[Problem, ...]]:
    """Split what was found into what is mirrored and what is hidden; links are problems where they are errors."""
    if found.problem is not None:
        return found, (found.problem,)
    rows, hidden = found.rows, set(found.hidden)
    private = {encode(name) for name in selection.may_be_private(found.directory)}
    if not selection.is_everything or (private and any(row[0] in private for row in rows)):
        rows = []
        for row in found.rows:
            name = decode(row[0])
            if selection.is_included(join(found.directory, name), row[1] == _DIRECTORY):
                rows.append(row)
            else:
                hidden.add(name)
    others = [row for row in rows if row[1] != _FILE and row[1] != _DIRECTORY]
    problems: tuple[Problem, ...] = ()
    if others:
        rows = [row for row in rows if row[1] == _FILE or row[1] == _DIRECTORY]
        hidden.update(decode(row[0]) for row in others)
        if links_are_errors:
            links = [join(found.directory, decode(row[0])) for row in others if row[1] == _LINK]
            problems = tuple(Problem(path, 'is a symbolic link, and links = "error"') for path in links)
    return ListingRows(found.directory, rows, frozenset(hidden)), problems
