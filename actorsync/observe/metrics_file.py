"""The file with metrics for the node_exporter of Prometheus, which reads ``*.prom`` in a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from actorsync.actors.messages import Blocking
from actorsync.classes import define
from actorsync.model.event import Event, Stopped
from actorsync.model.text import display
from actorsync.observe.board import Board

__all__ = ["MetricsFile"]

#: Seconds between two versions of the file.
_EVERY: Final = 15.0


@define(eq=False)
class MetricsFile:
    """Writes the metrics of a board every 15 seconds, and at the end of each pass. A reader never sees a part of it.

    ``warn`` is called with one line if it cannot be written.
    """

    path: Path
    board: Board
    warn: Callable[[str], None]
    blocking: Blocking = attrs.field(default=partial(trio.to_thread.run_sync, abandon_on_cancel=True), kw_only=True)
    _is_due: trio.Event = attrs.Factory(trio.Event)
    _is_failing: bool = False

    def observe(self, event: Event) -> None:
        """Write soon after a pass has ended."""
        if isinstance(event, Stopped):
            self._is_due.set()

    async def run(self) -> None:
        """Write until cancelled."""
        for state in self.board.mirrors.values():
            state.readers.add(self.observe)
        while True:
            await self.finish()
            with trio.move_on_after(_EVERY):
                await self._is_due.wait()
            self._is_due = trio.Event()

    async def finish(self) -> None:
        """Write the file as it is now."""
        try:
            await self.blocking(self._write)
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                way_out = "check that its directory exists and may be written"
                reason = error.strerror or type(error).__name__
                self.warn(f"observe.metrics-file: {display(str(self.path))} was not written: {reason}; {way_out}")
            self._is_failing = True

    def _write(self) -> None:
        from actorsync.observe.metrics import metrics_text  # prometheus-client takes 30 ms to import

        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")  # not *.prom: it is not read
        try:
            with open(beside, "wb") as file:
                os.fchmod(file.fileno(), 0o644)  # the node_exporter is another user
                file.write(metrics_text(self.board))
            os.replace(beside, self.path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
