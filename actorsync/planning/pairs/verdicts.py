"""One directory of two trees that are kept in step: what must happen to each path in it, and which to go into."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, Listing, join, name_of
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement, other
from actorsync.planning.pairs.states import State, state_of
from actorsync.planning.pairs.table import Action, rule_for

__all__ = ["Below", "Pair", "PairListing", "Verb", "Verdict", "is_refreshed", "judge", "judge_directory", "pairs_of"]


class Verb(enum.Enum):
    """What follows for one path. ``Verdict.side`` is the side whose state is carried over."""

    AGREE = "agree"  # nothing to send: record both sides
    SEND = "send"
    MAKE = "make the directory on the other side"
    REMOVE = "remove on the other side"
    GONE_DIRECTORY = "remove the directory on the other side, if nothing in it stays"
    REPLACE_FILE = "replace a file of the other side by a directory"
    REPLACE_DIRECTORY = "replace a directory of the other side by a file, if nothing in it stays"
    FORGET = "forget"
    COMPARE = "compare the contents of both sides"
    VERIFY = "compare the contents of a side with what was agreed"
    CONFLICT = "conflict"
    LEAVE = "leave"


@frozen
class Pair:
    """What is known of one path: what both sides have now, what they agreed on, and what became of each since."""

    path: str
    source: Entry | None
    target: Entry | None
    agreement: Agreement | None
    source_state: State
    target_state: State

    def on(self, side: Side) -> Entry | None:
        """Return the entry of a side."""
        return self.source if side is Side.SOURCE else self.target

    def state(self, side: Side) -> State:
        """Return the state of a side."""
        return self.source_state if side is Side.SOURCE else self.target_state

    def with_state(self, side: Side, state: State) -> Pair:
        """Return the pair with another state of a side, once its content is known."""
        if side is Side.SOURCE:
            return attrs.evolve(self, source_state=state)
        return attrs.evolve(self, target_state=state)


@frozen
class Verdict:
    """What must happen to one path, and from what that follows."""

    verb: Verb
    pair: Pair
    side: Side = Side.SOURCE
    reason: str = ""
    digest: bytes | None = None
    is_blocked: bool = False
    """Of a conflict: it is one only because something is in the way that is left out. No rule decides about that."""

    @property
    def path(self) -> str:
        return self.pair.path

    @property
    def entry(self) -> Entry:
        """The entry of the side whose state is carried over."""
        entry = self.pair.on(self.side)
        assert entry is not None, f"nothing to carry over: {self.path}"
        return entry

    @property
    def there(self) -> Entry | None:
        """The entry of the other side."""
        return self.pair.on(other(self.side))


@frozen
class Below:
    """A directory to go into, and which of the sides have it."""

    path: str
    on_source: bool = True
    on_target: bool = True

    @property
    def is_on_both(self) -> bool:
        return self.on_source and self.on_target


@frozen
class PairListing:
    """One directory as both sides show it. An empty listing without a problem stands for a side that has none."""

    directory: str
    source: Listing
    target: Listing

    def on(self, side: Side) -> Listing:
        """Return the listing of a side."""
        return self.source if side is Side.SOURCE else self.target


#: Whether the selection excludes a path: (path, is a directory).
Hides = Callable[[str, bool], bool]

_WITH_DIRECTORY: Final = "a file on one side, a directory on the other"


def pairs_of(
    listed: PairListing, agreements: Mapping[str, Agreement], hides: Hides, *, by_size_time: bool = False
) -> Iterator[Pair]:
    """Yield what is known of each path in a directory, in order of names. Both sides were listed."""
    source = {name_of(entry.path): entry for entry in listed.source.entries}
    target = {name_of(entry.path): entry for entry in listed.target.entries}
    names = source.keys() | target.keys() | agreements.keys()
    for name in sorted(names):
        path, agreement = join(listed.directory, name), agreements.get(name)
        entries = source.get(name), target.get(name)
        states = []
        for side, entry in zip((Side.SOURCE, Side.TARGET), entries, strict=True):
            is_hidden = name in listed.on(side).hidden or (
                entry is None and agreement is not None and hides(path, agreement.on(side).kind is Kind.DIRECTORY)
            )
            states.append(State.HIDDEN if is_hidden else state_of(entry, agreement, side, by_size_time=by_size_time))
        yield Pair(path, *entries, agreement, *states)


def judge_directory(
    listed: PairListing, agreements: Mapping[str, Agreement], hides: Hides, *, by_size_time: bool = False
) -> Iterator[Verdict | Below]:
    """Yield a verdict for each path for which there is something to do, and the directories to go into."""
    for pair in pairs_of(listed, agreements, hides, by_size_time=by_size_time):
        yield from judge(pair)


def judge(pair: Pair) -> Iterator[Verdict | Below]:
    """Yield what follows for one path: at most one verdict, and the directory to go into, if it is one."""
    if not {State.HIDDEN, State.UNKNOWN}.isdisjoint({pair.source_state, pair.target_state}):
        yield Verdict(Verb.LEAVE, pair)
        return
    if State.DOUBTFUL in {pair.source_state, pair.target_state}:
        yield Verdict(Verb.VERIFY, pair)
        return
    are_directories = [entry is not None and entry.kind is Kind.DIRECTORY for entry in (pair.source, pair.target)]
    if all(are_directories):
        if is_refreshed(pair):
            yield Verdict(Verb.AGREE, pair)
        yield Below(pair.path)
    elif any(are_directories):
        yield from _judge_one_directory(pair, Side.SOURCE if are_directories[0] else Side.TARGET)
    else:
        verdict = _judge_files(pair)
        if verdict is not None:
            yield verdict


def is_refreshed(pair: Pair) -> bool:
    """Return whether the sides agree, and what is recorded of them is not what they show."""
    then = pair.agreement
    if then is None or (pair.source_state, pair.target_state) != (State.SAME, State.SAME):
        return True
    if then.doubt:
        return True
    return any(
        now is not None and attrs.evolve(now, mode=None) != attrs.evolve(was, mode=None)
        for now, was in ((pair.source, then.source), (pair.target, then.target))
        if was.kind is Kind.FILE
    )


def _judge_files(pair: Pair) -> Verdict | None:
    """Return what follows for a path that is no directory on either side; None for nothing."""
    rule = rule_for(pair.source_state, pair.target_state)
    match rule.action:
        case Action.NOTHING:
            return Verdict(Verb.AGREE, pair) if is_refreshed(pair) else None
        case Action.SEND:
            return Verdict(Verb.SEND, pair, rule.side)
        case Action.REMOVE:
            return Verdict(Verb.REMOVE, pair, rule.side)
        case Action.FORGET:
            return Verdict(Verb.FORGET, pair) if pair.agreement is not None else None
        case Action.COMPARE:
            return _judge_contents(pair)
        case action:
            raise AssertionError(f"{action} is decided before: {pair.path}")


def _judge_contents(pair: Pair) -> Verdict:
    assert pair.source is not None, f"no file to compare: {pair.path}"
    assert pair.target is not None, f"no file to compare: {pair.path}"
    if pair.source.size != pair.target.size:
        return Verdict(Verb.CONFLICT, pair, reason=_why(pair))
    return Verdict(Verb.COMPARE, pair, reason=_why(pair))


def _why(pair: Pair) -> str:
    return "new on both sides, and different" if pair.agreement is None else "changed on both sides, and different"


def _judge_one_directory(pair: Pair, side: Side) -> Iterator[Verdict | Below]:
    """Yield what follows where ``side`` has a directory, and the other one a file or nothing."""
    below = Below(pair.path, on_source=side is Side.SOURCE, on_target=side is Side.TARGET)
    here, there = pair.state(side), pair.state(other(side))
    if pair.on(other(side)) is None:
        if (here, there) == (State.SAME, State.GONE):
            yield Verdict(Verb.GONE_DIRECTORY, pair, other(side))
        else:
            yield Verdict(Verb.MAKE, pair, side)
        yield below
    elif (here, there) == (State.SAME, State.CHANGED):
        yield Verdict(Verb.REPLACE_DIRECTORY, pair, other(side), _WITH_DIRECTORY)
        yield below
    elif (here, there) == (State.CHANGED, State.SAME):
        yield Verdict(Verb.REPLACE_FILE, pair, side)
        yield below
    else:
        yield Verdict(Verb.CONFLICT, pair, reason=_WITH_DIRECTORY)
        yield below
