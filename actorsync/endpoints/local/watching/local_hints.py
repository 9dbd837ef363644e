"""Hints for a directory of this machine: the best way that works, again after the root was replaced."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Final, Protocol

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Source
from actorsync.endpoints.hints import Hint, HintQueue, alongside
from actorsync.endpoints.local.watching.inotify import InotifyWatch
from actorsync.endpoints.local.watching.kernel import Inotify
from actorsync.endpoints.local.watching.root import MOUNT_TABLE, Identity, Mounts, identity_of, leading_to
from actorsync.endpoints.local.watching.survey import WatchedTree
from actorsync.endpoints.local.watching.watchfiles import WatchfilesStopped, WatchfilesWatch, is_installed
from actorsync.endpoints.polling import Poller
from actorsync.endpoints.shared.filesystem_type import type_of
from actorsync.planning.selection import Selection
from actorsync.planning.watching.ways import Choice, choose, with_polled, without_inotify

__all__ = ["LocalSource", "System", "watch_directory"]

#: Seconds between two looks at the root, at the mounts and at the clocks.
_TICK: Final = 2.0
#: Seconds by which the clock that counts sleep must be ahead before the machine counts as having slept.
_SLEPT: Final = 5.0
#: Seconds between two looks for a root that is missing, and how long it is missing before that is told: who replaces a
#: directory by two renames leaves none for a moment.
_LOOK: Final = 0.25


class LocalSource(Source, Protocol):
    """A source on this machine."""

    @property
    def tree(self) -> WatchedTree:
        """Its tree."""


class _Watch(Protocol):
    """One way of watching, at work."""

    @property
    def directories(self) -> int:
        """The number of directories that are watched."""


@frozen
class System:
    """What a watch asks the system for. Tests replace parts of it."""

    platform: str = sys.platform
    filesystem_of: Callable[[Path], int] = type_of
    has_watchfiles: Callable[[], bool] = is_installed
    inotify: Callable[[], Inotify] = Inotify
    asleep: Callable[[], float] = attrs.field(default=lambda: _asleep())
    mount_table: Path = MOUNT_TABLE
    tick: float = _TICK


def _asleep() -> float:
    """Return the seconds that this machine has slept since it was started, give or take; 0 where that is unknown."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if clock is None else time.clock_gettime(clock) - time.monotonic()


@frozen
class _Root:
    """The root as it was when it was last opened."""

    identity: Identity
    mounts: Mounts


@define(eq=False)
class LocalHints:
    """The hints of the directory that ``path`` leads to."""

    path: Path
    selection: Selection
    #: Returns the source with the links in its path resolved anew.
    reopen: Callable[[], LocalSource]
    system: System
    queue: HintQueue = attrs.field(factory=HintQueue, init=False)
    choice: Choice = attrs.field(default=Choice("polling"), init=False)
    watch: _Watch | None = attrs.field(default=None, init=False)
    #: Set when the first directories are watched, or when it is known that there are none yet.
    started: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def how(self) -> str:
        """The way of watching."""
        return self.choice.way

    @property
    def why(self) -> str:
        """The reason why there is no better way."""
        return self.choice.why

    @property
    def directories(self) -> int:
        """The number of directories that are watched."""
        return 0 if self.watch is None else self.watch.directories

    async def receive(self) -> Hint:
        """Wait for the next hint."""
        return await self.queue.receive()

    async def run(self) -> None:
        """Watch until cancelled."""
        reason = ""
        while True:
            identity = await self._identity()
            if identity is None:
                await trio.sleep(_LOOK)
                identity = await self._identity()
            if identity is None:
                self.watch = None
                self.queue.lose("the source is gone, or cannot be read")
                self.started.set()
                while identity is None:
                    await trio.sleep(_LOOK)
                    identity = await self._identity()
                reason = "the source is there again"
            with Mounts(identity[0], self.system.mount_table) as mounts:
                reason = await self._watch_until_replaced(_Root(identity, mounts), reason)

    async def _watch_until_replaced(self, root: _Root, reason: str) -> str:
        """Watch until the root is replaced, and return what happened.

        When all is watched, hint at everything, with ``reason``.
        """
        source = await trio.to_thread.run_sync(self.reopen)
        system = self.system
        number = await trio.to_thread.run_sync(system.filesystem_of, self.path) if system.platform == "linux" else 0
        self.choice = choose(system.platform, number, has_watchfiles=system.has_watchfiles())
        try:
            if self.choice.way == "inotify":
                return await self._with_inotify(source, root, reason)
            if self.choice.way == "watchfiles":
                return await self._with_watchfiles(root, reason)
            why = reason
        except OSError as error:
            self.choice = without_inotify(error)
            why = self.choice.why
        except WatchfilesStopped as stopped:
            self.choice = Choice("polling", str(stopped))
            why = self.choice.why
        poller = Poller(source, self.selection, self.queue)
        self._begin(poller, why)
        async with alongside(poller.run):
            return await self._replacement(root)

    async def _with_inotify(self, source: LocalSource, root: _Root, reason: str) -> str:
        with closing(self.system.inotify()) as inotify:
            watch = InotifyWatch(inotify, source.tree, self.selection, self.queue)
            watch.watch_above(leading_to(self.path))
            await watch.start()
            if not watch.directories and await self._identity() == root.identity:
                raise PermissionError(errno.EACCES, "the root can be listed and not be watched")
            polled = {path: name for path, name in root.mounts.silent().items() if not self.selection.hides(path, True)}
            self.choice = with_polled(polled)
            self._begin(watch, reason)
            async with alongside(watch.run), AsyncExitStack() as stack:
                if polled:
                    poller = Poller(source, self.selection, self.queue, tuple(polled))
                    await stack.enter_async_context(alongside(poller.run))
                return await self._replacement(root, watch)

    async def _with_watchfiles(self, root: _Root, reason: str) -> str:
        watch = WatchfilesWatch(root.identity[0], self.selection, self.queue)

        async def begin() -> None:
            await watch.started.wait()
            self._begin(watch, reason)

        async with alongside(watch.run), alongside(begin):
            return await self._replacement(root)

    def _begin(self, watch: _Watch, reason: str) -> None:
        """Note that all directories are watched."""
        self.watch = watch
        if reason and self.started.is_set():
            self.queue.lose(reason)
        self.started.set()

    async def _replacement(self, root: _Root, watch: InotifyWatch | None = None) -> str:
        """Wait until the root or a part of it is replaced, and return what happened. Meanwhile, notice sleep."""
        system = self.system
        slept = system.asleep()
        while await self._identity() == root.identity:
            if root.mounts.have_changed():
                return "a file system was mounted or unmounted in the source"
            with trio.move_on_after(system.tick):
                if watch is None:
                    await trio.sleep_forever()
                elif await watch.something_at_root():
                    break
            if (now := system.asleep()) > slept + _SLEPT:
                self.queue.lose("the machine was asleep")
            slept = now
        return "the source is another directory now"

    async def _identity(self) -> Identity | None:
        # A network drive may not answer: the thread is left behind then.
        return await trio.to_thread.run_sync(identity_of, self.path, abandon_on_cancel=True)


@asynccontextmanager
async def watch_directory(
    path: Path, reopen: Callable[[], LocalSource], selection: Selection, system: System | None = None
) -> AsyncIterator[LocalHints]:
    """Watch the directory that ``path`` leads to. The contract is `Watching.watch`."""
    hints = LocalHints(path, selection, reopen, system or System())
    async with alongside(hints.run):
        await hints.started.wait()
        yield hints
