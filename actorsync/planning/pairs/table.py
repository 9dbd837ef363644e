"""What must happen to one path of two trees that are kept in step: one table, the same for both sides."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Final

from actorsync.classes import frozen
from actorsync.model.operation import Side
from actorsync.planning.pairs.states import State

__all__ = ["TABLE", "Action", "Rule", "as_markdown", "rule_for"]


class Action(enum.Enum):
    """What must be done."""

    NOTHING = "nothing"
    SEND = "send to the other side"
    REMOVE = "remove on the other side, after the guards"
    FORGET = "forget"
    COMPARE = "the same contents: agree; otherwise a conflict"
    VERIFY = "compare the contents with what was agreed"
    LEAVE = "leave both sides, and everything below"


#: (one side, other side) -> what must be done, seen from the first. A pair that is missing here is in `TABLE` the other
#: way round.
_RULES: Final[Mapping[tuple[State, State], Action]] = {
    (State.SAME, State.SAME): Action.NOTHING,
    (State.CHANGED, State.SAME): Action.SEND,
    (State.NEW, State.NEVER): Action.SEND,
    (State.CHANGED, State.NEVER): Action.SEND,
    (State.SAME, State.NEVER): Action.SEND,
    (State.CHANGED, State.GONE): Action.SEND,
    (State.GONE, State.SAME): Action.REMOVE,
    (State.GONE, State.GONE): Action.FORGET,
    (State.GONE, State.NEVER): Action.FORGET,
    (State.NEVER, State.NEVER): Action.FORGET,
    (State.NEW, State.NEW): Action.COMPARE,
    (State.CHANGED, State.CHANGED): Action.COMPARE,
    (State.DOUBTFUL, State.SAME): Action.VERIFY,
    (State.DOUBTFUL, State.CHANGED): Action.VERIFY,
    (State.DOUBTFUL, State.GONE): Action.VERIFY,
    (State.DOUBTFUL, State.NEVER): Action.VERIFY,
    (State.DOUBTFUL, State.DOUBTFUL): Action.VERIFY,
    **{(state, State.HIDDEN): Action.LEAVE for state in State if state is not State.UNKNOWN},
    **{(state, State.UNKNOWN): Action.LEAVE for state in State},
}


@frozen
class Rule:
    """What must be done, and from which side; ``side`` is the one that `_RULES` names first."""

    action: Action
    side: Side


def _both_ways() -> Iterator[tuple[tuple[State, State], Rule]]:
    for (one, two), action in _RULES.items():
        yield (two, one), Rule(action, Side.TARGET)
        yield (one, two), Rule(action, Side.SOURCE)


#: (source, target) -> what must be done. It is symmetric: the sides have no roles.
TABLE: Final[Mapping[tuple[State, State], Rule]] = dict(_both_ways())


def rule_for(source: State, target: State) -> Rule:
    """Look one path up. What is of another kind on both sides is decided by `actorsync.planning.pairs.kinds`."""
    return TABLE[source, target]


def as_markdown() -> str:
    """Return the table for docs/two-way.md. Each line holds both ways round."""
    lines = ["| one side | other side | what is done |", "|---|---|---|"]
    by_action: dict[tuple[State, Action], list[State]] = {}
    for (one, two), action in _RULES.items():
        if two not in {State.HIDDEN, State.UNKNOWN}:
            by_action.setdefault((one, action), []).append(two)
    for (one, action), others in by_action.items():
        lines.append(f"| {one.value} | {' or '.join(it.value for it in others)} | {action.value} |")
    lines.append(f"| {State.HIDDEN.value} or {State.UNKNOWN.value} | anything | {Action.LEAVE.value} |")
    return "\n".join(lines)
