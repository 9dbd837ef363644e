"""The events of a run as records of the standard library's logger ``actorsync``.

* ERROR: a file failed or is in conflict, a guard refused the removals, the run could not go on or ended not in sync.
* WARNING: a warning, a lost connection, a path that is parked, removals that wait.
* INFO: the run begins, or ends in sync; the source is watched; what did not work works again.
* DEBUG: each change (``+`` new, ``*`` changed, ``-`` removed, ``>`` moved, ``%`` new mode), and each file not tried.
  In a two-way run, ``->`` before it says that the target is changed, and ``<-`` the source.

Each record has the event as its attribute ``event``, and as ``mirror`` the name of the mirror; "" if the process has
only one. With a name, the text begins with it. The texts are those of the command line, without secrets.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from actorsync.actors.observers import Observer
from actorsync.classes import define
from actorsync.model.changes import change_text
from actorsync.model.event import (
    Changed,
    Event,
    LoginDeferred,
    PassBegan,
    Recovered,
    RemovalsWithheld,
    Resumed,
    Started,
    Stopped,
    Warned,
    WatchLost,
    WatchStarted,
)
from actorsync.model.messages import (
    did_nothing,
    named,
    parking_text,
    summary,
    trouble_in,
    watch_text,
)
from actorsync.model.operation import Done, Failed, Fault
from actorsync.model.text import counted, display

__all__ = ["log_observer"]

_LOGGER: Final = logging.getLogger("actorsync")
_LOGGER.addHandler(logging.NullHandler())  # as the standard library asks of libraries: no output unless it is set up


def log_observer(name: str = "") -> Observer | None:
    """Return an observer that logs the events of a mirror by its ``name``.

    None if the program has set no logging up, so that a run costs no more.
    """
    logger: logging.Logger | None = _LOGGER
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return _Log(name).observe
        logger = logger.parent if logger.propagate else None
    return None


@define(eq=False)
class _Log:
    """Logs events. A pass over a part of the source does not tell that it begins: most of them find nothing to do."""

    name: str
    _is_partial: bool = False
    _shows_sides: bool = False

    def observe(self, event: Event) -> None:
        if isinstance(event, Started):
            self._shows_sides = event.is_two_way
        if isinstance(event, PassBegan):
            self._is_partial = event.directories is not None
        prefix = f"{display(self.name)}: " if self.name else ""
        for level, text in _lines_of(event, shows_sides=self._shows_sides):
            level = logging.DEBUG if isinstance(event, Started) and self._is_partial else level
            if _LOGGER.isEnabledFor(level):
                _LOGGER.log(level, "%s%s", prefix, text, extra={"event": event, "mirror": self.name})


def _lines_of(event: Event, *, shows_sides: bool) -> Iterator[tuple[int, str]]:
    match event:
        case Done():
            if _LOGGER.isEnabledFor(logging.DEBUG) and (change := change_text(event, shows_sides=shows_sides)):
                yield logging.DEBUG, change
        case Started(connections=connections):
            yield logging.INFO, f"{event.text()}, {counted(connections, 'connection')}"
        case WatchStarted(why=why):
            yield (logging.WARNING if why else logging.INFO), watch_text(event)
        case WatchLost():
            yield logging.WARNING, watch_text(event)
        case Changed(text):
            yield logging.INFO, display(text)
        case Warned(text) | RemovalsWithheld(_, text):
            yield logging.WARNING, display(text)
        case Failed(operation, reason, Fault.UNSENT | Fault.PARKED):  # many, and all for one reason that was logged
            yield logging.DEBUG, f"failed: {named(operation.path)}: {display(reason)}"
        case Stopped(report):
            if report.error is not None:
                yield logging.ERROR, display(report.error)
            if report.error is None or not did_nothing(report):
                yield (logging.INFO if report.exit_code == 0 else logging.ERROR), summary(report)
        case Resumed() | LoginDeferred():
            yield from ((logging.INFO, text) for _, text in trouble_in(event))
        case _:
            if (parking := parking_text(event, is_repeated=False)) is not None:
                yield (logging.INFO if isinstance(event, Recovered) else logging.WARNING), parking
            for is_failure, text in trouble_in(event):
                yield (logging.ERROR if is_failure else logging.WARNING), text
