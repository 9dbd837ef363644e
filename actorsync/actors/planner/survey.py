"""The survey: a list of the whole target, made when the journal does not know it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import trio

from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Memory
from actorsync.actors.planner.progress import Progress
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.errors import FatalError
from actorsync.model.entry import Entry, Kind, Listing, Root, ancestors
from actorsync.model.event import Learned, SurveyComplete
from actorsync.model.operation import Done, Failed, MakeDirectory, Outcome, Returned, Side
from actorsync.model.operation import Survey as SurveyDirectory
from actorsync.model.row import encode
from actorsync.planning.schedule import Schedule

__all__ = ["DELETE_TRAIT", "Survey"]

#: The name under which the journal keeps that the whole target is known as an exact mirror has to know it.
DELETE_TRAIT: Final = "sync.delete"


@define(eq=False)
class Survey:
    """List the whole target into the journal: what an unknown target holds must not be guessed.

    A directory of the source is planned after the same directory of the target was listed; nothing else has to wait.
    """

    journal: Memory
    schedule: Schedule
    progress: Progress
    announcer: Announcer
    statistics: Statistics
    draining: trio.Event
    is_exact: bool
    """Whether the target is to be known as an exact mirror has to know it: with what others put there, and links."""
    unlisted: set[str] = attrs.Factory(set)
    """Directories of the target that could not be listed."""
    root: Root | None = None
    """The identity of the root, where the target tells it."""
    _pending: set[str] = attrs.Factory(set)  # directories of the target whose listing is asked for and has not come
    _root_error: str | None = None
    _shallow: set[str] = attrs.Factory(set)  # directories that are listed again without those in them

    async def begin_where_unknown(self) -> bool:
        """Begin a survey if the target is not known well enough for the rule for removals. Return whether it began.

        What others put there under another rule than "everything" is not known. So the rule of the last run counts.
        """
        knows = self.journal.traits(Side.TARGET).get(DELETE_TRAIT, "") != ""
        if knows and not self.is_exact:
            await self.announcer.send(Learned(Side.TARGET, DELETE_TRAIT, ""))
        is_survey = self.journal.is_fresh or (self.is_exact and not knows)
        if is_survey:
            await self.begin()
        return is_survey

    async def begin(self) -> None:
        """Make the root of the target and begin to list it. Raises `FatalError` when the root cannot be made."""
        self.statistics.is_surveying = True
        await self.make_root()
        self._add("")
        self.progress.notify()

    async def make_root(self) -> None:
        """Make the root of the target. Raises `FatalError` when it cannot be made."""
        self.schedule.add(MakeDirectory(Entry("", Kind.DIRECTORY)))
        self.progress.notify()
        await self.progress.until_idle()
        if self._root_error is not None:
            reason = f"the root of the target cannot be made: {self._root_error}"
            raise FatalError(f"{reason}; correct the path in target.url")

    async def finish(self) -> bool:
        """Wait for the directories that only the target has, and announce the end of a complete survey.

        Return whether it is complete.
        """
        while self._pending and not self.draining.is_set():
            await self.progress.wait()
        self.statistics.is_surveying = False
        if self.unlisted or self.draining.is_set():
            return False
        await self.announcer.send(SurveyComplete())
        if self.is_exact:
            await self.announcer.send(Learned(Side.TARGET, DELETE_TRAIT, "everything"))
        return True

    async def list_again(self, directories: Mapping[str, bool]) -> None:
        """List directories again that are not as recorded, for the next run; those with True with all below them."""
        if not directories or self.draining.is_set():
            return
        self._shallow |= {path for path, is_deep in directories.items() if not is_deep}
        for directory in directories:
            self._add(directory)
        self.progress.notify()
        await self.progress.until_idle()

    @property
    def is_pending(self) -> bool:
        """Whether a listing of the target has not come yet."""
        return bool(self._pending)

    async def until_listed(self, directory: str) -> None:
        """Return when the journal knows what the target has in a directory."""
        while self._pending and any(path in self._pending for path in (directory, *ancestors(directory))):
            await self.progress.wait()

    def settle(self, outcome: Outcome) -> None:
        """Take note of the outcome of an operation: what was listed, and what could not be."""
        operation = outcome.operation
        if isinstance(outcome, Failed) and isinstance(operation, MakeDirectory) and not operation.path:
            self._root_error = outcome.reason
        if not isinstance(operation, SurveyDirectory) or isinstance(outcome, Returned):
            return
        self._pending.discard(operation.path)
        if isinstance(outcome, Failed):
            self.unlisted.add(operation.path)
        elif isinstance(outcome, Done) and outcome.listing is not None:
            self.root = outcome.root or self.root
            if operation.path not in self._shallow:
                self._add_children(outcome.listing)

    def list_below(self, listing: Listing) -> None:
        """List the directories in a directory whose listing has come, and everything below them."""
        self._add_children(listing)
        self.progress.notify()

    async def until_all_listed(self) -> None:
        """Return when no listing is awaited any more."""
        while self._pending and not self.draining.is_set():
            await self.progress.wait()

    def _add_children(self, listing: Listing) -> None:
        """List the directories in a directory in the order of the scan, so that the scan waits for few of them."""
        directories = [entry.path for entry in listing.entries if entry.kind is Kind.DIRECTORY]
        for directory in sorted(directories, key=encode):
            self._add(directory)

    def _add(self, directory: str) -> None:
        self._pending.add(directory)
        self.schedule.add(SurveyDirectory(directory))
