"""The pair scanner: lists the same directory on both sides in one step, and judges what is in it.

Memory holds one directory of each side for each walker, and what there is to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol, runtime_checkable

import attrs
import trio

from actorsync.actors.messages import Blocking, Fact, Several, holding, in_thread
from actorsync.actors.pairs.contents import Contents, Sides
from actorsync.actors.pairs.scan import NothingAgreed, PairScan
from actorsync.actors.scanner import select
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.endpoints.contract import ReadSession, Source, list_first, look
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Root, join, name_of, parent_of
from actorsync.model.event import Agreed, Event, Forgotten, MemoryVoided, Scanned, Warned
from actorsync.model.operation import Compare, Failed, Side
from actorsync.model.pair import Agreement
from actorsync.model.row import ListingRows, decode, entries_of, rows_of
from actorsync.planning.pairs.clocks import Clocks, tells_minutes
from actorsync.planning.pairs.copies import copies_of
from actorsync.planning.pairs.stamp import Stamp
from actorsync.planning.pairs.states import State
from actorsync.planning.pairs.verdicts import Below, Pair, PairListing, Verb, Verdict, judge, judge_directory
from actorsync.planning.reconcile import has_same_time
from actorsync.planning.selection import Selection
from actorsync.planning.temporary_names import final_of, is_own

__all__ = ["PairScanner", "ScanMemory"]

_DIRECTORY: Final = 2
_FILE: Final = 1


class ScanMemory(Protocol):
    """What the pair scanner needs from a journal."""

    def children(self, directory: str) -> dict[str, Agreement]: ...

    def rows(self, directory: str) -> list[tuple[object, ...]]: ...


@runtime_checkable
class KnownByListing(Protocol):
    """Optional for a side: its root is known by a listing, which need not be made again."""

    async def identify_and_list(self) -> tuple[Root, Listing]: ...


@define(eq=False)
class PairScanner:
    """An actor: walks both trees at the same time, and collects what follows.

    ``begin_at`` are the directories of a partial scan, which goes into what is new below them and into nothing else.
    ``unsettled`` are paths of which an earlier run has left something that could not be looked at: they are unknown.
    """

    source: Source
    target: Source
    memory: ScanMemory
    selection: Selection
    statistics: Statistics
    clocks: Clocks
    wall_clock_ns: Callable[[], int]
    draining: trio.Event
    stamp: Stamp
    walkers: int = 4
    by_size_time: bool = False
    by_content: bool = False
    is_first: bool = False
    """Whether no run has ever looked at all of both sides: then equal sizes and times are believed."""
    begin_at: Sequence[str] = ("",)
    is_partial: bool = False
    blocking: Blocking = in_thread
    unsettled: set[str] = attrs.Factory(set)
    recover: Callable[[trio.MemorySendChannel[Fact]], Awaitable[set[str]]] | None = None
    """Puts right what a run that died has left in the middle, and returns the paths that it could not look at."""
    scan: PairScan = attrs.Factory(PairScan)
    _stack: list[Below] = attrs.field(factory=list, init=False)

    async def run(self, done: trio.MemorySendChannel[PairScan], facts: trio.MemorySendChannel[Fact]) -> None:
        """Scan once, and send all that was found. Raises `GuardRefused` if a root is no directory that can be read."""
        with holding(done, facts):
            if self.recover is not None:
                self.unsettled |= await self.recover(facts)
            self.scan.began_ns = self.wall_clock_ns()
            for side, place in ((Side.SOURCE, self.source), (Side.TARGET, self.target)):
                if isinstance(place, KnownByListing) and not self.is_partial:
                    self.scan.roots[side], listing = await place.identify_and_list()
                    self.scan.listed[side] = rows_of(listing)
                else:
                    self.scan.roots[side] = await place.identify()
            self._stack += [Below(path) for path in self.begin_at]
            await self._walk(facts)
            if not self.draining.is_set():
                await done.send(self.scan)

    async def _walk(self, facts: trio.MemorySendChannel[Fact]) -> None:
        changed, busy = trio.Condition(), 0

        async def walker() -> None:
            nonlocal busy
            async with AsyncExitStack() as stack:
                source = await stack.enter_async_context(self.source.open_session())
                sides = Sides(source, await stack.enter_async_context(self.target.open_session()))
                while not self.draining.is_set():
                    async with changed:
                        while not self._stack and busy:
                            await changed.wait()
                        if not self._stack:
                            return
                        below = self._stack.pop()
                        busy += 1
                    found, events = await self._visit(sides, below)
                    await facts.send(Several(events))
                    async with changed:
                        self._stack += found
                        busy -= 1
                        changed.notify_all()

        async with trio.open_nursery() as nursery:
            for _ in range(self.walkers):
                nursery.start_soon(walker)

    # One directory.

    async def _visit(self, sides: Sides, below: Below) -> tuple[list[Below], list[Event]]:
        """List one directory on both sides, and judge it. Return what to go into, and what to record."""
        listed: dict[Side, ListingRows] = {side: ListingRows(below.path) for side in Side}

        async def list_side(side: Side) -> None:
            if not below.path and (known := self.scan.listed.pop(side, None)) is not None:
                listed[side] = known
                return
            (listed[side], *_) = await list_first(sides.on(side), [below.path])

        async with trio.open_nursery() as nursery:
            for side, is_there in ((Side.SOURCE, below.on_source), (Side.TARGET, below.on_target)):
                if is_there:
                    nursery.start_soon(list_side, side)
        if self._is_missing(below, listed):
            return [Below(parent_of(below.path))], []  # it is gone from one side: the directory above shows that
        selected = {side: self._select(side, rows) for side, rows in listed.items()}
        events: list[Event] = [self._scanned(below.path, selected)]
        if any(rows.problem is not None for rows in selected.values()):
            self.scan.staying.add(below.path)
            self.scan.problems += 1
            return [], events
        if not below.path:
            self.scan.seen = {side: len(rows.rows) for side, rows in selected.items()}
            events += await self._check_stamp(sides.target)
        if not below.is_on_both:
            hidden = selected[Side.SOURCE].hidden | selected[Side.TARGET].hidden
            self.scan.staying |= {join(below.path, it) for it in hidden if not is_own(it)}
        same = await self.blocking(self._as_agreed, below, selected)
        if same is not None:
            return ([] if self.is_partial else same), events
        found = await self._judge(sides, below, selected, events)
        return found, events

    def _is_missing(self, below: Below, listed: dict[Side, ListingRows]) -> bool:
        """Return whether a side does not have a directory at which a partial scan begins."""
        is_begin = self.is_partial and below.path in self.begin_at and below.path != ""
        return is_begin and any(it.problem is not None and it.problem.is_missing for it in listed.values())

    async def _check_stamp(self, target: ReadSession) -> list[Event]:
        """Forget what the journal has if it is not that of the last run. The root is the first directory of a scan."""
        shown = [name_of(entry.path) for entry in self.scan.own[Side.TARGET]]
        stamp = self.stamp
        if not stamp.tokens or stamp.is_shown(shown):
            return []
        # Some servers do not list names with a leading dot.
        found = await look(target, [Entry(name, Kind.FILE) for name in stamp.names])
        if any(isinstance(it, Entry | OperationRefused) for it in found):
            return []
        self.memory, self.is_first = NothingAgreed(), True
        return [
            MemoryVoided("does not have the stamp of the last run"),
            Warned(
                "the target does not have the stamp of the last run: the journal is older than it, or the target is "
                "another one; both sides are compared as in a first run, and nothing is removed"
            ),
        ]

    def _select(self, side: Side, rows: ListingRows) -> ListingRows:
        own = list(entries_of(rows.directory, [it for it in rows.rows if is_own(decode(it[0]))]))
        if own:
            self.scan.own[side] += own
            names = {entry.path.rpartition("/")[2] for entry in own}
            left = [it for it in rows.rows if decode(it[0]) not in names]
            self.unsettled |= _without_their_names(own, {decode(it[0]) for it in left})
            rows = attrs.evolve(rows, rows=left, hidden=rows.hidden | names)
        selected, _ = select(rows, self.selection)
        self.statistics.files_found += sum(row[1] == _FILE for row in selected.rows)
        return selected

    def _scanned(self, directory: str, selected: dict[Side, ListingRows]) -> Scanned:
        """Return the event of a directory, which counts what either side has."""
        rows = {row[0]: row[1] for side in Side for row in selected[side].rows}
        directories = sum(code == _DIRECTORY for code in rows.values())
        hidden = selected[Side.SOURCE].hidden | selected[Side.TARGET].hidden
        problems = tuple(
            attrs.evolve(it.problem, reason=f"on the {side.value}: {it.problem.reason}")
            for side, it in selected.items()
            if it.problem is not None
        )
        own = sum(is_own(name) for name in hidden)
        return Scanned(directory, len(rows) - directories, directories, len(hidden) - own, problems)

    def _as_agreed(self, below: Below, selected: dict[Side, ListingRows]) -> list[Below] | None:
        """Return the directories to go into if both sides are exactly as recorded; None if something differs.

        For most directories this is all, and no object is made of any entry.
        """
        if not below.is_on_both:
            return None
        rows = self.memory.rows(below.path)
        source, target = selected[Side.SOURCE].rows, selected[Side.TARGET].rows
        if not len(rows) == len(source) == len(target):
            return None
        for row, ours, theirs in zip(rows, source, target, strict=True):
            if row[:6] != ours[:6] or row[0] != theirs[0] or row[6:11] != theirs[1:6] or row[11]:
                return None
        return [Below(join(below.path, decode(it[0]))) for it in source if it[1] == _DIRECTORY]

    async def _judge(
        self, sides: Sides, below: Below, selected: dict[Side, ListingRows], events: list[Event]
    ) -> list[Below]:
        agreements = await self.blocking(self.memory.children, below.path)
        listings = {
            side: Listing(it.directory, tuple(entries_of(it.directory, it.rows)), it.hidden)
            for side, it in selected.items()
        }
        unknown = frozenset(it.rpartition("/")[2] for it in self.unsettled if parent_of(it) == below.path)
        listings = {side: attrs.evolve(it, hidden=it.hidden | unknown) for side, it in listings.items()}
        listed = PairListing(below.path, listings[Side.SOURCE], listings[Side.TARGET])
        found: list[Below] = []
        contents = Contents(sides)
        is_exact = not any(tells_minutes(it.entries) for it in listings.values())
        hides = self.selection.hides
        for item in judge_directory(listed, agreements, hides, by_size_time=self.by_size_time):
            if isinstance(item, Below):
                found.append(item)
                continue
            for one in await self._decided(contents, item, is_exact=is_exact):
                if isinstance(one, Below):
                    found.append(one)
                else:
                    self._take(one, listed, events)
                    if one.verb is Verb.CONFLICT:
                        await self._note_proofs(contents, one.pair)
                        await self._look_for_copies(contents, one.pair, agreements)
        if self.is_partial:
            found = [it for it in found if it.path.rpartition("/")[2] not in agreements or not it.is_on_both]
        return found

    async def _decided(self, contents: Contents, verdict: Verdict, *, is_exact: bool) -> list[Verdict | Below]:
        """Return what follows from a verdict once the contents are known that it depends on.

        ``is_exact``: both sides tell times at least to the second.
        """
        match verdict.verb:
            case Verb.VERIFY:
                return await self._verified(contents, verdict.pair, is_exact=is_exact)
            case Verb.COMPARE:
                return [await self._compared(contents, verdict, is_exact=is_exact)]
            case _:
                return [verdict]

    async def _verified(self, contents: Contents, pair: Pair, *, is_exact: bool) -> list[Verdict | Below]:
        for side in Side:
            if pair.state(side) is State.DOUBTFUL:
                entry, agreement = pair.on(side), pair.agreement
                assert entry is not None, f"nothing to verify: {pair.path}"
                assert agreement is not None, f"nothing agreed: {pair.path}"
                digest = await contents.digest(side, entry)
                if digest is None:
                    return [self._unread(pair, side)]
                pair = pair.with_state(side, State.SAME if digest == agreement.digest else State.CHANGED)
        return [it for one in judge(pair) for it in await self._again(contents, one, is_exact=is_exact)]

    async def _again(self, contents: Contents, item: Verdict | Below, *, is_exact: bool) -> list[Verdict | Below]:
        return [item] if isinstance(item, Below) else await self._decided(contents, item, is_exact=is_exact)

    async def _compared(self, contents: Contents, verdict: Verdict, *, is_exact: bool) -> Verdict:
        """Decide about two files of the same size that have both changed, or are both new.

        In a first run there may be very many, and the times are those that an earlier copy has set. Later there are
        few, and two users may have written in the same second.
        """
        pair = verdict.pair
        source, target = pair.source, pair.target
        assert source is not None, f"no file to compare: {pair.path}"
        assert target is not None, f"no file to compare: {pair.path}"
        now = self.wall_clock_ns()
        is_proved = (
            self.is_first
            and pair.agreement is None
            and not self.by_content
            and has_same_time(source, target)
            and not any(self.clocks.doubts(side, entry, now) for side, entry in self._halves(source, target))
            and is_exact
        )
        if is_proved:
            return attrs.evolve(verdict, verb=Verb.AGREE)
        digest = await contents.same(source, target)
        if digest is None:
            return self._unread(pair, None)
        if digest:
            return attrs.evolve(verdict, verb=Verb.AGREE, digest=digest)
        return attrs.evolve(verdict, verb=Verb.CONFLICT)

    @staticmethod
    def _halves(source: Entry, target: Entry) -> tuple[tuple[Side, Entry], tuple[Side, Entry]]:
        return (Side.SOURCE, source), (Side.TARGET, target)

    def _unread(self, pair: Pair, side: Side | None) -> Verdict:
        """Return the verdict for a file that cannot be read, or changes: it is left for the next run."""
        where = "one of the sides" if side is None else f"the {side.value}"
        return Verdict(
            Verb.LEAVE, pair, reason=f"it could not be read on {where}, or it changes: left for the next run"
        )

    def _take(self, verdict: Verdict, listed: PairListing, events: list[Event]) -> None:
        """Keep a verdict, or turn it into what the journal is to record."""
        pair = verdict.pair
        match verdict.verb:
            case Verb.AGREE:
                events.append(Agreed(self._agreement(verdict), is_new=pair.agreement is None))
            case Verb.FORGET:
                events.append(Forgotten(pair.path))
            case Verb.LEAVE:
                self.scan.staying.add(pair.path)
                if verdict.reason and pair.source is not None:
                    events.append(Failed(Compare(pair.source, pair.target or pair.source), verdict.reason))
            case _:
                self.scan.add(verdict)
        if verdict.verb is Verb.CONFLICT:
            names = (entry.path.rpartition("/")[2] for it in (listed.source, listed.target) for entry in it.entries)
            self.scan.names[pair.path] = frozenset(names) | listed.source.hidden | listed.target.hidden
            self.scan.copies[pair.path] = {
                side: {it.path: it for it in copies_of(pair.path, listed.on(side).entries)} for side in Side
            }

    def _agreement(self, verdict: Verdict) -> Agreement:
        pair, then = verdict.pair, verdict.pair.agreement
        assert pair.source is not None, f"one side does not have it: {pair.path}"
        assert pair.target is not None, f"one side does not have it: {pair.path}"
        is_same = (pair.source_state, pair.target_state) == (State.SAME, State.SAME)
        digest = verdict.digest or (then.digest if then is not None and is_same else None)
        if pair.source.kind is Kind.DIRECTORY:
            return Agreement(pair.source, pair.target)
        doubt = self.clocks.doubt(pair.source, pair.target, self.wall_clock_ns())
        return Agreement(pair.source, pair.target, digest, doubt)

    async def _note_proofs(self, contents: Contents, pair: Pair) -> None:
        """Read the files in conflict whose times prove nothing: whichever side loses, exactly this version is meant."""
        for side in Side:
            entry = pair.on(side)
            is_file = entry is not None and entry.kind is Kind.FILE
            if entry is not None and is_file and self.clocks.doubts(side, entry, self.scan.began_ns):
                self.scan.proofs[side, pair.path] = await contents.digest(side, entry) or b""

    async def _look_for_copies(self, contents: Contents, pair: Pair, agreed: Container[str]) -> None:
        """Find out whether a version in conflict is kept already, by an earlier conflict.

        A copy that only one side has counts if it is new there. If its name is among the ``agreed`` ones, it was
        removed or renamed on the other side, and is about to go.
        """
        copies = self.scan.copies[pair.path]
        found = [
            {side: copies[side][path] for side in Side if path in copies[side]}
            for path in copies[Side.SOURCE] | copies[Side.TARGET]
            if all(path in copies[side] for side in Side) or name_of(path) not in agreed
        ]
        for side in Side:
            entry = pair.on(side)
            alike = [it for it in found if entry is not None and {copy.size for copy in it.values()} == {entry.size}]
            if entry is None or entry.kind is not Kind.FILE or not alike:
                continue
            digest = await contents.digest(side, entry)
            for halves in alike if digest is not None else ():
                if {await contents.digest(where, copy) for where, copy in halves.items()} == {digest}:
                    self.scan.kept.setdefault(pair.path, set()).add(side)
                    break


def _without_their_names(own: Sequence[Entry], shown: Container[str]) -> set[str]:
    """Return the paths of files that are aside and have no other file under their names: those are not gone."""
    finals = ((it.path, final_of(name_of(it.path))) for it in own)
    return {join(parent_of(path), name) for path, name in finals if name is not None and name not in shown}
