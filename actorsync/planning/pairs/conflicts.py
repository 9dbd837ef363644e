"""What becomes of a conflict: a table of rules, and the operations that follow."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.model.operation import Copy, MakeDirectory, Move, Remove, Side
from actorsync.model.pair import Conflict, Take, other
from actorsync.planning.pairs.clocks import Clocks
from actorsync.planning.pairs.copies import conflict_name
from actorsync.planning.pairs.rules import PairRule
from actorsync.planning.pairs.verdicts import Pair, Verdict

__all__ = ["Known", "Resolution", "resolve", "take_of"]

_DIRECTORY_LOSES: Final = (
    'one side has a directory there, which no file replaces; remove or rename it yourself, or use "both"'
)


@frozen
class Known:
    """What is known of the surroundings of a conflict.

    ``names`` are taken on either side. ``copies`` is how many copies earlier conflicts have left. ``is_kept``: one of
    them has the content of the target.
    """

    names: Collection[str] = frozenset()
    copies: int = 0
    is_kept: bool = False


@frozen
class Resolution:
    """What is done about one conflict: operations, or a conflict that stays."""

    aside: Move | None = None
    way: Remove | None = None
    makes: MakeDirectory | None = None
    copies: tuple[Copy, ...] = ()
    stays: Conflict | None = None
    text: str = ""
    """One line for the user, about what was decided."""


def take_of(pair: Pair, rule: PairRule, clocks: Clocks) -> Take:
    """Return what the rule of a profile says about a conflict.

    The times of both sides are compared by ``newer`` alone, and only if both clocks are known to be right.
    """
    if rule.conflict != "newer":
        return rule.conflict
    source, target = pair.source, pair.target
    if not clocks.are_known or source is None or target is None or None in {source.mtime_ns, target.mtime_ns}:
        return "both"
    if Kind.DIRECTORY in {source.kind, target.kind} or source.mtime_ns == target.mtime_ns:
        return "both"
    assert source.mtime_ns is not None
    assert target.mtime_ns is not None
    return "source" if source.mtime_ns > target.mtime_ns else "target"


def resolve(verdict: Verdict, take: Take, known: Known, rule: PairRule, when_ns: int) -> Resolution:
    """Return what is done about a conflict. ``take`` is what the user or the rule has chosen."""
    pair = verdict.pair
    assert pair.source is not None, f"one side has nothing: {pair.path}"
    assert pair.target is not None, f"one side has nothing: {pair.path}"
    sides = {Side.SOURCE: pair.source, Side.TARGET: pair.target}
    has_directory = Kind.DIRECTORY in {it.kind for it in sides.values()}
    stays = Conflict(pair.path, pair.source, pair.target, verdict.reason, when_ns / 1e9)
    if take == "keep":
        return Resolution(stays=stays)
    if take == "both":
        return _both(stays, sides, known, rule, when_ns)
    winner = Side.SOURCE if take == "source" else Side.TARGET
    won, lost = sides[winner], sides[other(winner)]
    if not has_directory:
        copy = Copy(won, True, over=lost, side=other(winner))
        return Resolution(copies=(copy,), text=f"in conflict: the version of the {winner.value} is taken")
    if lost.kind is Kind.DIRECTORY:
        return Resolution(stays=attrs.evolve(stays, reason=f"{stays.reason}: {_DIRECTORY_LOSES}"))
    return Resolution(
        way=Remove(lost, side=other(winner)),
        makes=MakeDirectory(won, side=other(winner)),
        text=f"in conflict: the directory of the {winner.value} is taken",
    )


def _both(stays: Conflict, sides: dict[Side, Entry], known: Known, rule: PairRule, when_ns: int) -> Resolution:
    """Keep both versions: one keeps the name, the other gets a new one on both sides.

    The source's version keeps the name. A directory always does, because it is not sent again.
    """
    losing = Side.SOURCE if sides[Side.TARGET].kind is Kind.DIRECTORY else Side.TARGET
    keeping, lost = sides[other(losing)], sides[losing]
    if lost.kind is Kind.DIRECTORY:
        return Resolution(stays=stays)
    if known.is_kept and losing is Side.TARGET and keeping.kind is Kind.FILE:
        copy = Copy(keeping, True, over=lost, side=losing)
        return Resolution(copies=(copy,), text="in conflict: the version of the target is kept already, in a copy")
    if known.copies >= rule.copies:
        reason = f"{stays.reason}; {known.copies} copies of it are left already: remove some, or choose a version"
        return Resolution(stays=attrs.evolve(stays, reason=reason))
    name = conflict_name(name_of(stays.path), losing, when_ns, known.names)
    copied = attrs.evolve(lost, path=join(parent_of(stays.path), name))
    aside = Move(copied, lost, side=losing, is_aside=True)
    copies = [Copy(copied, side=other(losing))]
    if keeping.kind is Kind.FILE:
        copies.append(Copy(keeping, side=losing))
    makes = MakeDirectory(keeping, side=losing) if keeping.kind is Kind.DIRECTORY else None
    text = f"in conflict: both versions are kept, that of the {losing.value} as {name!r}"
    return Resolution(aside=aside, makes=makes, copies=tuple(copies), text=text)
