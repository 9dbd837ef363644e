"""Audits: the target is looked at, because other programs may have changed what the journal trusts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs
import trio

from actorsync.actors.messages import Blocking
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Memory
from actorsync.actors.planner.progress import Progress
from actorsync.actors.planner.survey import Survey
from actorsync.model.entry import Entry, Kind, Listing, Record, Root, ancestors, name_of, parent_of
from actorsync.model.event import Audited, Drifted, DriftEnded, MemoryVoided, Relisted, TargetSeen, Warned
from actorsync.model.operation import (
    Audit,
    Copy,
    Done,
    Failed,
    Look,
    MakeDirectory,
    Move,
    Outcome,
    Remove,
    Returned,
    Skipped,
)
from actorsync.model.text import display
from actorsync.planning.drift import (
    EVERYTHING,
    AuditRule,
    Drift,
    Round,
    examine,
    foreign_root,
    is_as_recorded,
    is_renumbered,
    next_round,
    sample,
)
from actorsync.planning.schedule import Schedule

__all__ = ["Audits"]

#: How many entries that have drifted before are asked for again in a run that does not mend, at most. The others count
#: as they were last seen, until it is the turn of their directories.
_ASKED_AGAIN: Final = 1_000
#: So many suspects are asked for before all listings have come: they are kept in memory.
_MOST_SUSPECTS: Final = 5_000
#: How many entries that could not be looked at are named, each in a line.
_NAMED: Final = 5


@attrs.define(eq=False)
class Audits:
    """Look at the root of the target before anything is planned, and at some directories while the run goes on.

    ``rule`` is None for a run that trusts the journal alone. ``hides`` tells whether the selection excludes a path.
    Where the rule mends, the run waits for the audits before it plans: what has drifted is then planned like any other
    path. Where it does not, the audits change nothing that the run relies on, and take only idle connections.
    """

    journal: Memory
    rule: AuditRule | None
    schedule: Schedule
    progress: Progress
    announcer: Announcer
    blocking: Blocking
    draining: trio.Event
    wall_clock_ns: Callable[[], int]
    hides: Callable[[str, bool], bool]
    survey: Survey
    is_exact: bool = False
    """Whether what others have put there is to be removed: then it has to be known before anything is planned."""
    drifted: set[str] = attrs.Factory(set)
    """What has drifted and is not mended by this run."""
    looked_at: float | None = None
    """When the target was last looked at, in seconds since the epoch."""
    listed: int = 0
    """How many directories of the target were listed."""
    _known: dict[str, Drift] = attrs.Factory(dict)  # what had drifted before this run
    _changed: set[str] = attrs.Factory(set)  # what of that the run has changed
    _pending: set[str] = attrs.Factory(set)  # operations without a verdict, as `_key` names them
    _to_list: int = 0  # how many of those are listings
    _suspects: dict[str, Entry] = attrs.Factory(dict)  # to be asked for when the listings have come
    _missing: set[str] = attrs.Factory(set)  # what this run has found missing, and does not mend
    _unseen: int = 0  # how many directories and entries could not be looked at
    _arrived: list[Outcome] = attrs.Factory(list)  # outcomes that are not judged yet
    _judged: set[str] = attrs.Factory(set)
    _chosen: Sequence[str] = ()
    _round: Round | None = None  # that of the chosen directories
    _is_first_round: bool = False
    _is_due: bool = False  # whether the run has to look at a target that the journal knows
    _is_asking: bool = False  # outcomes are for `_ask`, and not for `run`

    # What the run asks for, in this order.

    async def look_at_root(self) -> None:
        """List the root of the target, and void the journal if that is not the root which the journal knows."""
        self.looked_at = await self.blocking(self.journal.audits.seen)
        for drift in await self.blocking(self.journal.audits.drifts):
            record = await self.blocking(self.journal.record, drift.path)
            if record is None or record.source is None or self.hides(drift.path, record.target.kind is Kind.DIRECTORY):
                await self.announcer.send(DriftEnded(drift.path))
            else:
                self._known[drift.path] = drift
        self.drifted = {*self._known}  # until it is seen to be otherwise
        if self.rule is None:
            return
        self._is_due = True
        self.schedule.audits.watch({""})
        records = await self.blocking(self.journal.children, "")
        if len(records) > self.rule.large_root and await self._shows_some(records):
            await self._note_seen(None)
            return
        (outcome,) = await self._ask([Audit("")])
        if not isinstance(outcome, Done) or outcome.listing is None:
            if not self.draining.is_set():
                why = outcome.reason if isinstance(outcome, Skipped) else "its listing failed"
                await self.announcer.send(Warned(f"the target was not looked at: its root cannot be listed: {why}"))
            return
        root_then = await self.blocking(self.journal.audits.target_root)
        reason = await self._why_void(records, outcome.listing, root_then, outcome.root)
        if self.draining.is_set():
            return
        if reason is None:
            await self._compare("", outcome.listing)
        elif self.rule.is_alone:
            self.drifted = {""}
            await self.announcer.send(Warned(f"the root of the target {reason}: the next run lists the whole target"))
            return
        else:
            self._known, self.drifted, self._is_due = {}, set(), False
            await self.announcer.record(MemoryVoided(reason))
        await self._note_seen(outcome.root)

    async def _note_seen(self, root: Root | None) -> None:
        self.looked_at = self._now
        await self.announcer.send(TargetSeen(self.looked_at, root))

    async def begin(self) -> None:
        """Ask for the directories whose turn it is, and again for what has drifted before."""
        if self.rule is None or self.draining.is_set() or "" in self.drifted:
            return
        self._chosen = await self.blocking(self._next_directories, self.rule.listings)
        self.schedule.audits.watch({it for path in self._chosen for it in (path, *ancestors(path))})
        self.schedule.audits.watch({parent_of(path) for path in self._known})
        for path in self._chosen:
            self._add(Audit(path))
        for path in [*self._known][: None if self.rule.mends else _ASKED_AGAIN]:
            record = await self.blocking(self.journal.record, path)
            if record is not None and _key(look := Look(record.target)) not in self._pending:
                self._add(look)
        self._ask_for_suspects()
        self.progress.notify()
        if self.rule.mends or self.is_exact:
            await self._until_judged()
            await self.survey.until_all_listed()

    async def finish(self) -> None:
        """Wait until every directory that was asked for is judged, and announce how far the audits have come."""
        await self._until_judged()
        for path in sorted(self._changed):
            await self.announcer.send(DriftEnded(path))
        if self._unseen > _NAMED:
            await self.announcer.send(Warned(f"the target was not audited at {self._unseen - _NAMED} more paths"))
        if self._round is None or self._pending:
            return
        known = await self.blocking(self.journal.audits.directory_count)
        if self._chosen or self._is_first_round:
            is_end = not self._chosen or not await self.blocking(
                self.journal.audits.directories_after, self._chosen[-1], 1
            )
            now = next_round(self._round, self._chosen, is_end=is_end, now=self._now)
            await self.announcer.send(Audited(self.listed, known, now.last, now.began, now.whole))

    @property
    def is_cut_short(self) -> bool:
        """Whether a drain left directories or entries that were to be looked at. The next run looks at them."""
        return self.draining.is_set() and self._is_due and (bool(self._pending) or self._round is None)

    async def note_survey(self) -> None:
        """Announce that the whole target was listed just now."""
        await self._note_seen(self.survey.root)
        if self.rule is not None:
            await self.announcer.send(Audited(0, 0, "", self._now, self._now))

    # Beside the run: outcomes are judged.

    async def run(self) -> None:
        """Judge outcomes as they arrive, for ever."""
        while True:
            while self._arrived and not self._is_asking:
                outcome = self._arrived.pop(0)
                await self._judge(outcome)
                self._pending.discard(_key(outcome.operation))
                self._to_list -= isinstance(outcome.operation, Audit)
                self._ask_for_suspects()
                self.progress.notify()
            await self.progress.wait()

    def settle(self, outcome: Outcome) -> None:
        """Take the outcome of an audit or a look; take note of what the run itself has put right."""
        operation = outcome.operation
        if isinstance(outcome, Returned):
            return
        if isinstance(operation, Audit | Look):
            self._arrived.append(outcome)
            self.progress.notify()
        elif isinstance(outcome, Done) and isinstance(operation, Copy | MakeDirectory | Move | Remove):
            paths = {operation.path, operation.target.path if isinstance(operation, Move) else operation.path}
            self.drifted -= paths
            self._changed |= paths & self._known.keys()

    async def _until_judged(self) -> None:
        while self._pending and not self.draining.is_set():
            await self.progress.wait()

    def _add(self, operation: Audit | Look) -> None:
        self._pending.add(_key(operation))
        self._to_list += isinstance(operation, Audit)
        self.schedule.add(operation)

    async def _ask(self, operations: Sequence[Audit | Look]) -> list[Outcome]:
        """Return the outcomes of operations, before `run` takes outcomes; those that a stop prevents are missing."""
        self._is_asking = True
        for operation in operations:
            self.schedule.add(operation)
        self.progress.notify()
        while len(self._arrived) < len(operations) and not self.draining.is_set():
            await self.progress.wait()
        arrived, self._arrived, self._is_asking = self._arrived, [], False
        missing = [Returned(it, "the run is stopping") for it in operations[len(arrived) :]]
        return [*arrived, *missing]

    # Verdicts.

    async def _why_void(
        self, records: Mapping[str, Record], listing: Listing, then: Root | None, now: Root | None
    ) -> str | None:
        """Return what has become of the root, if nothing holds that the journal knows; else None."""
        ours = _ours(records)
        if foreign_root(then, now) and not is_renumbered(then, now, ours, listing.entries):
            return "is another directory than in the last run"
        shown = {name_of(entry.path): entry.kind for entry in listing.entries}
        is_missing = listing.problem is not None
        if any(shown.get(name_of(entry.path)) is entry.kind for entry in ours) or not (ours or is_missing):
            return None
        # A listing alone does not decide it: a few entries are asked for by name, over another connection.
        outcomes = await self._ask([Look(entry, is_fresh=True) for entry in sample(ours)])
        if not all(isinstance(it, Done) and it.target is None for it in outcomes):
            return None
        if is_missing and self.rule is not None and not self.rule.is_alone:
            await self.survey.make_root()
            (again,) = await self._ask([Audit("")])
            is_new = isinstance(again, Done) and again.listing is not None and again.listing.problem is None
            return "is missing" if is_new else None
        if is_missing:
            return "is missing"
        return "is empty" if not listing.entries else "has nothing of what was put there"

    async def _shows_some(self, records: Mapping[str, Record]) -> bool:
        """Tell whether the target has any of a few entries of its root."""
        outcomes = await self._ask([Look(entry) for entry in sample(_ours(records))])
        return any(isinstance(it, Done) and it.target is not None for it in outcomes)

    async def _judge(self, outcome: Outcome) -> None:
        operation = outcome.operation
        if isinstance(outcome, Skipped | Failed):
            self._unseen += 1
            if self._unseen <= _NAMED:
                where = display(operation.path) or "the root"
                await self.announcer.send(Warned(f"the target was not audited at {where}: {outcome.reason}"))
        if not isinstance(outcome, Done):
            return
        if isinstance(operation, Audit):
            assert outcome.listing is not None, "an audit without its listing"
            await self._compare(operation.path, outcome.listing)
        elif isinstance(operation, Look):
            await self._confirm(operation, outcome.target)

    async def _compare(self, directory: str, listing: Listing) -> None:
        """Compare a listing with the journal; what differs is asked for by its name."""
        self.listed += 1
        if listing.problem is not None:
            # It is missing, and maybe a directory above it as well.
            paths = sorted((path for path in (directory, *ancestors(directory)) if path), key=len)  # from the top
            found = [await self.blocking(self.journal.record, path) for path in paths]
            self._suspect(it.target for it in found if it is not None and it.source is not None)
            return
        records = await self.blocking(self.journal.children, directory)
        examined = examine(listing, records, is_exact=self.is_exact)
        is_touched = not self.schedule.audits.touched.isdisjoint(it.path for it in listing.entries)
        if examined.other_foreign is not None and not is_touched:
            await self.announcer.record(Relisted(examined.other_foreign))
            if self.is_exact:
                self.survey.list_below(Listing(directory, examined.new_directories))
        self._suspect(examined.suspects)
        self._suspect(it.target for it in records.values() if it.target.path in self._known)

    def _suspect(self, entries: Iterable[Entry]) -> None:
        # The mirror makes no promise about what the selection hides.
        found = {it.path: it for it in entries if not self.hides(it.path, it.kind is Kind.DIRECTORY)}
        self._suspects |= found

    def _ask_for_suspects(self) -> None:
        """Ask for suspects when all directories are listed, or when there are many.

        Together they take few logins. And only many files together show that the clock of a server has moved.
        """
        if self._to_list and len(self._suspects) < _MOST_SUSPECTS:
            return
        suspects, self._suspects = self._suspects, {}
        for path, entry in suspects.items():
            look = Look(entry, is_fresh=True)
            if path not in self._judged and _key(look) not in self._pending:
                self._add(look)

    async def _confirm(self, look: Look, now: Entry | None) -> None:
        """Announce what is now known of one entry."""
        path = look.path
        if path in self._judged:
            return
        self._judged.add(path)
        record = await self.blocking(self.journal.record, path)
        is_ours = record is not None and record.source is not None and not record.is_removal_intended
        if self._is_touched(path):
            return  # and what had drifted still does, as far as that is known
        self.drifted.discard(path)
        if not is_ours or (now is not None and is_as_recorded(look.target, now)):
            if path in self._known:
                await self.announcer.send(DriftEnded(path))
            return
        if not self._missing.isdisjoint(ancestors(path)):
            self.drifted |= {path} & self._known.keys()
            return
        assert self.rule is not None
        before = self._known.get(path)
        is_new = before is None or not _is_alike(before.now, now)
        since = self._now if before is None or is_new else before.since
        drifted = Drifted(path, look.target, now, since, is_new, self.rule.mends)
        if self.rule.mends:
            await self.announcer.record(drifted)
        else:
            self.drifted.add(path)
            self._missing |= {path} if now is None else set()
            await self.announcer.send(drifted)

    def _is_touched(self, path: str) -> bool:
        """Tell whether this run changes an entry, or one above it: what was seen may be its own work."""
        touched = self.schedule.audits.touched
        return path in touched or any(above in touched for above in ancestors(path))

    def _next_directories(self, count: int) -> list[str]:
        """Return the directories whose turn it is. A round does not go on beyond the last directory."""
        then = self.journal.audits.round()
        is_begun = then is not None and then.last and count != EVERYTHING
        if then is not None and is_begun and (chosen := self.journal.audits.directories_after(then.last, count)):
            self._round = then
            return chosen
        self._round = Round("", self._now, None if then is None else then.whole)
        self._is_first_round = then is None
        if not count:
            return []
        assert self.rule is not None
        is_large = len(self.journal.children("")) > self.rule.large_root
        return [*([""] if is_large else []), *self.journal.audits.directories_after("", count)]

    @property
    def _now(self) -> float:
        return self.wall_clock_ns() / 1e9


def _key(operation: object) -> str:
    assert isinstance(operation, Audit | Look)
    return f"{type(operation).__name__} {operation.path}"


def _ours(records: Mapping[str, Record]) -> list[Entry]:
    """Return what the target has from the source, and is to keep."""
    return [it.target for it in records.values() if it.source is not None and not it.is_removal_intended]


def _is_alike(then: Entry | None, now: Entry | None) -> bool:
    """Tell whether a drift that is known is the one that was found."""
    if then is None or now is None:
        return then is now
    return is_as_recorded(then, now)
