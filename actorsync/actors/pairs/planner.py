"""The planner of a two-way run: what was found on both sides becomes operations, and these are done step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, get_args

import attrs
import trio

from actorsync.actors.messages import Blocking, Fact, Settlement, Several, Unissued, holding, in_thread
from actorsync.actors.pairs.scan import PairScan
from actorsync.actors.pairs.steps import Steps, as_done
from actorsync.actors.pipeline import Decide
from actorsync.actors.second_look import SecondLook
from actorsync.actors.stages import blamed
from actorsync.actors.statistics import Statistics
from actorsync.classes import define, frozen
from actorsync.model.entry import Entry, Kind, Root, Scope, ancestors, join, name_of, parent_of
from actorsync.model.event import (
    Conflicted,
    ConflictEnded,
    Intended,
    Learned,
    PairScanned,
    Planned,
    RemovalsDelayed,
    RemovalsRefused,
    Swept,
    Warned,
)
from actorsync.model.operation import (
    Batch,
    Copy,
    Failed,
    Maintain,
    MakeDirectory,
    Move,
    Operation,
    Remove,
    Side,
)
from actorsync.model.pair import Agreement, Conflict, Pending, Take, other
from actorsync.planning.pairs.clocks import Clocks
from actorsync.planning.pairs.conflicts import Known, Resolution, resolve, take_of
from actorsync.planning.pairs.guards import objection
from actorsync.planning.pairs.outline import Outline, order, renamed, settle, to_confirm, without_staying
from actorsync.planning.pairs.rules import PairRule
from actorsync.planning.pairs.settling import Settling
from actorsync.planning.pairs.sharing import FILE_WEIGHT
from actorsync.planning.pairs.stamp import Stamp
from actorsync.planning.pairs.states import State
from actorsync.planning.pairs.unseen_links import WHY_HELD, without_held
from actorsync.planning.pairs.verdicts import Verb, Verdict
from actorsync.planning.removal_guard import DeleteLimit
from actorsync.planning.temporary_names import final_of, is_aside
from actorsync.planning.watching.shrinking import Shrinking

__all__ = ["CLOCK_TRAIT", "STAMP_TRAIT", "PairMemory", "PairPlanner", "PairRules"]

#: Directories that are listed at the same time for a second look.
_LOOKING: Final = 8

STAMP_TRAIT: Final = "pair.stamp"
CLOCK_TRAIT: Final = "pair.clock"


class PairMemory(Protocol):
    """What the planner needs from a journal."""

    def elsewhere(self, side: Side, entries: Sequence[Entry]) -> dict[str, list[Agreement]]: ...

    def conflicts(self) -> list[Conflict]: ...

    def count(self) -> int: ...

    def roots(self) -> tuple[Root, Root] | None: ...

    def pending(self, side: Side) -> list[Pending]: ...


@frozen
class PairRules:
    """What a two-way run may do. ``takes`` are choices of the user for paths in conflict: then it does only those."""

    rule: PairRule
    max_delete: DeleteLimit
    any_device: bool = False
    takes: Mapping[str, Take] = attrs.Factory(dict)
    scope: Scope | None = None
    """What a partial scan covers; None for all."""
    shrinking: Shrinking | None = None
    """Counts removals over passes that follow one another."""
    settling: Settling | None = None
    """What was found gone in such passes, and waits for a second look."""
    decide: Decide | None = None
    """Asks the caller about each conflict."""
    is_plan: bool = False
    """Whether nothing is done: operations are reported as if they were."""


@define(eq=False)
class PairPlanner:
    """An actor: turns a `PairScan` into steps, asks the guards, and gives the operations of each step to the limbs.

    Nothing is changed on either side before the guards have agreed to all of it.
    """

    memory: PairMemory
    rules: PairRules
    looks: Mapping[Side, SecondLook]
    clocks: Clocks
    stamp: Stamp
    token: Callable[[], str]
    draining: trio.Event
    wall_clock_ns: Callable[[], int]
    statistics: Statistics
    hides_links: Mapping[Side, Callable[[], bool]]
    """Tell whether a symbolic link may look like a directory of a side; asked after the scan."""
    share: Callable[[Mapping[Side, int]], Awaitable[None]]
    """Is told how many bytes and files each side is to get, before the first operation."""
    blocking: Blocking = in_thread
    planned: int = attrs.field(default=0, init=False)
    is_planned: bool = attrs.field(default=False, init=False)
    is_complete: bool = attrs.field(default=False, init=False)
    _facts: trio.MemorySendChannel[Fact] = attrs.field(init=False)

    async def run(
        self,
        scans: trio.MemoryReceiveChannel[PairScan],
        settled: trio.MemoryReceiveChannel[Settlement],
        limbs: Mapping[Side, trio.MemorySendChannel[Batch]],
        facts: trio.MemorySendChannel[Fact],
    ) -> None:
        """Plan and carry out what the scan has found."""
        self._facts = facts
        with holding(scans, settled, facts, *limbs.values()):
            try:
                scan = await scans.receive()
            except trio.EndOfChannel:
                return  # the run is stopping
            await self._note_strays(scan)
            outline, resolutions = await self._outline(scan)
            steps, held = without_held(order(outline), {side for side in Side if self.hides_links[side]()})
            for removal in held:
                await facts.send(Unissued(Failed(removal, WHY_HELD)))
            steps = [[self._proved(scan, outline, it) for it in step] for step in steps]
            self.planned += len(held)
            self.planned += sum(map(len, steps))
            self.is_planned = True
            if not await self._may_begin(scan, outline):
                self.is_complete = not self.draining.is_set()
                return
            await self._announce(steps)
            if self.rules.is_plan:
                await facts.send(Several([as_done(operation) for step in steps for operation in step]))
                self.is_complete = True
                return
            for resolution in resolutions:
                if resolution.text:
                    keeping = resolution.makes or resolution.copies[-1]
                    await facts.send(Warned(f"{keeping.path!r} is {resolution.text}"))
            if steps:
                acting = Steps(limbs, settled, facts, self.statistics, self.draining)
                await self._act(scan, steps, acting)
                if acting.is_cut_short:
                    return
            if self.rules.scope is None:
                await facts.send(PairScanned(scan.roots[Side.SOURCE], scan.roots[Side.TARGET]))
            self.is_complete = True

    async def _note_strays(self, scan: PairScan) -> None:
        """Note what lies aside and the journal does not know: the next run restores its name, or gives it another one.

        That is so after a run that was killed, if the journal was then lost or replaced by an older one.
        """
        for side, entries in scan.own.items():
            paths = [it.path for it in entries if is_aside(it.path)]
            known = {it.path for it in await self.blocking(self.memory.pending, side)} if paths else set()
            for path in paths:
                if path not in known:
                    name = final_of(name_of(path))
                    final = None if name is None else Entry(join(parent_of(path), name), Kind.OTHER)
                    await self._facts.send(Intended((path,), final, side=side))

    # Planning.

    async def _outline(self, scan: PairScan) -> tuple[Outline, list[Resolution]]:
        """Return what is to be done. Conflicts that stay are reported."""
        takes = self.rules.takes
        settled = settle(scan.verdicts, scan.staying)
        chosen = [it for it in settled if not takes or not takes.keys().isdisjoint((it.path, *ancestors(it.path)))]
        verdicts = await self._confirmed(chosen)
        resolutions = [await self._resolve(scan, it) for it in verdicts if it.verb is Verb.CONFLICT]
        await self._report_conflicts([it.stays for it in resolutions if it.stays is not None])
        verdicts = without_staying(verdicts, {it.stays.path for it in resolutions if it.stays is not None})
        new: dict[Side, list[Entry]] = {side: [] for side in Side}
        for verdict in verdicts:
            if verdict.verb is Verb.SEND and verdict.pair.state(verdict.side) is State.NEW:
                new[verdict.side].append(verdict.entry)
        elsewhere: dict[Side, dict[str, list[Agreement]]] = {}
        if any(it.verb is Verb.REMOVE for it in verdicts):
            for side, entries in new.items():
                elsewhere[side] = await self.blocking(self.memory.elsewhere, side, entries)
        verdicts, moves = renamed(verdicts, elsewhere)
        if self.rules.settling is not None:
            verdicts = await self._settled(self.rules.settling, verdicts)
        makes = [it.makes for it in resolutions if it.makes is not None]
        outline = Outline(
            verdicts,
            moves,
            [it.aside for it in resolutions if it.aside is not None],
            [copy for it in resolutions for copy in it.copies],
            [it.way for it in resolutions if it.way is not None],
            makes,
        )
        return outline, resolutions

    def _proved(self, scan: PairScan, outline: Outline, operation: Operation) -> Operation:
        """Return the operation with the digest of what it replaces or removes, if the times of that do not tell."""
        if isinstance(operation, Copy):
            going = operation.over
        elif isinstance(operation, Remove) and operation.target.kind is Kind.FILE:
            going = operation.target
        else:
            return operation
        if going is None or not self.clocks.doubts(operation.side, going, scan.began_ns):
            return operation
        known = scan.proofs.get((operation.side, going.path)) or outline.digests.get(going.path)
        return attrs.evolve(operation, proof=known or b"")

    async def _confirmed(self, verdicts: list[Verdict]) -> list[Verdict]:
        """Return the verdicts without those that rest on an entry being gone which a second look shows.

        One listing proves nothing: over a plain connection it may have been cut short.
        """
        shown: set[str] = set()
        limit = trio.CapacityLimiter(_LOOKING)

        async def confirm(group: list[Verdict]) -> None:
            async with limit:
                for verdict in group:
                    if self.draining.is_set():
                        return
                    if not await self.looks[verdict.side].has_vanished(verdict.path):
                        shown.add(verdict.path)
                        there = verdict.there
                        assert there is not None, f"nothing to remove: {verdict.path}"
                        reason = (
                            f"not removed: the {verdict.side.value} did not list it, and has it all the same; "
                            "the next run looks again"
                        )
                        failed = Failed(Remove(there, side=other(verdict.side)), reason)
                        await self._facts.send(Unissued(failed))

        groups: dict[tuple[Side, str], list[Verdict]] = {}
        for verdict in to_confirm(verdicts):
            groups.setdefault((verdict.side, verdict.path.rpartition("/")[0]), []).append(verdict)
        async with trio.open_nursery() as nursery:
            for group in groups.values():
                nursery.start_soon(confirm, group)
        self.planned += len(shown)
        if not shown:
            return verdicts
        return [it for it in verdicts if not any(it.path == path or it.path.startswith(f"{path}/") for path in shown)]

    async def _settled(self, settling: Settling, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Return the verdicts without the removals that wait: a build tool may empty its output and fill it again."""
        now = self.wall_clock_ns() / 1e9
        ready, waiting = settling.sort(verdicts, now, self.rules.scope)
        if waiting:
            first, last = min(waiting.values()), max(waiting.values())
            await self._facts.send(RemovalsDelayed(tuple(sorted(waiting)), first, last, now))
        return ready

    async def _resolve(self, scan: PairScan, verdict: Verdict) -> Resolution:
        path, now = verdict.path, self.wall_clock_ns()
        copies = {it for on_side in scan.copies.get(path, {}).values() for it in on_side}
        known = Known(scan.names.get(path, frozenset()), len(copies), scan.kept.get(path, frozenset()))
        take = self.rules.takes.get(path)
        if take is None and self.rules.decide is not None:
            conflict = Conflict(path, verdict.pair.source, verdict.pair.target, verdict.reason, now / 1e9)
            with blamed("the hook decide"):
                take = await self.rules.decide(conflict)
                if take not in get_args(Take):
                    raise ValueError(f"{take!r} is none of {', '.join(get_args(Take))}")
        if take is None:
            take = "keep" if verdict.is_blocked else take_of(verdict.pair, self.rules.rule, self.clocks)
        return resolve(verdict, take, known, self.rules.rule, now)

    async def _report_conflicts(self, staying: Sequence[Conflict]) -> None:
        """Report the conflicts for which nothing is done, and those that have ended."""
        now = {it.path for it in staying}
        scope = self.rules.scope
        for before in await self.blocking(self.memory.conflicts):
            is_seen = scope is None or scope.contains(before.path)
            if self.rules.takes:
                is_seen = before.path in self.rules.takes
            if before.path not in now and is_seen:
                await self._facts.send(ConflictEnded(before.path))
        for conflict in staying:
            await self._facts.send(Conflicted(conflict))

    async def _may_begin(self, scan: PairScan, outline: Outline) -> bool:
        """Ask the guards. Return False if nothing may be done."""
        if self.draining.is_set():
            return False
        then = await self.blocking(self.memory.roots)
        roots = {Side.SOURCE: None, Side.TARGET: None} if then is None else dict(zip(Side, then, strict=True))
        removals = [*outline.removals()]
        if not removals and self.rules.scope is not None:
            return True
        agreed, shrinking = await self.blocking(self.memory.count), self.rules.shrinking
        why = objection(
            removals,
            {side: scan.of_side(side, roots[side]) for side in Side},
            agreed,
            self.rules.max_delete,
            any_device=self.rules.any_device,
            most=0 if shrinking is None else shrinking.most(agreed, trio.current_time()),
        )
        if shrinking is not None:
            shrinking.is_refused = why is not None
        if why is not None:
            await self._facts.send(RemovalsRefused(why, len(removals)))
        return why is None

    async def _announce(self, steps: Sequence[Sequence[Operation]]) -> None:
        """Tell displays and observers what is going to be done, and share out the connections."""
        operations = [it for step in steps for it in step]
        copies = [it for it in operations if isinstance(it, Copy)]
        statistics = self.statistics
        statistics.files_planned = len(copies)
        statistics.bytes_planned = sum(it.source.size for it in copies)
        statistics.directories_planned = sum(isinstance(it, MakeDirectory) for it in operations)
        statistics.is_total_known = True
        weights = dict.fromkeys(Side, 0)
        for operation in operations:
            weights[operation.side] += operation.source.size + FILE_WEIGHT if isinstance(operation, Copy) else 4_096
        await self.share(weights)
        await self._facts.send(
            Planned(
                files=len(copies),
                size=statistics.bytes_planned,
                directories=statistics.directories_planned,
                removals=sum(isinstance(it, Remove) for it in operations),
                moves=sum(isinstance(it, Move) for it in operations),
            )
        )

    # Acting.

    async def _act(
        self,
        scan: PairScan,
        steps: Sequence[Sequence[Operation]],
        acting: Steps,
    ) -> None:
        """Do all steps. The stamp of the run is on the target before the first of them."""
        stamp = self.stamp.followed_by(self.token())
        await self._learn(STAMP_TRAIT, stamp.text)
        began = self.wall_clock_ns()
        put = Maintain(stamp.name(stamp.tokens[-1]))
        done = await acting.do([put])
        if not done:
            await self._facts.send(
                Warned(
                    "the run cannot leave its stamp in the root of the target: if the journal is ever lost or older, "
                    "the run after that removes nothing"
                )
            )
        for one in done:
            await self._facts.send(Swept((put.path,)))
            if one.target is not None and one.target.mtime_ns is not None:
                ahead = one.target.mtime_ns - (began + self.wall_clock_ns()) // 2
                await self._learn(CLOCK_TRAIT, str(ahead))
        for step in steps:
            acting.is_cut_short |= self.draining.is_set()
            if acting.is_cut_short:
                return
            await acting.do(step)
        self.planned += len(acting.instead)
        for kind in (Copy, Remove):
            await acting.do([it for it in acting.instead if isinstance(it, kind)])
        old = stamp.others(name_of(it.path) for it in scan.own[Side.TARGET])
        if done:
            await acting.do([Maintain(name, begins=False) for name in old])
            await self._learn(STAMP_TRAIT, stamp.settled().text)

    async def _learn(self, name: str, text: str) -> None:
        await self._facts.send(Learned(Side.TARGET, name, text))
