"""Paths that fail run after run: when they are parked, and for how long.

A name that a server rejects, or a file without read permission, fails in every pass, costs a try each time and hides
what is new in the log. After `PARK_AFTER` failures in a row such a path is *parked*: passes do not try it until its
delay has passed, unless the source has changed. It counts as failed in the meantime, and a run that a user starts tries
it at once. Only failures of the one path count: not a target that is full, and not a run that was incomplete.

A temporary that the target does not remove in so many runs is let go instead: no source of it can change, and it would
fail every run for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import attrs

from actorsync.classes import define
from actorsync.model.entry import Entry, Kind, Scope, parent_of
from actorsync.model.event import Parked, Recovered, Swept, Warned
from actorsync.model.operation import Done, Failed, Fault, MakeDirectory, Move, Outcome, Remove, Sending, SetMode, Sweep
from actorsync.model.text import display, duration_text

__all__ = ["FIRST_DELAY", "LONGEST_DELAY", "PARK_AFTER", "Parking", "delay_after", "is_due", "is_parked", "troubled"]

#: How many failures in a row park a path.
PARK_AFTER: Final = 3
#: Seconds for which a path is parked after that many failures; twice as long after each further one.
FIRST_DELAY: Final = 60.0
#: The longest delay, in seconds.
LONGEST_DELAY: Final = 3_600.0


def is_parked(trouble: Parked) -> bool:
    """Tell whether a path has failed so often that it is not tried for a while."""
    return trouble.failures >= PARK_AFTER


def delay_after(failures: int) -> float:
    """Return the seconds for which a path is parked after so many failures in a row."""
    if failures < PARK_AFTER:
        return 0.0
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - PARK_AFTER, 32))


def is_due(trouble: Parked, now: float) -> bool:
    """Tell whether a path may be tried again. If the clock was set back to before the failure, it may."""
    return not trouble.failed_at <= now < trouble.failed_at + delay_after(trouble.failures)


def troubled(before: Parked | None, path: str, source: Entry | None, reason: str, now: float) -> Parked:
    """Return the record of one more failure. Another version of the source, or a first failure, counts from one."""
    if before is None or not _is_same(before.source, source):
        return Parked(path, source, 1, now, now, reason)
    failures = before.failures + 1
    failed = Parked(path, source, failures, before.since, now, reason)
    return failed if not is_parked(failed) else attrs.evolve(failed, retry_at=now + delay_after(failures))


def _is_same(then: Entry | None, now: Entry | None) -> bool:
    if then is not None and now is not None and then.kind is now.kind is Kind.DIRECTORY:
        return True  # its times change with every entry that is made in it
    return then == now


@define(eq=False)
class Parking:
    """The failures of earlier runs, and what one run makes of them. ``now`` is the time of day, in seconds.

    With ``is_patient`` paths that are parked and have not changed are not tried; without it, all are.
    """

    is_patient: bool
    troubles: Mapping[str, Parked] = attrs.Factory(dict)
    now: float = 0.0
    retries: Collection[str] = ()
    _met: set[str] = attrs.Factory(set)
    _done: set[str] = attrs.Factory(set)
    _failed: dict[str, Failed] = attrs.Factory(dict)
    _is_in_doubt: bool = False

    def begin(self, troubles: Iterable[Parked], now: float, retries: Collection[str] = ()) -> None:
        """Begin a run with what the journal remembers, and what is tried whatever its delay."""
        self.troubles, self.now, self.retries = {trouble.path: trouble for trouble in troubles}, now, retries

    def why_not(self, path: str, source: Entry | None) -> str | None:
        """Return why an operation on ``path`` is not tried now; None when it is tried.

        ``source`` is what would be sent, None for a removal.
        """
        trouble = self.troubles.get(path)
        if trouble is None:
            return None
        self._met.add(path)
        is_tried = not self.is_patient or path in self.retries or is_due(trouble, self.now)
        if is_tried or not _is_same(trouble.source, source):
            return None
        left = trouble.failed_at + delay_after(trouble.failures) - self.now
        times = f"{trouble.failures} failures"
        return f"parked after {times}, tried again in {duration_text(left)}: {trouble.reason}"

    def settle(self, outcome: Outcome) -> None:
        """Take note of the outcome of an operation."""
        operation = outcome.operation
        if not isinstance(operation, Sending | MakeDirectory | Move | Remove | SetMode | Sweep):
            return
        if isinstance(outcome, Failed):
            if outcome.fault in {Fault.TARGET, Fault.UNSENT}:
                self._is_in_doubt = True
            elif outcome.fault is Fault.PATH:
                self._failed[operation.path] = outcome
        elif isinstance(outcome, Done):
            self._failed.pop(operation.path, None)  # a temporary is swept again at the end of a run
            if operation.path in self.troubles:
                self._done.add(operation.path)

    def conclude(
        self, unseen: Collection[str], now: float, scope: Scope
    ) -> Iterator[Parked | Recovered | Swept | Warned]:
        """Yield what the journal has to remember of a complete run.

        ``unseen`` are the directories that could not be listed, ``scope`` is what the scan covered. A path has
        recovered when it was done, or when there is nothing left to do: it is gone, or excluded. In a run that found
        the target full no failure counts, because the path may not be the cause.
        """
        if not self._is_in_doubt:
            missing = {path for path, failed in self._failed.items() if isinstance(failed.operation, MakeDirectory)}
            for path, failed in self._failed.items():
                if _is_in(path, missing):
                    continue  # one batch may hold a directory and what is in it: the server rejects both for one reason
                trouble = troubled(self.troubles.get(path), path, _source_of(failed), failed.reason, now)
                if isinstance(failed.operation, Sweep) and is_parked(trouble):
                    yield from _let_go(trouble)
                else:
                    yield trouble
        for path, trouble in self.troubles.items():
            is_done_with = not (path in self._met or _is_in(path, unseen)) and scope.contains(path)
            if path not in self._failed and (path in self._done or is_done_with):
                yield Recovered(path, is_parked(trouble))


def _let_go(trouble: Parked) -> Iterator[Recovered | Swept | Warned]:
    """Yield what makes the journal forget a temporary, and tells the user about it once."""
    yield Warned(
        f"the temporary file {display(trouble.path)!r} could not be removed in {trouble.failures} runs, "
        f"and is not tried again ({trouble.reason}); remove it by hand"
    )
    yield Swept((trouble.path,))
    yield Recovered(trouble.path, was_parked=False)


def _source_of(failed: Failed) -> Entry | None:
    operation = failed.operation
    return operation.source if isinstance(operation, Sending | MakeDirectory | SetMode) else None


def _is_in(path: str, directories: Collection[str]) -> bool:
    while directories and path:
        path = parent_of(path)
        if path in directories:
            return True
    return False
