"""What a mirror has done since the process began: counts that only grow, and a few levels."""

from __future__ import annotations

from actorsync.classes import define
from actorsync.errors import LoginRefused
from actorsync.model.event import (
    BreakerOpened,
    Event,
    LoginDeferred,
    Planned,
    Reconnecting,
    Resumed,
    Stopped,
    WatchLost,
)
from actorsync.model.operation import Copy, Done, Failed, Fault, Move, Prepare, Publish, Remove, Respell, Returned

__all__ = ["Counters"]


@define(eq=False)
class Counters:
    """Counts of files unless they say otherwise, over all passes. `observe` takes note of events."""

    passes: int = 0
    pass_seconds: float = 0.0
    files_planned: int = 0
    files_done: int = 0
    files_failed: int = 0
    """Paths that failed, of files and of directories. A path that fails in two passes counts twice."""
    bytes_sent: int = 0
    removed: int = 0
    moved: int = 0
    retries: int = 0
    """Operations that were tried again."""
    reconnects: int = 0
    login_failures: int = 0
    watch_losses: int = 0
    staged_bytes: int = 0
    """Bytes that are on the target under temporary names, to be published together."""
    breaker: BreakerOpened | None = None
    """The circuit breaker that is open now."""

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Done(Copy(), target, resumed=resumed):
                self.files_done += 1
                self.bytes_sent += (0 if target is None else target.size) - resumed
            case Done(Prepare(), kept=kept, resumed=resumed) if kept is not None:
                self.bytes_sent += kept.size - resumed
                self.staged_bytes += kept.size
            case Done(Publish(kept)):
                self.files_done += 1
                self.staged_bytes = max(0, self.staged_bytes - kept.size)
            case Done(Remove()):
                self.removed += 1
            case Done(Move() | Respell()):
                self.moved += 1
            case Failed(fault=fault):
                self.files_failed += fault is not Fault.PARKED
            case Returned():
                self.retries += 1
            case Planned(files):
                self.files_planned += files
            case Reconnecting():
                self.reconnects += 1
            case LoginDeferred():
                self.login_failures += 1
            case WatchLost():
                self.watch_losses += 1
            case BreakerOpened():
                self.breaker = event
            case Resumed():
                self.breaker = None
            case Stopped(report):
                self.passes += 1
                self.pass_seconds += report.seconds
                self.login_failures += report.exit_code == LoginRefused.exit_code
                self.staged_bytes, self.breaker = 0, None
