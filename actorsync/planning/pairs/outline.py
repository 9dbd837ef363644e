"""From verdicts to operations: what is gone with its directory, what was renamed, what is in conflict, and the order.

Pure. The order is a list of steps. All of a step is done, on both sides, before the next one begins: so an operation
finds what it relies on, whichever side has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Kind, ancestors
from actorsync.model.operation import Copy, MakeDirectory, Move, Operation, Remove, Side
from actorsync.model.pair import Agreement, other
from actorsync.planning.pairs.states import State
from actorsync.planning.pairs.verdicts import Verb, Verdict

__all__ = ["Outline", "order", "renamed", "settle", "to_confirm", "without_staying"]

_TOPS: Final = (Verb.GONE_DIRECTORY, Verb.REPLACE_DIRECTORY)
_STAYING: Final = (Verb.LEAVE, Verb.CONFLICT)
_RETURNING: Final = (Verb.SEND, Verb.MAKE)


def settle(verdicts: Sequence[Verdict], staying: Collection[str]) -> list[Verdict]:
    """Return the verdicts once it is known what stays in directories that one side has no more.

    ``staying`` are paths of entries that stay for a reason that no verdict has: what is left out, what could not be
    listed. A directory with a changed entry in it is made again where it is gone. One that was replaced by a file, and
    in which something stays, is in conflict. What is in it follows once that is decided: see `without_staying`.
    """
    tops = {it.path: it for it in verdicts if it.verb in _TOPS}
    if not tops:
        return list(verdicts)
    returning = _directories_of((it.path for it in verdicts if it.verb in _RETURNING), tops)
    kept = _directories_of([*staying, *(it.path for it in verdicts if it.verb in _STAYING)], tops)
    in_conflict = {
        path for path, top in tops.items() if top.verb is Verb.REPLACE_DIRECTORY and path in returning | kept
    }
    settled: list[Verdict] = []
    for verdict in verdicts:
        path = verdict.path
        if path in in_conflict:
            settled.append(attrs.evolve(verdict, verb=Verb.CONFLICT, is_blocked=path not in returning))
        elif verdict.verb is Verb.GONE_DIRECTORY and path in returning:
            settled.append(attrs.evolve(verdict, verb=Verb.MAKE, side=other(verdict.side)))
        elif verdict.verb is not Verb.GONE_DIRECTORY or path not in kept:
            settled.append(verdict)
    return settled


def without_staying(verdicts: Sequence[Verdict], staying: AbstractSet[str]) -> list[Verdict]:
    """Return the verdicts that are no conflicts, and not about what is in a directory whose conflict stays."""
    return [it for it in verdicts if it.verb is not Verb.CONFLICT and staying.isdisjoint(ancestors(it.path))]


def _directories_of(paths: Iterable[str], tops: Mapping[str, Verdict]) -> set[str]:
    """Return those of ``tops`` that hold one of the paths, or are one."""
    return {above for path in paths for above in (path, *ancestors(path)) if above in tops}


def to_confirm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts that rest on an entry being gone.

    Without what is in a directory that is gone itself, or is a file now.
    """
    gone = {it.path for it in verdicts if it.verb in {*_TOPS, Verb.CONFLICT}}
    return [
        it for it in verdicts if it.verb in {Verb.REMOVE, Verb.GONE_DIRECTORY} and gone.isdisjoint(ancestors(it.path))
    ]


def renamed(
    verdicts: Sequence[Verdict], elsewhere: Mapping[Side, Mapping[str, Sequence[Agreement]]]
) -> tuple[list[Verdict], list[Move]]:
    """Return the verdicts that are left, and the renames of files that were moved on one side.

    ``elsewhere`` holds, by side and path of a new file, the agreements that have the same file (inode, size and time)
    under another path. It is a rename if the file is gone there, and the other side still has it as agreed.
    """
    removals = {(it.side, it.path): it for it in verdicts if it.verb is Verb.REMOVE}
    moves: list[Move] = []
    used: set[tuple[Side, str]] = set()
    left: list[Verdict] = []
    for verdict in verdicts:
        old = _old_of(verdict, elsewhere, removals, used)
        if old is None:
            left.append(verdict)
            continue
        side = verdict.side
        used.add((side, old.path))
        moves.append(Move(verdict.entry, old.on(other(side)), digest=old.digest, side=other(side)))
    return [it for it in left if it.verb is not Verb.REMOVE or (it.side, it.path) not in used], moves


def _old_of(
    verdict: Verdict,
    elsewhere: Mapping[Side, Mapping[str, Sequence[Agreement]]],
    removals: Mapping[tuple[Side, str], Verdict],
    used: Collection[tuple[Side, str]],
) -> Agreement | None:
    if verdict.verb is not Verb.SEND or verdict.pair.state(verdict.side) is not State.NEW:
        return None
    found = elsewhere.get(verdict.side, {}).get(verdict.path, ())
    return next(
        (it for it in found if (verdict.side, it.path) in removals and (verdict.side, it.path) not in used), None
    )


@frozen
class Outline:
    """What is to be done, before it has an order. ``asides`` make way for the other version of a file in conflict."""

    verdicts: Sequence[Verdict]
    moves: Sequence[Move] = ()
    asides: Sequence[Move] = ()
    copies: Sequence[Copy] = ()
    """Copies that follow from conflicts."""
    ways: Sequence[Remove] = ()
    """Removals that follow from conflicts, and make way."""
    makes: Sequence[MakeDirectory] = ()
    """Directories that follow from conflicts."""

    @property
    def digests(self) -> Mapping[str, bytes]:
        """The digests of what both sides agreed on, by path, where a side still has that."""
        found: dict[str, bytes] = {}
        for verdict in self.verdicts:
            agreement = verdict.pair.agreement
            is_agreed = State.SAME in {verdict.pair.source_state, verdict.pair.target_state}
            if agreement is not None and agreement.digest is not None and is_agreed:
                found[verdict.path] = agreement.digest
        return found

    def removals(self) -> Iterator[Remove]:
        """Yield all removals, for the guards."""
        yield from self.ways
        yield from (it for it in map(_operation_of, self.verdicts) if isinstance(it, Remove))
        yield from (it for it in map(_way_of, self.verdicts) if it is not None)


def _operation_of(verdict: Verdict) -> Operation | None:
    """Return the operation that a verdict leads to; None if it leads to none."""
    changed, there = other(verdict.side), verdict.there
    match verdict.verb:
        case Verb.SEND | Verb.REPLACE_DIRECTORY:
            over = there if there is not None and there.kind is Kind.FILE else None
            return Copy(verdict.entry, there is not None, over=over, side=changed)
        case Verb.MAKE | Verb.REPLACE_FILE:
            return MakeDirectory(verdict.entry, side=changed)
        case Verb.REMOVE | Verb.GONE_DIRECTORY:
            assert there is not None, f"nothing to remove: {verdict.path}"
            return Remove(there, side=changed)
        case _:
            return None


def _way_of(verdict: Verdict) -> Remove | None:
    """Return the removal of what has the name of something of another kind."""
    if verdict.verb not in {Verb.REPLACE_FILE, Verb.REPLACE_DIRECTORY}:
        return None
    assert verdict.there is not None, f"nothing makes way: {verdict.path}"
    return Remove(verdict.there, side=other(verdict.side))


def order(outline: Outline) -> list[list[Operation]]:
    """Return the steps, in order; none is empty.

    Renames that make way for another version come first; then what makes way for an entry of another kind, leaves
    first; directories, parents first; renames; files; and at last the removals, leaves first.
    """
    replaced = {it.path for it in outline.verdicts if it.verb is Verb.REPLACE_DIRECTORY}
    operations = [it for it in map(_operation_of, outline.verdicts) if it is not None]
    removals = [it for it in operations if isinstance(it, Remove)]
    early = [it for it in removals if not replaced.isdisjoint(ancestors(it.path))]
    early += [*outline.ways, *(it for it in map(_way_of, outline.verdicts) if it is not None)]
    going = {id(it) for it in early}
    steps: list[list[Operation]] = [
        list(outline.asides),
        *_leaves_first(early),
        *_by_depth([*(it for it in operations if isinstance(it, MakeDirectory)), *outline.makes]),
        list(outline.moves),
        [*(it for it in operations if isinstance(it, Copy)), *outline.copies],
        *_leaves_first([it for it in removals if id(it) not in going]),
    ]
    return [step for step in steps if step]


def _leaves_first(removals: Sequence[Remove]) -> list[list[Operation]]:
    files = [it for it in removals if it.target.kind is not Kind.DIRECTORY]
    directories = [it for it in removals if it.target.kind is Kind.DIRECTORY]
    return [list(files), *reversed(_by_depth(directories))]


def _by_depth(operations: Sequence[Operation]) -> list[list[Operation]]:
    depths: dict[int, list[Operation]] = {}
    for operation in operations:
        depths.setdefault(operation.path.count("/"), []).append(operation)
    return [depths[depth] for depth in sorted(depths)]
