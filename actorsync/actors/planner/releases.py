"""Releases: what was sent to be published together, and whether it may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import attrs
import trio

from actorsync.actors.messages import Blocking, Release, ReleaseResult
from actorsync.actors.pipeline import Approval
from actorsync.actors.planner.announcer import Announcer
from actorsync.actors.planner.memory import Memory
from actorsync.actors.planner.removals import Removals
from actorsync.actors.statistics import Statistics
from actorsync.classes import define
from actorsync.errors import ReleaseRefused
from actorsync.model.entry import ScanComplete
from actorsync.model.event import NotPublished, TrashOpened, Warned
from actorsync.model.kept import Kept
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Outcome,
    Prepare,
    Publish,
    Sending,
    SetMode,
    Skipped,
)
from actorsync.model.text import counted, display, duration_text, size_text
from actorsync.planning.publishing.forecast import burst_seconds
from actorsync.planning.publishing.rules import PublishRule
from actorsync.planning.schedule import Schedule
from actorsync.planning.temporary_names import aside_name

__all__ = ["Releases", "aside_of"]


def aside_of(kept: Kept) -> str:
    """Return the path of the old file until a release has ended: beside it, under a temporary name."""
    return aside_name(kept.temporary)


@define(eq=False)
class Expected:
    """What is to be staged: ``size`` is in bytes, ``ranks`` are how many files each rank has.

    ``replaced`` files of the target get a new version. ``is_whole`` is set when everything is planned.
    """

    size: int = 0
    ranks: Counter[int] = attrs.Factory(Counter)
    replaced: int = 0
    is_whole: trio.Event = attrs.Factory(trio.Event)


@define(eq=False)
class Releases:
    """Owns what is staged and not published, and what waits for its publication.

    ``approval`` is what a burst waits for before anything of it can be seen; see `Pipeline`.
    ``trash`` is what is opened for this run, and returns a place for an old file; None without a trash.
    """

    rule: PublishRule
    journal: Memory
    schedule: Schedule
    announcer: Announcer
    blocking: Blocking
    removals: Removals
    draining: trio.Event
    drain_seconds: float
    statistics: Statistics
    publisher: trio.MemorySendChannel[Release]
    trash: tuple[TrashOpened, Callable[[], str]] | None = None
    approval: Approval | None = None
    _staged: dict[str, tuple[Prepare, Kept]] = attrs.Factory(dict)
    _modes: list[SetMode] = attrs.Factory(list)
    _failed: int = 0  # paths of which the target has not got what it should have
    _vanished: int = 0  # files that were gone when they were to be sent
    expected: Expected = attrs.Factory(Expected)
    is_stuck: bool = False
    """Whether a release was begun and not ended: nothing more may be done in this run."""

    @property
    def temporaries(self) -> Collection[str]:
        """The names under which files wait for their publication."""
        return {kept.temporary for _, kept in self._staged.values()}

    @property
    def _coming(self) -> int:
        """How many files a release would add to the target."""
        return sum(not prepare.replaces for prepare, _ in self._staged.values())

    @property
    def held(self) -> int:
        """How many operations wait for a release and are not in the schedule."""
        return len(self._modes)

    def expect(self, copy: Copy) -> None:
        """Count a file that is to be staged."""
        self.expected.size += copy.source.size - (0 if copy.kept is None else copy.kept.sent)
        self.expected.ranks[self.rule.ranks.of(copy.path)] += 1
        self.expected.replaced += copy.replaces

    async def watch(self) -> None:
        """Raise `ReleaseRefused` as soon as it is known that what is to be published cannot be."""
        await self.expected.is_whole.wait()
        aside = self.expected.replaced if self.rule.keeps_old else 0
        seconds = burst_seconds([*self.expected.ranks.values()], len(self.statistics.connections), aside=aside)
        if seconds > self.drain_seconds:
            raise ReleaseRefused(
                f"nothing was published: the burst would take about {duration_text(seconds)}, and a stop waits only "
                f"{duration_text(self.drain_seconds)} for it; raise shutdown.drain, or sync.connections"
            )
        room = self.statistics.room
        await room.is_told.wait()
        if room.free is not None and self.expected.size > room.free:
            raise ReleaseRefused(
                f"nothing was published: {size_text(self.expected.size)} are to be sent before anything is replaced, "
                f'and the target has room for {size_text(room.free)}; free some, or set publish.mode = "file"'
            )

    def hold(self, operation: SetMode) -> None:
        """Keep a change back until everything is published."""
        self._modes.append(operation)

    def settle(self, outcome: Outcome) -> None:
        """Take note of what is staged, and of what could not be."""
        match outcome:
            case Done(Prepare() as prepare, kept=Kept() as kept):
                self._staged[prepare.path] = prepare, kept
            case Failed(operation) if isinstance(operation, Sending | MakeDirectory):
                self._failed += 1
            case Skipped(operation) if isinstance(operation, Sending):
                self._vanished += 1

    async def publish_all(
        self, complete: ScanComplete, seen: int, unseen: Collection[str], unlisted: Collection[str]
    ) -> None:
        """Publish everything that is staged; then remove what is to be removed, and publish what waited for that.

        Nothing of it begins unless all of it was sent, and no guard refuses the removals. See `Removals.decide`;
        ``unseen`` are the directories of the source that could not be listed.
        """
        self._failed += complete.problems
        if (why := self._why_not(unseen)) is None and not await self.removals.decide(
            complete, seen, unlisted, self._coming
        ):
            why = "a guard refused the removals"
        if why is not None:
            await self._hold_back(why)
        elif not await self._is_approved():
            pass
        elif await self._publish():
            await self.removals.release()
            if self.draining.is_set():
                self.note_drain()
                return
            if (why := self._why_not(unseen)) is not None:
                await self._hold_back(why)
            else:
                await self._publish()
        await self._leave()
        await self.announcer.settle(self.schedule.drop_removals("nothing was published"))

    async def _is_approved(self) -> bool:
        """Wait for what a burst waits for, unless there is nothing to publish. Return False if nothing may be.

        A drain ends the wait: the next run publishes.
        """
        if self.approval is None or not (self._staged or self._modes or self.schedule.removals):
            return True
        why = await _unless(self.draining, self.approval)
        if self.draining.is_set():
            self.schedule.left.is_some = self.schedule.left.is_by_drain = True
            return False
        if why is None:
            return True
        self.schedule.left.is_some = True
        await self.announcer.send(NotPublished(f"nothing was published: {why}", len(self._staged)))
        return False

    def _why_not(self, unseen: Collection[str]) -> str | None:
        """Return why nothing is published in this run; None if nothing speaks against it.

        ``unseen`` are the directories of the source that could not be listed.
        """
        unlisted = counted(len(unseen), "directory", "directories")
        reasons = [
            f"{counted(self._failed, 'path')} could not be sent" if self._failed else "",
            f"{counted(self._vanished, 'file')} vanished from the source" if self._vanished else "",
            f"{unlisted} of the source could not be listed" if unseen else "",
        ]
        return ", ".join(filter(None, reasons)) or None

    async def recover(self) -> bool:
        """Finish the release that an earlier run has begun, or take it back. Return whether it has ended."""
        found = await self.blocking(self.journal.release)
        if not found:
            return True
        done = {item.kept.temporary for item, target in found if target is not None}
        text = f"an earlier run ended while it published {counted(len(found), 'file')}: finishing that first"
        await self.announcer.send(Warned(text))
        self.schedule.left.planned += len(found) - len(done)
        result = await self._hand_over(Release([item for item, _ in found], True, done))
        if result is ReleaseResult.TAKEN_BACK:
            self.schedule.left.planned -= len(found) - len(done)  # they are planned again
        return result is not ReleaseResult.UNFINISHED

    async def _publish(self) -> bool:
        """Publish what is staged, and then let go what has waited for it. Return False if it is not published."""
        if self._staged:
            if self.trash is not None:
                await self.announcer.record(self.trash[0])
            result = await self._hand_over(Release(await self.blocking(self._items)))
            if result is ReleaseResult.HELD_BACK:
                self.note_drain()
            if result is not ReleaseResult.PUBLISHED:
                return False
            self._staged.clear()
        modes, self._modes = self._modes, []
        for mode in modes:
            await self.announcer.settle(self.schedule.add(mode))
        return True

    async def _hold_back(self, reason: str) -> None:
        """Publish nothing: the next run does. What is staged is kept on the target."""
        self.schedule.left.is_some = True
        if self._staged or self._modes:
            await self.announcer.send(NotPublished(f"nothing was published: {reason}", len(self._staged)))
        await self._leave()

    def note_drain(self) -> None:
        """Take note that a drain leaves what is staged to the next run. So this run is not complete."""
        if self._staged:
            self.schedule.left.is_some = self.schedule.left.is_by_drain = True

    async def _leave(self) -> None:
        """Leave to the next run what waits for a release."""
        modes, self._modes = self._modes, []
        await self.announcer.settle([self.schedule.leave_out(mode) for mode in modes])

    async def _hand_over(self, release: Release) -> ReleaseResult:
        release.maintenance = await self._maintenance({item.path for item in release.items})
        await self.publisher.send(release)
        await release.ended.wait()
        self.is_stuck = release.result is ReleaseResult.UNFINISHED
        if release.result is ReleaseResult.PUBLISHED:
            for item in release.items:
                self.announcer.note(Done(item))
        return release.result

    async def _maintenance(self, published: Collection[str]) -> str | None:
        """Return the path of the file that is there during a release; None where something else has that name."""
        path = self.rule.maintenance
        if path is None or (path not in published and await self.blocking(self.journal.record, path) is None):
            return path
        text = f"publish.maintenance: the site has {display(path)} itself, and it is left as it is; use another name"
        await self.announcer.send(Warned(text))
        return None

    def _items(self) -> list[Publish]:
        return [self._item(prepare, kept) for prepare, kept in self._staged.values()]

    def _item(self, prepare: Prepare, kept: Kept) -> Publish:
        record = self.journal.record(prepare.path) if prepare.replaces else None
        old = None if record is None else record.target
        # What the journal does not know of may be there as well: it could not be listed, or has come since.
        aside = aside_of(kept) if self.rule.keeps_old else None
        if self.trash is not None:
            aside = self.trash[1]()
        return Publish(kept, self.rule.ranks.of(prepare.path), aside, old)


async def _unless(draining: trio.Event, approval: Approval) -> str | None:
    """Return what ``approval`` returns; None if a drain is requested first."""
    why: str | None = None
    async with trio.open_nursery() as nursery:

        async def end_early() -> None:
            await draining.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(end_early)
        why = await approval()
        nursery.cancel_scope.cancel()
    return why
