"""Removals of a two-way run that follows changes wait for a second look, some seconds later.

A build tool empties its output and fills it again; an editor removes a file and renames another to its name. What is
gone from one side for a moment is not removed on the other one.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorsync.classes import define
from actorsync.model.entry import Scope
from actorsync.model.operation import Side
from actorsync.planning.pairs.verdicts import Verb, Verdict

__all__ = ["Settling"]

_REMOVALS = (Verb.REMOVE, Verb.GONE_DIRECTORY)


@define(eq=False)
class Settling:
    """What passes that follow one another have found gone, and when first. ``seconds`` is how long it waits."""

    seconds: float
    _since: dict[tuple[Side, str], float] = attrs.Factory(dict)

    def sort(
        self, verdicts: Sequence[Verdict], now: float, scope: Scope | None
    ) -> tuple[list[Verdict], dict[str, float]]:
        """Return the verdicts that hold now, and by path when the removals that wait are due.

        ``now`` is in seconds since the epoch. What a pass over ``scope`` (None: everything) does not find gone any more
        is forgotten: if it goes again, its time begins anew.
        """
        gone = {(it.side, it.path) for it in verdicts if it.verb in _REMOVALS}
        self._since = {
            key: since
            for key, since in self._since.items()
            if key in gone or not (scope is None or scope.decides(key[1]))
        }
        ready: list[Verdict] = []
        waiting: dict[str, float] = {}
        for verdict in verdicts:
            if verdict.verb not in _REMOVALS:
                ready.append(verdict)
                continue
            since = self._since.setdefault((verdict.side, verdict.path), now)
            if since <= now < since + self.seconds:
                waiting[verdict.path] = since + self.seconds
            else:
                ready.append(verdict)
        return ready, waiting
