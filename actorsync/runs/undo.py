"""Taking the changes of a run back: a plan that was looked at, and then done as a whole, step by step.

Everything is decided before the first change: what is not as the run left it keeps the undo from beginning. Each step
is in the journal before it is on the wire, so an undo that broke off is continued by the same command. What an undo
moves out of the way goes to the trash as the change of a run of its own: an undo can be undone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import attrs
import trio

from actorsync.actors.connections.trash import make_trash, recall
from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Endpoint, Relocation, Session, look, mode_setter
from actorsync.endpoints.shared.paths import leads_out
from actorsync.errors import OperationRefused, PlanOutdated, ProfileError
from actorsync.journal import Journal
from actorsync.journal.trash_memory import Undone
from actorsync.model.entry import Entry, Kind, ancestors
from actorsync.model.event import RemovalIntended
from actorsync.model.report import Report
from actorsync.model.text import counted
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import Places, TrashRun, expired, run_directory
from actorsync.planning.publishing.undo import Act, UndoPlan, UndoStep, chosen, paths_of, undo_plan
from actorsync.profile import Profile
from actorsync.runs.mirror import Mirror
from actorsync.runs.open_endpoints import open_endpoints
from actorsync.runs.options import options_for
from actorsync.runs.past.connection import Connection
from actorsync.runs.past.trash import Emptied, purge, sides_of

__all__ = ["Undoing", "apply_undo", "empty_trash", "perform", "plan_undo", "prepare_undo"]

T = TypeVar("T")

#: How many steps share one flight.
_FLIGHT: Final = 64
_FILES: Final = frozenset({Act.SWAP, Act.TAKE, Act.RESTORE})


@frozen
class Undoing:
    """What an undo would do: the run that it takes back, and the plan."""

    run: TrashRun
    plan: UndoPlan


async def plan_undo(profile: Profile, run: int | None, paths: Collection[str]) -> Undoing:
    """Look at the target, and return what it takes to undo a run, or the given paths of it.

    Without a number it is the last run whose changes are kept. Files of which it was not known whether they are in the
    trash are found out about first. Raises `ProfileError` if the run cannot be undone, and `PlanOutdated` while a
    release is not ended.
    """
    mirror = Mirror(profile, options_for(profile))
    async with mirror.ready() as (journal, secrets):
        _refuse_other_trash(profile, [_run_to_undo(await trio.to_thread.run_sync(journal.trash.runs), run)])
        _, target = open_endpoints(profile, secrets)
        return await prepare_undo(target, journal, run, paths)


async def apply_undo(profile: Profile, shown: Undoing, paths: Collection[str], *, is_partial: bool = False) -> Report:
    """Do what a plan says, and return the report. The journal is locked meanwhile.

    Raises `PlanOutdated`, before anything is changed, if the plan would be another one by now, or if a path is not as
    the run left it; with ``is_partial`` such paths are left out.
    """
    mirror = Mirror(profile, options_for(profile))
    async with mirror.ready() as (journal, secrets):
        _, target = open_endpoints(profile, secrets)
        now = await prepare_undo(target, journal, shown.run.run, paths)
        if now.plan != shown.plan:
            raise PlanOutdated("the target has changed meanwhile, and nothing was undone; look at the plan again")
        if now.plan.refused and not is_partial:
            path, why = now.plan.refused[0]
            count = len(now.plan.refused)
            are = "is not as run {} left it" if count == 1 else "are not as run {} left them"
            raise PlanOutdated(
                f"{counted(count, 'path')} {are.format(now.run.run)}, and nothing was undone: "
                f"{path!r}: {why}; name other paths, or use --partial"
            )
        began = time.time()
        run = await trio.to_thread.run_sync(journal.begin_run, began)
        report = await perform(target, journal, now, run, began, profile.identity[:8])
        await trio.to_thread.run_sync(journal.end_run, run, report)
        return report


async def empty_trash(profile: Profile, runs: Collection[int] = (), older_than: float | None = None) -> Emptied:
    """Delete what old runs have left in the trash: the given ones, or those that are older; all without either.

    The journal is locked meanwhile. Raises `ProfileError` for a run that the trash has nothing of, and `PlanOutdated`
    while a release is not ended: its old files may have to be put back.
    """
    mirror = Mirror(profile, options_for(profile))
    async with mirror.ready() as (journal, secrets):
        await _refuse_open_release(journal)
        kept = await trio.to_thread.run_sync(journal.trash.runs)
        if unknown := set(runs) - {it.run for it in kept}:
            raise ProfileError(f"the trash has nothing of run {min(unknown)}; see: actorsync trash list")
        wanted = [it for it in kept if not runs or it.run in runs]
        if older_than is not None:
            wanted = expired(wanted, time.time(), older_than, None)
        _refuse_other_trash(profile, wanted)
        sides = sides_of(*open_endpoints(profile, secrets), is_two_way=profile.sync.mode == "two-way")
        return await purge(sides, journal, wanted)


async def prepare_undo(target: Endpoint, journal: Journal, run: int | None, paths: Collection[str]) -> Undoing:
    """Do what `plan_undo` does, with a journal that is locked already.

    Raises `PlanOutdated` as long as a release is begun and not ended: the target then shows files of two versions.
    """
    memory = journal.trash
    await _refuse_open_release(journal)

    async def look_at(session: Session, entries: Sequence[Entry]) -> dict[str, Entry | None]:
        found = await look(session, entries)
        files = {it.path for it in found if isinstance(it, Entry) and it.kind is Kind.FILE}
        for position, (entry, now) in enumerate(zip(entries, found, strict=True)):
            if isinstance(now, OperationRefused):
                if not files.isdisjoint(ancestors(entry.path)):
                    found[position] = None  # nothing is below a file that took the place of a directory
                    continue
                raise PlanOutdated(f"nothing was undone: the target does not tell what {entry.path!r} is: {now}")
        return {it.path: now for it, now in zip(entries, found, strict=True) if not isinstance(now, OperationRefused)}

    async def work(session: Session) -> Undoing:
        if unsettled := memory.open():
            results = await recall(session, unsettled)
            memory.settle(
                (item, found)
                for item, found in zip(unsettled, results, strict=True)
                if not isinstance(found, OperationRefused)
            )
        kept = _run_to_undo(memory.runs(), run)
        changes = chosen([(it.position, it.trashed) for it in memory.changes(kept.run) if not it.is_open], paths)
        if paths and not changes:
            raise ProfileError(
                f"run {kept.run} has changed nothing at {', '.join(map(repr, paths))}; see: actorsync trash list"
            )
        later = {
            it.trashed.path: other.run
            for other in reversed(memory.runs())
            if other.run > kept.run
            for it in memory.changes(other.run)
        }
        there = await look_at(session, paths_of(changes))
        return Undoing(kept, undo_plan(changes, there, later))

    async with Connection(target) as line:
        return await line.call(work)


def _refuse_other_trash(profile: Profile, runs: Iterable[TrashRun]) -> None:
    """Raise `ProfileError` for runs whose old files are where no file of the profile may go any more."""
    for run in runs:
        path = run.directory.rpartition("/")[0]
        if leads_out(path) and path != profile.trash.path:
            raise ProfileError(
                f"the old files of run {run.run} are in {path!r}, and trash.path does not name that; "
                f"add --set trash.path={path}"
            )


async def _refuse_open_release(journal: Journal) -> None:
    """Raise `PlanOutdated` while a release is begun and not ended: its old files must stay where they are."""
    if await trio.to_thread.run_sync(journal.release):
        raise PlanOutdated(
            "nothing was changed: a release was broken off, and the target has a part of it; finish it first, with "
            "actorsync run"
        )


def _run_to_undo(runs: Sequence[TrashRun], run: int | None) -> TrashRun:
    """Return the run that is to be undone. Raises `ProfileError` if its changes are not kept."""
    for kept in runs:
        if kept.changes and run in {None, kept.run}:
            return kept
    if run is None:
        raise ProfileError(
            "no run can be undone: the trash has nothing of this profile; with trash.path in the profile, runs keep "
            "what they change from then on"
        )
    raise ProfileError(f"run {run} cannot be undone: the trash has nothing of it; see: actorsync history")


# Doing it.


@define(eq=False)
class _Undo:
    """One undo: its connection, and how far it has come."""

    line: Connection
    journal: Journal
    places: Places
    is_redone: bool
    done: int = 0
    failures: list[tuple[str, str]] = attrs.Factory(list)

    async def group(self, steps: Sequence[UndoStep]) -> None:
        """Carry out steps that do not depend on each other, and record them."""
        act = steps[0].act
        if act in _FILES:
            await self._files(steps)
        elif act is Act.RENAME:
            moves = [Relocation(it.now, it.trashed.place or "", is_back=True) for it in steps if it.now is not None]
            await self._doom(steps)
            await self._record(steps, await self.line.call(lambda session: session.move(moves)))
        elif act is Act.MAKE:
            await self._record(
                steps, await self.line.call(lambda session: session.make_directories([it.path for it in steps]))
            )
        elif act is Act.SET_MODE:
            wanted = [it.old for it in steps if it.old is not None]
            await self._record(steps, await self.line.call(lambda session: mode_setter(session).set_modes(wanted)))
        elif act is Act.DROP:
            await self._drop(steps)
        else:
            await self._record(steps, [it.old for it in steps])

    async def _files(self, steps: Sequence[UndoStep]) -> None:
        """Move what is there now to the trash, and the old files to their names."""
        going = {
            it.path: Trashed(it.path, "replaced" if it.act is Act.SWAP else "removed", self.places.next(), it.now)
            for it in steps
            if it.act is not Act.RESTORE
        }
        self.journal.trash.intend(going.values())
        away = [it for it in steps if it.path in going and it.now is not None]
        moves = [Relocation(it.now, going[it.path].place or "") for it in away if it.now is not None]
        gone = dict(
            zip((it.path for it in away), await self.line.call(lambda session: session.move(moves)), strict=True)
        )
        ready = [it for it in steps if not isinstance(gone.get(it.path), OperationRefused)]
        back = [it for it in ready if it.act is not Act.TAKE and it.old is not None]
        moves_back = [
            Relocation(attrs.evolve(it.old, path=it.trashed.place or ""), it.path, is_back=True)
            for it in back
            if it.old is not None
        ]
        returned = dict(
            zip((it.path for it in back), await self.line.call(lambda session: session.move(moves_back)), strict=True)
        )
        results: list[Entry | OperationRefused | None] = []
        for step in steps:
            refused = gone.get(step.path)
            result = refused if isinstance(refused, OperationRefused) else returned.get(step.path)
            results.append(result)
        await self._record(steps, results, going)
        failed = [
            going[it.path]
            for it, result in zip(steps, results, strict=True)
            if isinstance(result, OperationRefused) and it.path in going
        ]
        if failed:
            found = await self.line.call(lambda session: recall(session, failed))
            self.journal.trash.settle(
                (item, result)
                for item, result in zip(failed, found, strict=True)
                if not isinstance(result, OperationRefused)
            )

    async def _drop(self, steps: Sequence[UndoStep]) -> None:
        """Remove directories. One that holds something of others stays, and that is no failure."""
        entries = [it.now for it in steps if it.now is not None]
        await self._doom(steps)
        removed = await self.line.call(lambda session: session.remove(entries))
        results = [
            result if isinstance(result, OperationRefused) else None if result else step.now
            for step, result in zip(steps, removed, strict=True)
        ]
        await self._record(steps, results)

    async def _doom(self, steps: Sequence[UndoStep]) -> None:
        """Record that paths may be gone from now on: an undo that is broken off must not leave them as known."""
        fact = RemovalIntended(tuple(step.path for step in steps))
        await trio.to_thread.run_sync(self.journal.apply, [fact])

    async def _record(
        self,
        steps: Sequence[UndoStep],
        results: Sequence[Entry | OperationRefused | None],
        going: dict[str, Trashed] | None = None,
    ) -> None:
        undone: list[Undone] = []
        for step, result in zip(steps, results, strict=True):
            if isinstance(result, OperationRefused):
                self.failures.append((step.path, str(result)))
                continue
            undone.append(_undone(step, result, (going or {}).get(step.path), is_redone=self.is_redone))
        await trio.to_thread.run_sync(self.journal.trash.undo, undone)
        self.done += len(undone)


def _undone(step: UndoStep, result: Entry | None, going: Trashed | None, *, is_redone: bool) -> Undone:
    """Return what the journal records of a step that was done: ``result`` is what the target then shows."""
    item, path = step.trashed, step.path
    results: dict[str, Entry | None] = {path: result}
    inverse: Trashed | None
    match step.act:
        case Act.SWAP | Act.TAKE:
            inverse = None if going is None else attrs.evolve(going, now=result)
        case Act.RESTORE | Act.MAKE:
            inverse = Trashed(path, "made", now=result)
        case Act.DROP:
            inverse = Trashed(path, "removed", old=step.now) if result is None else None
            results = results if result is None else {}
        case Act.RENAME:
            inverse = Trashed(item.place or "", "moved", path, step.now, result)
            results = {path: None, item.place or "": result}
        case Act.SET_MODE:
            inverse = Trashed(path, "mode", old=step.now, now=result)
        case Act.NOTHING:
            inverse = None
            if item.because == "moved":
                results = {path: None, item.place or "": result}
    return Undone(step.position, inverse, results, is_redone)


def _groups(steps: Sequence[UndoStep]) -> Iterator[list[UndoStep]]:
    """Yield steps that may share a flight, in their order: of one kind, and each path once."""
    group: list[UndoStep] = []
    names: set[str] = set()
    for step in steps:
        kind = "files" if step.act in _FILES else step.act
        touched = {step.path, step.trashed.place or step.path}
        if group and (
            len(group) >= _FLIGHT or kind != ("files" if group[0].act in _FILES else group[0].act) or names & touched
        ):
            yield group
            group, names = [], set()
        group.append(step)
        names |= touched
    if group:
        yield group


async def perform(target: Endpoint, journal: Journal, undoing: Undoing, run: int, began: float, owner: str) -> Report:
    """Carry out a plan, and return the report. A step that is refused is a failure, and the others are done."""
    trash = undoing.run.directory.rpartition("/")[0]
    directory = run_directory(trash, int(began * 1e9), run, owner)
    journal.trash.open_undo(TrashRun(run, directory, began, is_undo=not undoing.run.is_undo))
    needs_trash = any(step.act in {Act.SWAP, Act.TAKE} for step in undoing.plan.steps)
    async with Connection(target) as line:
        undo = _Undo(line, journal, Places(directory), undoing.run.is_undo)
        if needs_trash:
            await line.call(lambda session: make_trash(session, directory))
        for group in _groups(undoing.plan.steps):
            await undo.group(group)
    return Report(
        1 if undo.failures else 0,
        began,
        time.time() - began,
        moved=undo.done,
        failed=len(undo.failures),
        failures=tuple(undo.failures),
        held=journal.trash.held_count(),
    )
