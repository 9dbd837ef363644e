"""Audits: the target is looked at, because other programs may have changed what the journal trusts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs

from actorsync.actors.messages import Blocking, Unissued
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Memory
from actorsync.actors.planner.questions import Questions
from actorsync.actors.planner.survey import Survey
from actorsync.classes import define, frozen
from actorsync.model.entry import Entry, Listing, Record, Root, ancestors, name_of, parent_of
from actorsync.model.event import Audited, Drifted, DriftEnded, MemoryVoided, Relisted, TargetSeen, Warned
from actorsync.model.operation import (
    Audit,
    Copy,
    Done,
    Failed,
    Fault,
    Look,
    MakeDirectory,
    Move,
    Outcome,
    Publish,
    PutBack,
    Remove,
    Returned,
    Skipped,
)
from actorsync.planning.drift import (
    EVERYTHING,
    AuditRule,
    Drift,
    Round,
    examine,
    foreign_root,
    is_as_recorded,
    next_round,
    sample,
)

__all__ = ["Audits"]

#: How many entries that have drifted before are asked for again in a run that does not mend, at most. The others count
#: as they were last seen, until it is the turn of their directories.
_ASKED_AGAIN: Final = 1_000


@frozen
class _Turn:
    """The directories that a run lists, of a round that has come as far as ``round`` says."""

    chosen: Sequence[str]
    round: Round


#: What changes the entries that an audit compares.
_CHANGING: Final = (Copy, MakeDirectory, Move, Publish, PutBack, Remove)


@define(eq=False)
class Audits:
    """Look at the root of the target before anything is planned, and at some directories while the run goes on.

    ``rule`` is None for a run that trusts the journal alone. Where the rule mends, the run waits for the audits before
    it plans: what has drifted is then planned like any other path. Where it does not, the audits change nothing that
    the run relies on, and take only idle connections.
    """

    journal: Memory
    rule: AuditRule | None
    questions: Questions
    announcer: Announcer
    blocking: Blocking
    wall_clock_ns: Callable[[], int]
    survey: Survey
    is_exact: bool = False
    """Whether what others have put there is to be removed: then it has to be known before anything is planned."""
    counts_drift: bool = True
    """Whether what is known to have drifted counts."""
    drifted: set[str] = attrs.Factory(set)
    """What has drifted and is not mended by this run."""
    looked_at: float | None = None
    """When the target was last looked at, in seconds since the epoch."""
    listed: int = 0
    """How many directories of the target were listed."""
    _known: dict[str, Drift] = attrs.Factory(dict)  # what had drifted before this run
    _changed: set[str] = attrs.Factory(set)  # what of that the run has changed
    _missing: set[str] = attrs.Factory(set)  # what this run has found missing, and does not mend
    _unlisted: dict[str, str] = attrs.Factory(dict)  # why directories could not be listed
    _failed: dict[str, str] = attrs.Factory(dict)  # what could not be looked at, and why
    _turn: _Turn | None = None
    _is_due: bool = False  # whether the run has to look at a target that the journal knows
    _is_moved: bool = False  # the root is another directory with the known entries: all of it is audited

    # What the run asks for, in this order.

    async def look_at_root(self) -> None:
        """List the root of the target, and void the journal if that is not the root which the journal knows."""
        # A release that was not ended: its files may have arrived, and the records are those of before.
        release = await self.blocking(self.journal.release)
        self.questions.queue.touched.update(item.path for item, _ in release)
        self.looked_at = await self.blocking(self.journal.audits.seen)
        if not self.counts_drift:
            return
        for drift in await self.blocking(self.journal.audits.drifts):
            record = await self.blocking(self.journal.record, drift.path)
            if record is None or record.source is None or self.questions.is_hidden(record.target):
                await self.announcer.send(DriftEnded(drift.path))
            else:
                self._known[drift.path] = drift
        self.drifted = {*self._known}  # until it is seen to be otherwise
        if self.rule is None:
            return
        self._is_due = True
        self.questions.queue.watch({""})
        records = await self.blocking(self.journal.children, "", self.rule.large_root + 1)
        if len(records) > self.rule.large_root and await self._shows_some(records):
            await self._note_seen(None)
            return
        (outcome,) = await self.questions.ask([Audit("")])
        if not isinstance(outcome, Done) or outcome.listing is None:
            if not self.questions.draining.is_set():
                why = outcome.reason if isinstance(outcome, Skipped) else "its listing failed"
                await self.announcer.send(
                    Warned(f"the root of the target cannot be listed: {why}; its entries are asked for by name")
                )
                self._unlisted[""] = why
                self.questions.suspect(_ours(records))
            return
        root_then = await self.blocking(self.journal.audits.target_root)
        reason = await self._why_void(records, outcome.listing, root_then, outcome.root)
        if self.questions.draining.is_set():
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
        if self.rule is None or self.questions.draining.is_set() or "" in self.drifted:
            return
        turn = await self.blocking(self._next_turn, EVERYTHING if self._is_moved else self.rule.listings)
        self._turn = turn
        self.questions.queue.watch({"", *(it for path in turn.chosen for it in (path, *ancestors(path)))})
        self.questions.queue.watch({parent_of(path) for path in self._known})
        for path in turn.chosen if self._is_due else ["", *turn.chosen]:  # the root was not looked at before a survey
            self.questions.add(Audit(path))
        for path in [*self._known][: None if self.rule.mends else _ASKED_AGAIN]:
            record = await self.blocking(self.journal.record, path)
            if record is not None:
                self.questions.add(Look(record.target))
        self.questions.add_suspects()
        if self.rule.mends or self.is_exact:
            await self.questions.until_judged()
            await self.survey.until_all_listed()

    async def finish(self) -> None:
        """Wait until every directory that was asked for is judged, and announce how far the audits have come."""
        await self.questions.until_judged()
        for path in sorted(self._changed):
            await self.announcer.send(DriftEnded(path))
        await self._fail_unseen()
        turn = self._turn
        if turn is None or self.questions.has_pending:
            return
        known = await self.blocking(self.journal.audits.directory_count)
        if turn.chosen or not known:
            is_end = not turn.chosen or not await self.blocking(
                self.journal.audits.directories_after, turn.chosen[-1], 1
            )
            now = next_round(turn.round, turn.chosen, is_end=is_end, now=self._now)
            await self.announcer.send(Audited(self.listed, known, now.last, now.began, now.whole))

    @property
    def is_cut_short(self) -> bool:
        """Whether a drain left directories or entries that were to be looked at. The next run looks at them."""
        return self.questions.draining.is_set() and self._is_due and (self.questions.has_pending or self._turn is None)

    async def note_survey(self) -> None:
        """Announce that the whole target was listed just now."""
        await self._note_seen(self.survey.root)
        if self.rule is not None:
            await self.announcer.send(Audited(0, 0, "", self._now, self._now))

    # Beside the run: outcomes are judged.

    async def run(self) -> None:
        """Judge outcomes as they arrive, for ever."""
        while True:
            outcome = await self.questions.next()
            await self._judge(outcome)
            self.questions.note_judged(outcome)

    def settle(self, outcome: Outcome) -> None:
        """Take the outcome of an audit or a look; take note of what the run itself has put right."""
        operation = outcome.operation
        if isinstance(outcome, Returned):
            return
        if isinstance(operation, Audit | Look):
            self.questions.take(outcome)
        elif isinstance(outcome, Done) and isinstance(
            operation, Copy | MakeDirectory | Move | Publish | PutBack | Remove
        ):
            paths = {operation.path, operation.target.path if isinstance(operation, Move) else operation.path}
            self.drifted -= paths
            self._changed |= paths & self._known.keys()

    # Verdicts.

    async def _why_void(
        self, records: Mapping[str, Record], listing: Listing, then: Root | None, now: Root | None
    ) -> str | None:
        """Return what has become of the root, if nothing holds that the journal knows; else None."""
        ours = _ours(records)
        if foreign_root(then, now) and not listing.problem:
            if await self._shows_another(sample(ours)):
                return "is another directory than in the last run"
            self._is_moved = True  # or on a disk with another number in each mount: what it holds has to tell
            return None
        is_missing = listing.problem is not None
        if _shows_any(listing, ours) or not (ours or is_missing):
            return None
        # A listing alone does not decide it: a few entries are asked for by name, over another connection.
        outcomes = await self.questions.ask([Look(entry, is_fresh=True) for entry in sample(ours)])
        if not all(isinstance(it, Done) and it.target is None for it in outcomes):
            return None
        if is_missing and self.rule is not None and not self.rule.is_alone:
            await self.survey.make_root()
            (again,) = await self.questions.ask([Audit("")])
            # It may not be shown, as some servers show no empty directory. But it must not show what was missing.
            found = again.listing if isinstance(again, Done) else None
            is_there_again = found is not None and (found.problem is not None or _shows_any(found, ours))
            return None if is_there_again or isinstance(again, Returned) else "is missing"
        if is_missing:
            return "is missing"
        return "is empty" if not listing.entries else "has nothing of what was put there"

    async def _shows_another(self, entries: Sequence[Entry]) -> bool:
        """Tell whether any of some entries is not as it is recorded. What cannot be looked at proves nothing."""
        outcomes = await self.questions.ask([Look(entry, is_fresh=True) for entry in entries])
        looked = zip(entries, outcomes, strict=True)
        return any(isinstance(it, Done) and not is_as_recorded(entry, it.target) for entry, it in looked)

    async def _shows_some(self, records: Mapping[str, Record]) -> bool:
        """Tell whether the target has any of a few entries of its root."""
        outcomes = await self.questions.ask([Look(entry) for entry in sample(_ours(records))])
        return any(isinstance(it, Done) and it.target is not None for it in outcomes)

    async def _judge(self, outcome: Outcome) -> None:
        operation = outcome.operation
        if isinstance(outcome, Skipped | Failed):
            await self._note_unseen(outcome)
        if not isinstance(outcome, Done):
            return
        if isinstance(operation, Audit):
            assert outcome.listing is not None, "an audit without its listing"
            await self._compare(operation.path, outcome.listing)
        elif isinstance(operation, Look):
            await self._confirm(operation, outcome.target)

    async def _note_unseen(self, outcome: Skipped | Failed) -> None:
        """Ask for what is known in a directory that cannot be listed; fail what cannot be looked at by name, either.

        Some servers show an empty directory as they show a forbidden one.
        """
        path, reason = outcome.operation.path, outcome.reason
        if isinstance(outcome.operation, Audit):
            self._unlisted[path] = reason
            self.questions.suspect(_ours(await self.blocking(self.journal.children, path)))
            return
        directory = parent_of(path)
        if directory in self._unlisted:
            path, reason = directory, self._unlisted[directory]
        self._failed[path] = reason

    async def _fail_unseen(self) -> None:
        """Fail what could not be looked at: nothing tells what is there, so "in sync" would be a guess.

        What is known to have drifted is counted already, and so is what is below it.
        """
        for path, reason in sorted(self._failed.items()):
            record = await self.blocking(self.journal.record, path)
            is_restored = path != "" and (record is None or record.source is None)
            if is_restored or path in self._known or any(it in self.drifted for it in (path, *ancestors(path))):
                continue
            await self.announcer.send(Unissued(Failed(Audit(path), reason, Fault.OTHER)))

    async def _compare(self, directory: str, listing: Listing) -> None:
        """Compare a listing with the journal; what differs is asked for by its name."""
        self.listed += 1
        if listing.problem is not None:
            # It is missing, and maybe a directory above it as well.
            paths = sorted((path for path in (directory, *ancestors(directory)) if path), key=len)  # from the top
            found = [await self.blocking(self.journal.record, path) for path in paths]
            self.questions.suspect(it.target for it in found if it is not None and it.source is not None)
            return
        records = await self.blocking(self.journal.children, directory)
        examined = examine(listing, records, is_exact=self.is_exact)
        is_touched = not self.questions.queue.touched.isdisjoint(it.path for it in listing.entries)
        if examined.other_foreign is not None and not is_touched:
            await self.announcer.record(Relisted(examined.other_foreign))
            if self.is_exact:
                self.survey.list_below(Listing(directory, examined.new_directories))
        self.questions.suspect(examined.suspects)
        self.questions.suspect(it.target for it in records.values() if it.target.path in self._known)

    async def _confirm(self, look: Look, now: Entry | None) -> None:
        """Announce what is now known of one entry."""
        path = look.path
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
        touched = self.questions.queue.touched
        return path in touched or any(above in touched for above in ancestors(path))

    def _next_turn(self, count: int) -> _Turn:
        """Return the directories whose turn it is. A round does not go on beyond the last directory."""
        then = self.journal.audits.round()
        is_begun = then is not None and then.last and count != EVERYTHING
        if then is not None and is_begun and (chosen := self.journal.audits.directories_after(then.last, count)):
            return _Turn(chosen, then)
        now = Round("", self._now, None if then is None else then.whole)
        assert self.rule is not None
        is_large = count > 0 and len(self.journal.children("", self.rule.large_root + 1)) > self.rule.large_root
        chosen = [*([""] if is_large else []), *self.journal.audits.directories_after("", count)]
        return _Turn(chosen, now)

    @property
    def _now(self) -> float:
        return self.wall_clock_ns() / 1e9


def _shows_any(listing: Listing, entries: Iterable[Entry]) -> bool:
    """Tell whether a listing shows any of the entries, as the kind that it was."""
    shown = {name_of(entry.path): entry.kind for entry in listing.entries}
    return any(shown.get(name_of(entry.path)) is entry.kind for entry in entries)


def _ours(records: Mapping[str, Record]) -> list[Entry]:
    """Return what the target has from the source, and is to keep."""
    return [it.target for it in records.values() if it.source is not None and not it.is_removal_intended]


def _is_alike(then: Entry | None, now: Entry | None) -> bool:
    """Tell whether a drift that is known is the one that was found."""
    if then is None or now is None:
        return then is now
    return is_as_recorded(then, now)
