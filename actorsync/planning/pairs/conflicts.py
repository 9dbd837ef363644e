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

    ``names`` are taken on either side. ``copies`` is how many copies earlier conflicts have left. ``kept`` are the
    sides whose version one of these copies has as its content, on both sides.
    """

    names: Collection[str] = frozenset()
    copies: int = 0
    kept: Collection[Side] = frozenset()


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
    """Return what is done about a conflict. ``take`` is what the user or the rule has chosen.

    That decides which version keeps the name. The other one is never lost: it gets a name of its own, on both sides, or
    goes to the trash of its side.
    """
    pair = verdict.pair
    assert pair.source is not None, f"one side has nothing: {pair.path}"
    assert pair.target is not None, f"one side has nothing: {pair.path}"
    sides = {Side.SOURCE: pair.source, Side.TARGET: pair.target}
    stays = Conflict(pair.path, pair.source, pair.target, verdict.reason, when_ns / 1e9)
    if take == "keep":
        return Resolution(stays=stays)
    losing = Side.SOURCE if take == "target" else Side.TARGET
    if take == "both" and sides[losing].kind is Kind.DIRECTORY:
        losing = other(losing)  # a directory always keeps its name, because it is not sent again
    if sides[losing].kind is Kind.DIRECTORY:
        return Resolution(stays=attrs.evolve(stays, reason=f"{stays.reason}: {_DIRECTORY_LOSES}"))
    if rule.has_trash and take != "both":
        text = f"in conflict: the version of the {losing.value} goes to the trash of its side"
        return _replaced(losing, sides, text)
    name = conflict_name(name_of(pair.path), losing, when_ns, known.names)
    return _keep_both(stays, losing, sides, known, rule, name)


def _keep_both(
    stays: Conflict, losing: Side, sides: dict[Side, Entry], known: Known, rule: PairRule, name: str
) -> Resolution:
    """Keep both versions: that of the other side keeps the path, that of ``losing`` gets ``name`` on both sides."""
    keeping, lost = sides[other(losing)], sides[losing]
    makes = MakeDirectory(keeping, side=losing) if keeping.kind is Kind.DIRECTORY else None
    if losing in known.kept:
        return _replaced(losing, sides, f"in conflict: the version of the {losing.value} is kept already, in a copy")
    if known.copies >= rule.copies:
        reason = f"{stays.reason}; {known.copies} copies of it are left already: remove some of them"
        return Resolution(stays=attrs.evolve(stays, reason=reason))
    copied = attrs.evolve(lost, path=join(parent_of(stays.path), name))
    aside = Move(copied, lost, side=losing, is_aside=True)
    copies = [Copy(copied, side=other(losing))]
    if makes is None:
        copies.append(Copy(keeping, side=losing))
    text = f"in conflict: both versions are kept, that of the {losing.value} as {name!r}"
    return Resolution(aside, makes=makes, copies=tuple(copies), text=text)


def _replaced(losing: Side, sides: dict[Side, Entry], text: str) -> Resolution:
    """Replace the version of a side by the other one. It is kept elsewhere."""
    keeping, lost = sides[other(losing)], sides[losing]
    if keeping.kind is Kind.DIRECTORY:
        return Resolution(way=Remove(lost, side=losing), makes=MakeDirectory(keeping, side=losing), text=text)
    return Resolution(copies=(Copy(keeping, True, over=lost, side=losing),), text=text)
