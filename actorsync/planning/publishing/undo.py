"""What takes the changes of a run back: steps in the reverse order, each only if the target is as the run left it."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, ancestors
from actorsync.model.trash import Trashed
from actorsync.planning.reconcile import has_same_time

__all__ = ["Act", "UndoPlan", "UndoStep", "chosen", "paths_of", "undo_plan"]


class Act(enum.Enum):
    """What takes one change back."""

    SWAP = "put the old version back"
    RESTORE = "put back"
    TAKE = "remove"
    MAKE = "make directory"
    DROP = "remove directory"
    RENAME = "move back"
    SET_MODE = "set the old mode"
    NOTHING = "as it was"


@frozen
class UndoStep:
    """One step. ``position`` is that of the change. ``now`` is what the target has, ``old`` what it is to have.

    Both are as they were looked at just now; ``old`` is the file at its place, with the path that it gets.
    """

    position: int
    act: Act
    trashed: Trashed
    now: Entry | None = None
    old: Entry | None = None

    @property
    def path(self) -> str:
        return self.trashed.path


@frozen
class UndoPlan:
    """The steps in their order, and the paths that are not as the run left them, each with one line about it."""

    steps: tuple[UndoStep, ...]
    refused: tuple[tuple[str, str], ...] = ()


def chosen(changes: Sequence[tuple[int, Trashed]], paths: Collection[str]) -> list[tuple[int, Trashed]]:
    """Return the changes of the given paths and of all below them; all without any. Newest first.

    A directory that the run has removed is made again for what was in it.
    """
    found = [
        (position, it)
        for position, it in changes
        if not paths or any(_is_at(path, paths) for path in (it.path, *((it.place,) if it.because == "moved" else ())))
    ]
    above = {directory for _, it in found for path in _names(it) for directory in ancestors(path or "")}
    known = {position for position, _ in found}
    found += [
        (position, it)
        for position, it in changes
        if position not in known and it.because == "removed" and it.place is None and it.path in above
    ]
    return sorted(found, key=lambda change: -change[0])


def _is_at(path: str | None, paths: Collection[str]) -> bool:
    return path is not None and any(not top or path == top or path.startswith(f"{top}/") for top in paths)


def _names(item: Trashed) -> list[str | None]:
    return [item.path, item.place] if item.because == "moved" else [item.path]


def paths_of(changes: Iterable[tuple[int, Trashed]]) -> list[Entry]:
    """Return the entries to ask the target for before `undo_plan`: what is changed, and the files in the trash."""
    wanted: dict[str, Entry] = {}
    for _, item in changes:
        wanted.setdefault(item.path, item.now or Entry(item.path, Kind.FILE))
        if item.old_file is not None:
            wanted.setdefault(item.old_file.path, item.old_file)
    return list(wanted.values())


def undo_plan(
    changes: Iterable[tuple[int, Trashed]],
    there: Mapping[str, Entry | None],
    changed_later: Mapping[str, int] = {},
) -> UndoPlan:
    """Return the plan that takes changes back, given newest first. ``there`` is what the target has, by path.

    ``changed_later`` has the last run that has changed a path after this one. Each step is decided from what the target
    will have after the steps before it.
    """
    state = dict(there)
    steps: list[UndoStep] = []
    refused: list[tuple[str, str]] = []
    for position, item in changes:
        step = _step(position, item, state)
        if isinstance(step, UndoStep):
            steps.append(step)
            _carry_out(step, state)
        elif item.path not in {path for path, _ in refused}:
            later = changed_later.get(item.path)
            why = step if later is None else f"run {later} has changed it since: undo that run first"
            refused.append((item.path, why))
    return UndoPlan(tuple(steps), tuple(refused))


def _step(position: int, item: Trashed, state: Mapping[str, Entry | None]) -> UndoStep | str:
    """Return the step that takes one change back, or why it cannot be done."""
    now = state.get(item.path)
    match item.because:
        case "made":
            return _unmake(position, item, now)
        case "mode":
            is_same = _is_same(now, item.now)
            return UndoStep(position, Act.SET_MODE, item, now, item.old) if is_same else _differs(now)
        case "moved":
            return _move_back(position, item, now, state.get(item.place or ""))
        case "replaced" | "removed" if item.place is not None:
            return _put_back(position, item, now, state.get(item.place))
        case _:
            return _restore_directory(position, item, now)


def _put_back(position: int, item: Trashed, now: Entry | None, there: Entry | None) -> UndoStep | str:
    """Return the step that brings a file back from the trash, where ``there`` is what is at its place."""
    if there is None:
        is_done = item.old is not None and _is_same(now, item.old)
        return UndoStep(position, Act.NOTHING, item, now, now) if is_done else "its old version is not there any more"
    old = attrs.evolve(there, path=item.path)
    if item.because == "removed":
        return UndoStep(position, Act.RESTORE, item, None, old) if now is None else "another entry has its name now"
    return UndoStep(position, Act.SWAP, item, now, old) if _is_same(now, item.now) else _differs(now)


def _move_back(position: int, item: Trashed, now: Entry | None, there: Entry | None) -> UndoStep | str:
    """Return the step that renames a file back, where ``there`` is what has its old name."""
    if there is not None:
        is_done = now is None and item.old is not None and _is_same(there, item.old)
        return UndoStep(position, Act.NOTHING, item, None, there) if is_done else "another entry has its old name now"
    return UndoStep(position, Act.RENAME, item, now) if _is_same(now, item.now) else _differs(now)


def _unmake(position: int, item: Trashed, now: Entry | None) -> UndoStep | str:
    if now is None:
        return UndoStep(position, Act.NOTHING, item)
    if item.now is not None and item.now.kind is Kind.DIRECTORY:
        return UndoStep(position, Act.DROP, item, now) if now.kind is Kind.DIRECTORY else _differs(now)
    return UndoStep(position, Act.TAKE, item, now) if _is_same(now, item.now) else _differs(now)


def _restore_directory(position: int, item: Trashed, now: Entry | None) -> UndoStep | str:
    if item.old is None or item.old.kind is not Kind.DIRECTORY:
        return "it was a link, or a special file, and was removed for good"
    if now is None:
        return UndoStep(position, Act.MAKE, item, None, item.old)
    return UndoStep(position, Act.NOTHING, item, now, now) if now.kind is Kind.DIRECTORY else _differs(now)


def _differs(now: Entry | None) -> str:
    return "it is gone" if now is None else "it is not as the run left it"


def _is_same(now: Entry | None, then: Entry | None) -> bool:
    """Return whether an entry is as it was, as precisely as both are known."""
    if now is None or then is None:
        return now is then
    if now.kind is not then.kind or now.kind is not Kind.FILE:
        return now.kind is then.kind
    is_known = None not in {now.mtime_ns, then.mtime_ns}
    return now.size == then.size and (not is_known or has_same_time(now, then) or has_same_time(then, now))


def _carry_out(step: UndoStep, state: dict[str, Entry | None]) -> None:
    """Note what the target has after a step."""
    item = step.trashed
    match step.act:
        case Act.SWAP | Act.RESTORE:
            state[item.path] = step.old
            state[item.place or ""] = None
        case Act.TAKE | Act.DROP:
            state[item.path] = None
        case Act.MAKE | Act.SET_MODE:
            state[item.path] = step.old
        case Act.RENAME:
            state[item.place or ""] = step.now
            state[item.path] = None
        case Act.NOTHING:
            pass
