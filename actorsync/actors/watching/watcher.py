"""The watcher: receives the hints of a source at all times, also during a pass, and puts them on the agenda."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.hints import Dirty, Hints, Lost
from actorsync.model.event import Event, Noticed, WatchLost, WatchStarted
from actorsync.planning.watching.agenda import Agenda

__all__ = ["Watcher"]


@define(eq=False)
class Watcher:
    """Receives the hints of ``watch`` until it is cancelled.

    ``publish`` takes the events `WatchStarted`, `WatchLost` and `Noticed`. ``wake`` is called after each change of
    ``agenda``.
    """

    watch: Callable[[], AbstractAsyncContextManager[Hints]]
    agenda: Agenda
    publish: Callable[[Event], None]
    wake: Callable[[], object]
    _shown: tuple[str, str] | None = attrs.field(default=None, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch. ``task_status`` is started when every change from now on makes a hint."""
        async with self.watch() as hints:
            self._show(hints)
            task_status.started()
            while True:
                self._take(await hints.receive())
                self._show(hints)
                self.wake()

    def _take(self, hint: Dirty | Lost) -> None:
        now, had_hint = trio.current_time(), self.agenda.hinted_at is not None
        match hint:
            case Dirty(directories):
                self.agenda.hint(directories, now)
            case Lost(reason):
                self.publish(WatchLost(reason))
                self.agenda.lose(reason, now)
        if self.agenda.hinted_at is not None and not had_hint:
            self.publish(Noticed())

    def _show(self, hints: Hints) -> None:
        """Publish how the source is watched: at the beginning, and when another way has taken its place."""
        if self._shown != (hints.how, hints.why):
            self._shown = hints.how, hints.why
            self.publish(WatchStarted(hints.how, hints.directories, hints.why))
