"""What an output has to write."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from actorsync.classes import define
from actorsync.cli.output.streams import Sink

__all__ = ["Queue"]


@define(eq=False)
class Queue:
    """Lines that are not written yet, each with where it goes. Outputs that share a queue keep the order of events."""

    lines: deque[tuple[Sink, str]] = attrs.Factory(deque)
    woken: trio.Event = attrs.Factory(trio.Event)

    def add(self, sink: Sink, line: str) -> None:
        """Add a line, and wake its writer up."""
        self.lines.append((sink, line))
        self.woken.set()
