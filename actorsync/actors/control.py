"""What a user may change while a run goes on: pause it, limit it, retry a path, look at everything again."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import attrs
import trio

from actorsync.classes import define

__all__ = ["Control", "path_below"]


def path_below(text: str) -> str:
    """Return a path that a user has written, such as ``./a//b`` or ``/a/b``, as paths below the root are named."""
    return posixpath.normpath(text).strip("/")


@define(eq=False)
class Control:
    """The wishes of a user for one run, or for a whole loop of passes. The actors and the loop follow them.

    Call the methods from trio's thread only. A stop is not among them: see `Shutdown`.
    """

    connections: int | None = None
    """The highest number of connections from now on, at most that of the policy; None for that of the policy."""
    retries: set[str] = attrs.Factory(set)
    """Parked paths that the next pass tries, whatever their delay."""
    has_next_pass: bool = False
    """Whether passes follow one another. If not, nothing follows a retry or a rescan."""
    _is_paused: bool = False
    _is_rescan_due: bool = False
    _directories: set[str] = attrs.Factory(set)
    _changed: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    @property
    def is_paused(self) -> bool:
        """Whether no operation begins until `resume`. Operations in flight finish."""
        return self._is_paused

    def pause(self) -> None:
        """Begin no operation and no pass until `resume`. Connections stay open, and changes are still noticed."""
        self._is_paused = True
        self.notify()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._is_paused = False
        self.notify()

    def retry(self, path: str) -> None:
        """Let the next pass try a path that is parked. It begins as soon as it may."""
        self.retries.add(path)
        self.notify()

    def take_retries(self) -> frozenset[str]:
        """Return the paths that are to be tried, and forget them."""
        retries = frozenset(self.retries)
        self.retries.clear()
        return retries

    def rescan(self) -> None:
        """Let the next pass look at the whole source. It begins as soon as it may."""
        self._is_rescan_due = True
        self.notify()

    def look_at(self, directories: Iterable[str]) -> None:
        """Let the next pass look at these directories, where passes look at a part. It begins as soon as it may."""
        self._directories.update(directories)
        self.notify()

    def take_directories(self) -> frozenset[str]:
        """Return the directories that are to be looked at, and forget them."""
        directories = frozenset(self._directories)
        self._directories.clear()
        return directories

    def take_rescan(self) -> bool:
        """Return whether a rescan is wanted, and forget it."""
        is_due, self._is_rescan_due = self._is_rescan_due, False
        return is_due

    @property
    def is_rescan_due(self) -> bool:
        """Whether a rescan is wanted that no pass has begun."""
        return self._is_rescan_due

    def limit_connections(self, count: int | None) -> None:
        """Keep at most ``count`` connections from now on; None for as many as the profile says."""
        self.connections = count
        self.notify()

    def notify(self) -> None:
        """Wake up what waits in `changed`."""
        self._changed.unpark_all()

    async def changed(self) -> None:
        """Wait until something changes."""
        await self._changed.park()

    async def until_resumed(self, unless: trio.Event | None = None) -> None:
        """Wait while the run is paused, or until ``unless`` is set."""
        async with trio.open_nursery() as nursery:
            if unless is not None:
                nursery.start_soon(_cancel_when, unless, nursery.cancel_scope)
            while self._is_paused:
                await self._changed.park()
            nursery.cancel_scope.cancel()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
