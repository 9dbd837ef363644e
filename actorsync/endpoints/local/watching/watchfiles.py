"""Hints from the package watchfiles, where the system has no inotify: macOS and Windows.

It is not to be relied on. It drops the notice of the system that events were lost, it stops at the first name that is
not UTF-8, and a cancelled wait in it goes on for seconds. So its thread is stopped by an event, and what it does not
tell is found by the passes over the whole source.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.hints import HintQueue, alongside
from actorsync.model.entry import join, parent_of
from actorsync.planning.selection import Selection

__all__ = ["WatchfilesStopped", "WatchfilesWatch", "is_installed"]

#: Milliseconds: how long changes are collected, how often the thread looks for new ones, and how long it waits at most.
_DEBOUNCE, _STEP, _TIMEOUT = 50, 10, 200
_IS_PATH_SEPARATED_ALIKE: Final = os.sep == "/"


class WatchfilesStopped(Exception):
    """The package has given up. The text says why."""


def is_installed() -> bool:
    """Tell whether the package is installed."""
    return find_spec("watchfiles") is not None


@define(eq=False)
class WatchfilesWatch:
    """Watches the tree below ``root``, a path without links, and puts hints into ``queue``."""

    root: str
    selection: Selection
    queue: HintQueue
    #: The system tells no number: it watches the whole tree at once.
    directories: int = 1
    started: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self) -> None:
        """Follow the changes until cancelled. Raises `WatchfilesStopped` if watchfiles has stopped by itself."""
        stop = threading.Event()
        async with alongside(partial(_set_when_cancelled, stop)):
            await trio.to_thread.run_sync(self._follow, stop)

    def _follow(self, stop: threading.Event) -> None:
        """Follow the changes in a thread until ``stop`` is set."""
        import watchfiles  # an extra

        try:
            for changes in watchfiles.watch(
                self.root,
                watch_filter=None,
                debounce=_DEBOUNCE,
                step=_STEP,
                stop_event=stop,
                rust_timeout=_TIMEOUT,
                yield_on_timeout=True,
                raise_interrupt=False,
                recursive=True,
                ignore_permission_denied=True,
            ):
                if not self.started.is_set():
                    trio.from_thread.run_sync(self.started.set)
                if dirty := self._directories_of((path, change is watchfiles.Change.added) for change, path in changes):
                    trio.from_thread.run_sync(self.queue.add, dirty)
        except Exception as error:  # it raises what its library does, of no common type
            raise WatchfilesStopped(f"watchfiles has stopped: {error}") from error
        if not stop.is_set():
            raise WatchfilesStopped("watchfiles has stopped")

    def _directories_of(self, changes: Iterable[tuple[str, bool]]) -> set[str]:
        """Return the directories to list for changed paths, each with whether it is new."""
        dirty: set[str] = set()
        for absolute, is_new in changes:
            path = os.path.relpath(absolute, self.root)
            path = "" if path == os.curdir else path if _IS_PATH_SEPARATED_ALIKE else path.replace(os.sep, "/")
            is_directory = os.path.isdir(absolute)
            if path.startswith("..") or self.selection.hides(path, is_directory):
                continue
            dirty.add(parent_of(path))
            if is_directory:
                dirty.update(self._all_below(path) if is_new else {path})
        return dirty

    def _all_below(self, directory: str) -> set[str]:
        """Return a directory and those in it. One that appeared with content may have made one event only."""
        found = {directory}
        for place, names, _ in os.walk(os.path.join(self.root, directory)):
            here = os.path.relpath(place, self.root).replace(os.sep, "/")
            here = "" if here == os.curdir else here
            names[:] = [name for name in names if self.selection.is_included(join(here, name), is_directory=True)]
            found.add(here)
        return found


async def _set_when_cancelled(stop: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        stop.set()
