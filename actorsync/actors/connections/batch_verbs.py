"""Batch verbs: making directories, moving, removing, sweeping and surveying, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import attrs

from actorsync.actors.connections import outcomes, release_verbs
from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.facts import FactChannel, make_durable
from actorsync.actors.connections.inbox import Inbox
from actorsync.actors.connections.intents import telling
from actorsync.actors.connections.trash import noted, recall
from actorsync.actors.statistics import LaneLevel
from actorsync.classes import frozen
from actorsync.endpoints.contract import PrefetchingSession, Relocation, Session, Staged, look, mode_setter, respell
from actorsync.errors import GuardRefused, OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Root, ancestors, join, name_of, parent_of
from actorsync.model.event import Intended, MovesIntended, RemovalIntended
from actorsync.model.kept import Kept
from actorsync.model.operation import (
    Audit,
    Batch,
    Done,
    Failed,
    Fault,
    Look,
    Maintain,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Publish,
    PutBack,
    Recall,
    Remove,
    Respell,
    SetMode,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.trash import Trashed
from actorsync.planning.name_folding import NewSpelling, parting
from actorsync.planning.pairs.unseen_links import WHY_HELD, may_go_through_link
from actorsync.planning.temporary_names import kept_name

__all__ = ["BatchVerbs"]


@frozen(eq=False)
class BatchVerbs:
    """Carries out batches of one kind, copies excepted, on a session of the target.

    When the connection is lost, the lane still has the batch, and calls again with the next session: every verb may be
    repeated with the same items. Nothing else is kept between two calls than the names aside of a batch of removals.
    """

    context: ConnectionContext
    level: LaneLevel
    facts: FactChannel
    inbox: Inbox
    _asides: dict[str, str] = attrs.field(factory=dict, init=False)

    async def carry_out(self, target: Session, batch: Batch) -> list[Outcome]:
        """Return one outcome for each operation of ``batch``, in order. Raises `ConnectionLost`."""
        results = await self._carry_out(target, batch)
        return (
            results if self.context.trash is None or self.context.clocks is not None else [noted(it) for it in results]
        )

    async def _pass(self, target: Session, *, is_visible: bool = True) -> None:
        """Wait until changes may be made that are visible. The trash is made ready before the first one."""
        if self.context.trash is not None:
            await self.context.trash.ready(target, self.facts)
        if is_visible:
            await self.context.gate.passed()

    async def _carry_out(self, target: Session, batch: Batch) -> list[Outcome]:
        match batch[0]:
            case MakeDirectory():
                return await self._make_directories(target, batch)
            case Move():
                return await self._move(target, batch)
            case Respell():
                return await self._respell(target, batch)
            case SetMode():
                return await self._set_modes(target, batch)
            case Remove():
                return await self._remove(target, batch)
            case Sweep():
                return await self._sweep(target, batch)
            case Recall():
                self.level.show("sweeping")
                recalls = [operation for operation in batch if isinstance(operation, Recall)]
                return outcomes.all_recalled(recalls, await recall(target, [it.trashed for it in recalls]))
            case Audit():
                self.level.show("auditing")
                return [await self._audit(target, operation) for operation in batch if isinstance(operation, Audit)]
            case Look():
                return await self._look(target, batch)
            case Publish() | PutBack():
                if self.context.trash is not None:
                    await self.context.trash.ready(target, self.facts)
                self.level.show("publishing")
                return await release_verbs.carry_out(target, batch)
            case Maintain():
                self.level.show("publishing")
                parts = [operation for operation in batch if isinstance(operation, Maintain)]
                return [await release_verbs.maintain(target, part, self.context, self.facts) for part in parts]
            case _:
                self.level.show("surveying")
                return [await self._survey(target, operation) for operation in batch]

    async def _make_directories(self, target: Session, batch: Batch) -> list[Outcome]:
        # A run without any change makes the root alone, and does not pass the gate. Before a release, directories are
        # made to put files into that cannot be seen yet: the release passes it.
        if any(operation.path for operation in batch):
            await self._pass(target, is_visible=not self.context.is_burst)
        self.level.show("making directories")
        made = await _make(target, [operation.path for operation in batch])
        # Before anything is put into them: a directory is not wider than it is to be for as long as it holds a file.
        sources = [operation.source for operation in batch if isinstance(operation, MakeDirectory)]
        await self._correct(target, sources, made)
        return outcomes.all_made(batch, made)

    async def _set_modes(self, target: Session, batch: Batch) -> list[Outcome]:
        await self._pass(target)
        self.level.show("setting modes")
        wanted = [attrs.evolve(it.target, mode=it.mode) for it in batch if isinstance(it, SetMode)]
        return outcomes.all_modes_set(batch, await mode_setter(target).set_modes(wanted))

    async def _correct(
        self, target: Session, sources: Sequence[Entry], results: dict[str, Entry | OperationRefused]
    ) -> None:
        """Set the modes of entries that the target has just got under their names, where these are not as wanted."""
        modes = self.context.modes
        wanted = [
            attrs.evolve(there, mode=mode)
            for source in sources
            if isinstance(there := results[source.path], Entry)
            and modes.is_setting
            and (mode := modes.wanted(source)) not in {None, there.mode}
        ]
        if wanted:
            results |= {
                entry.path: entry for entry in await mode_setter(target).set_modes(wanted) if isinstance(entry, Entry)
            }

    async def _move(self, target: Session, batch: Batch) -> list[Outcome]:
        await self._pass(target)
        self.level.show("moving")
        moves = [operation for operation in batch if isinstance(operation, Move)]
        await make_durable(self.facts, MovesIntended(tuple(moves)))
        results = await target.move([Relocation(move.target, move.path) for move in moves])
        moved = {move.path: result for move, result in zip(moves, results, strict=True)}
        await self._correct(target, [move.source for move in moves], moved)
        return outcomes.all_moved(moves, [moved[move.path] for move in moves])

    async def _respell(self, target: Session, batch: Batch) -> list[Outcome]:
        await self._pass(target)
        self.level.show("moving")
        changes = [operation for operation in batch if isinstance(operation, Respell)]
        for change in changes:
            await make_durable(self.facts, Intended((change.temporary,), Entry(change.path, Kind.OTHER)))
        results = await respell(target, [NewSpelling(it.target, it.path, it.temporary) for it in changes])
        changed = {change.path: result for change, result in zip(changes, results, strict=True)}
        await self._correct(target, [change.source for change in changes], changed)
        return outcomes.all_respelled(changes, [changed[change.path] for change in changes])

    async def _remove(self, target: Session, batch: Batch) -> list[Outcome]:
        await self._pass(target)
        self.level.show("removing")
        removals = [operation for operation in batch if isinstance(operation, Remove)]
        kept: dict[str, Outcome] = {
            it.path: Failed(it, WHY_HELD, Fault.OTHER)
            for it in removals
            if it.is_foreign and may_go_through_link(it) and self.context.hides_links()
        }
        kept |= await _kept_twins(target, [it for it in removals if it.path not in kept])
        rest = [removal for removal in removals if removal.path not in kept]
        removed: list[Outcome] = []
        if rest and self.context.clocks is not None:
            removed = await self._remove_carefully(target, rest)
        elif rest:
            going = self._places(rest)
            await make_durable(
                self.facts, RemovalIntended(tuple(removal.path for removal in rest), tuple(going.values()))
            )
            results = await self._take_away(target, rest, going)
            removed = outcomes.all_removed(tuple(rest), results, is_exact=self.context.protects is not None)
            removed = [self._with_place(outcome, going) for outcome in removed]
        settled = {outcome.operation.path: outcome for outcome in removed} | kept
        return [settled[operation.path] for operation in batch]

    async def _remove_carefully(self, target: Session, removals: Sequence[Remove]) -> list[Outcome]:
        """Remove what is as it was listed: each file by way of a name aside, and directories that are empty."""
        side, token = self.context.side, self.context.token
        from actorsync.actors.connections.careful import Careful, Going  # for two-way runs alone

        places = self._places(removals)
        pairs: dict[int, Going] = {}
        for index, removal in enumerate(removals):
            entry = removal.target
            if entry.kind is Kind.FILE:
                # After a lost connection, what is aside by then has to be found there again.
                aside = self._asides.setdefault(entry.path, kept_name(name_of(entry.path), token()))
                pairs[index] = Going(entry, join(parent_of(entry.path), aside), removal.proof, places.get(entry.path))
                over = telling(entry, removal.proof)
                await self.facts.send(Intended((pairs[index].aside,), entry, over=over, side=side))
        await make_durable(
            self.facts, RemovalIntended(tuple(it.path for it in removals), tuple(places.values()), side=side)
        )
        careful = Careful(target, self.facts, side, self.context.wall_clock_ns)
        results: dict[int, bool | OperationRefused] = dict(await careful.remove(pairs)) if pairs else {}
        self._asides.clear()
        if self.context.trash is not None:
            for path in places:
                self.context.trash.settle(path)
        others = {index: it.target for index, it in enumerate(removals) if index not in pairs}
        if others:
            results |= dict(zip(others, await target.remove([*others.values()]), strict=True))
        return outcomes.all_removed(tuple(removals), [results[index] for index in range(len(removals))])

    def _places(self, removals: Sequence[Remove]) -> dict[str, Trashed]:
        """Return where the files go that are to be removed, by path; nothing without a trash. Links go nowhere."""
        trash = self.context.trash
        if trash is None:
            return {}
        return {it.path: trash.place_for(it) for it in removals if it.target.kind is Kind.FILE}

    async def _take_away(
        self, target: Session, removals: Sequence[Remove], going: dict[str, Trashed]
    ) -> list[bool | OperationRefused]:
        """Remove entries, or move them to their places. What another program has removed counts as removed."""
        results: dict[str, bool | OperationRefused] = {}
        moves = [Relocation(it.target, going[it.path].place or "") for it in removals if it.path in going]
        for item, moved in zip(moves, await target.move(moves) if moves else (), strict=True):
            results[item.entry.path] = moved if isinstance(moved, OperationRefused) else True
        refused = [it.entry for it in moves if results[it.entry.path] is not True]
        for entry, now in zip(refused, await look(target, refused) if refused else (), strict=True):
            if now is None:
                results[entry.path] = True
                del going[entry.path]  # nothing of it is in the trash
        others = [it.target for it in removals if it.path not in results]
        for entry, removed in zip(others, await target.remove(others) if others else (), strict=True):
            results[entry.path] = removed
        return [results[removal.path] for removal in removals]

    def _with_place(self, outcome: Outcome, going: Mapping[str, Trashed]) -> Outcome:
        trash, place = self.context.trash, going.get(outcome.operation.path)
        if trash is None or place is None:
            return outcome
        trash.settle(place.path)
        return attrs.evolve(outcome, trashed=place) if isinstance(outcome, Done) else outcome

    async def _sweep(self, target: Session, batch: Batch) -> list[Outcome]:
        self.level.show("sweeping")
        kept = await _kept(target, [operation for operation in batch if isinstance(operation, Sweep)])
        rest = tuple(operation for operation in batch if operation.path not in kept)
        finals = {o.path: o.source.path for o in rest if isinstance(o, Sweep) and o.source is not None}
        results = await target.sweep([operation.path for operation in rest], finals) if rest else []
        swept = [await _recover(target, outcome) for outcome in outcomes.all_swept(rest, results)]
        settled = {outcome.operation.path: outcome for outcome in swept}
        return [settled.get(it.path) or Done(it, kept=kept[it.path]) for it in batch]

    async def _survey(self, target: Session, survey: Operation) -> Outcome:
        try:
            listing = await self._list(target, survey.path)
        except OperationRefused as refusal:
            return outcomes.unlisted(survey, str(refusal), self.context.protects)
        root = await self._root(survey.path, listing)
        keeps_times = self.context.target.capabilities.keeps_times
        return outcomes.surveyed(survey, listing, root, keeps_times=keeps_times, protects=self.context.protects)

    async def _audit(self, target: Session, audit: Audit) -> Outcome:
        try:
            listing = await self._list(target, audit.path)
        except OperationRefused as refusal:
            return Skipped(audit, str(refusal))
        root = await self._root(audit.path, listing)
        keeps_times = self.context.target.capabilities.keeps_times
        return outcomes.audited(audit, listing, root, keeps_times=keeps_times, protects=self.context.protects)

    async def _root(self, directory: str, listing: Listing) -> Root | None:
        """Return the identity of the root, if that was listed. A server would need another connection to tell it."""
        target = self.context.target
        is_told = not directory and listing.problem is None and not target.capabilities.is_remote
        if is_told:
            with suppress(GuardRefused):  # it is gone again, or a plan only pretends that it is there
                return await target.identify()
        return None

    async def _look(self, target: Session, batch: Batch) -> list[Outcome]:
        self.level.show("auditing")
        looks = [operation for operation in batch if isinstance(operation, Look)]
        entries = [it.target for it in looks]
        if any(it.is_fresh for it in looks) and self.context.pool.has_room_for_guest:
            with self.context.pool.guest():
                async with self.context.target.open_session() as fresh:
                    return outcomes.looked_at(batch, await look(fresh, entries))
        return outcomes.looked_at(batch, await look(target, entries))

    async def _list(self, target: Session, directory: str) -> Listing:
        if isinstance(target, PrefetchingSession):
            return await target.list_directory_ahead(directory, self._take_listing_ahead)
        return await target.list_directory(directory)

    def _take_listing_ahead(self) -> bool:
        """Take the next batch while a listing is in transit. Return True if that batch is a listing as well."""
        is_listing = isinstance(self.inbox.take_ahead(), Survey | Audit)
        self.inbox.request_connections()
        return is_listing


async def _kept_twins(target: Session, removals: Sequence[Remove]) -> dict[str, Outcome]:
    """Return the outcomes of removals that would take an entry which is wanted under another spelling of its name.

    A listing decides: an entry that is shown under one of the two names only is one entry, and stays.
    """
    kept: dict[str, Outcome] = {}
    listings: dict[str, Listing] = {}
    for removal in removals:
        if removal.twin is None:
            continue
        directory, ours, theirs = parting(removal.path, removal.twin)
        if directory not in listings:
            listings[directory] = await target.list_directory(directory)
        listing = listings[directory]
        names = {name_of(entry.path) for entry in listing.entries}
        if listing.problem is not None:
            reason = f"not removed: cannot check whether the target takes {removal.twin!r} for the same entry"
            kept[removal.path] = Failed(removal, f"{reason}: {listing.problem.reason}")
        elif not {ours, theirs} <= names:
            kept[removal.path] = Skipped(removal, f"kept: the target takes it for {removal.twin!r}, which is wanted")
    return kept


async def _make(target: Session, paths: Sequence[str]) -> dict[str, Entry | OperationRefused]:
    """Make directories. Those that are refused are tried once more, together with their ancestors.

    An ancestor that the journal lists may have been removed from the target by another program.
    """
    made = dict(zip(paths, await target.make_directories(paths), strict=True))
    refused = [path for path, result in made.items() if isinstance(result, OperationRefused) and path]
    if refused:
        again = list(dict.fromkeys(it for path in refused for it in (*ancestors(path), path)))
        results = dict(zip(again, await target.make_directories(again), strict=True))
        made |= {path: results[path] for path in refused}
    return made


async def _kept(target: Session, sweeps: Sequence[Sweep]) -> dict[str, Kept]:
    """Return what is to stay and is there, or cannot be asked for, by the names of the temporaries."""
    kept: dict[str, Kept] = {}
    for sweep in sweeps:
        if sweep.kept is None:
            continue
        asked = [Entry(path, Kind.FILE, sweep.kept.sent) for path in (sweep.path, sweep.kept.path)]
        temporary, final = await look(target, asked)
        # Without its old file, a rename in several steps was broken off: `Session.sweep` restores that file.
        if temporary is not None and not (sweep.replaces and final is None):
            kept[sweep.path] = sweep.kept
    return kept


async def _recover(target: Session, outcome: Outcome) -> Outcome:
    """Check whether the file of a swept temporary reached its final name in an earlier run that then crashed.

    The commit of a temporary that is gone tells: it succeeds if the final name has the staged size and time.
    """
    sweep = outcome.operation
    if not isinstance(outcome, Done) or not isinstance(sweep, Sweep) or sweep.source is None or not sweep.recovers:
        return outcome
    source = sweep.source
    if source.kind is not Kind.FILE:
        return outcome
    (found,) = await target.commit([Staged(source.path, sweep.path, source.size, source.mtime_ns)])
    if not isinstance(found, Entry):
        return outcome
    kept = sweep.kept
    if kept is None or (kept.source.size, kept.source.mtime_ns) != (source.size, source.mtime_ns):
        return Done(sweep, found, source)
    return Done(sweep, found, kept.source, kept.digest, checksum=kept.checksum)  # the exact version is known
