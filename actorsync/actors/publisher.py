"""The publisher: gives many files their final names in one burst, rank after rank, or takes all of them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, TypeAlias

import trio

from actorsync.actors.messages import Fact, Registration, Release, ReleaseResult, Settlement, Unissued, holding
from actorsync.actors.pipeline import Hook
from actorsync.actors.stages import Gate
from actorsync.classes import define, frozen
from actorsync.errors import FatalError
from actorsync.model.event import Event, Forgotten, Intended, NotPublished, Released, ReleaseEnded
from actorsync.model.operation import Batch, Failed, Maintain, Publish, PutBack, Returned
from actorsync.model.text import counted, display
from actorsync.planning.publishing.trash import is_place

__all__ = ["Publisher"]

#: How many files share one batch, at most. A session sends 64 renames in a flight, but looks at all files of a batch
#: before the first of them and after the last: so a connection gets its whole share of a rank at once, if it can.
_SHARE: Final = 1_024
#: How often a part of a release is tried before the target counts as having refused it.
_TRIES: Final = 3
#: Seconds before a refused part is tried again. Meanwhile visitors see a part of the release.
_PAUSE: Final = 0.25

_Part: TypeAlias = Maintain | Publish | PutBack


@frozen(eq=False)
class Publisher:
    """An actor: publishes the releases that the planner sends.

    A release has a *commit point*: the journal has all of it, and from then on it is published, whatever happens to the
    run. What the target refuses makes the publisher take everything back, in reverse order, as long as the old files
    are kept. If the run ends in between, the next run finds the release in the journal and sends it here again.

    ``gate`` is passed before the commit point. ``check`` is awaited after the last rank: if it raises, the release is
    taken back. ``connected`` returns how many connections are open.
    """

    gate: Gate
    draining: trio.Event
    connected: Callable[[], int]
    check: Hook | None = None

    async def run(
        self,
        releases: trio.MemoryReceiveChannel[Release],
        outcomes: trio.MemoryReceiveChannel[Settlement],
        operations: trio.MemorySendChannel[Batch],
        facts: trio.MemorySendChannel[Fact],
    ) -> None:
        """Publish one release after the other, until the planner ends. Then the connections get no more operations."""
        with holding(releases, outcomes, operations, facts):
            parts = _Parts(outcomes, operations, self.connected)
            async for release in releases:
                try:
                    release.result = await self._carry_out(release, parts, facts)
                    await parts.maintain(release, begins=False)
                except trio.EndOfChannel:  # the recorder has failed, and reports why: nothing more can be known
                    release.result = ReleaseResult.UNFINISHED
                finally:
                    release.ended.set()

    async def _carry_out(self, release: Release, parts: _Parts, facts: trio.MemorySendChannel[Fact]) -> ReleaseResult:
        """Carry out one release. Raises `FatalError` if it can neither be finished nor taken back."""
        if not release.is_recovered:
            await self.gate.passed()
            if self.draining.is_set():
                return ReleaseResult.HELD_BACK
        if (why := await parts.maintain(release, begins=True)) is not None and not release.is_recovered:
            await facts.send(NotPublished(f"nothing was published: {why}", len(release.items)))
            return ReleaseResult.HELD_BACK
        if not release.is_recovered:
            await _record(facts, Released(tuple(release.items)))
        # What replaces nothing, as far as is known, may replace what another program has put there meanwhile.
        is_proven = release.is_recovered
        is_kept = all(it.aside is not None or (is_proven and it.replaced is None) for it in release.items)
        refused: dict[str, str] = {}
        begun: list[Publish] = []
        for rank in _ranks(release.items):
            begun += rank
            refused |= await parts.carry_out([it for it in rank if it.kept.temporary not in release.published])
            if refused and is_kept:
                break
        for item in begun:
            if item.path in refused and not release.is_recovered:  # then the run plans it again
                await facts.send(Unissued(Failed(item, refused[item.path])))
        reason = _named(refused) if refused else await self._why_bad()
        if reason is None:
            await _record(facts, ReleaseEnded())
            return ReleaseResult.PUBLISHED
        if is_kept:
            await _take_back(release, begun, reason, parts, facts)
            return ReleaseResult.TAKEN_BACK
        await _record(facts, ReleaseEnded(refused=tuple(refused)))
        if not refused:
            await facts.send(NotPublished(f"{reason}; the old files were not kept, so the new ones stay", 0))
        return ReleaseResult.PUBLISHED

    async def _why_bad(self) -> str | None:
        """Return why a release that is complete must not stay; None if the check says nothing against it."""
        if self.check is None:
            return None
        try:
            await self.check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the check has not approved the release
            return f"the check failed: {display(str(error) or type(error).__name__)}"
        return None


@define(eq=False)
class _Parts:
    """The parts of a release on their way to the connections and back."""

    outcomes: trio.MemoryReceiveChannel[Settlement]
    operations: trio.MemorySendChannel[Batch]
    connected: Callable[[], int]

    async def maintain(self, release: Release, *, begins: bool) -> str | None:
        """Put the file that is there during a release, or remove it. Return why that is not done; None if it is.

        A file that could not be removed is a leftover like a temporary: the end of the run tries it again.
        """
        if release.maintenance is None:
            return None
        refused = await self.carry_out([Maintain(release.maintenance, begins)])
        return _named(refused) if refused else None

    async def carry_out(self, parts: Sequence[_Part]) -> dict[str, str]:
        """Carry out parts that need not wait for each other. Return the reasons of those that are refused, by path.

        A part that comes back because its connection was lost, or because the target refused it, is tried again.
        """
        tries: Counter[str] = Counter()
        refused: dict[str, str] = {}
        while parts:
            again: list[_Part] = []
            for returned in await self._once(parts):
                part = returned.operation
                assert isinstance(part, Maintain | Publish | PutBack)
                tries[part.path] += returned.tried
                if tries[part.path] < _TRIES:
                    again.append(part)
                else:
                    refused[part.path] = returned.reason
            if any(tries[part.path] for part in again):
                await trio.sleep(_PAUSE)
            parts = again
        return refused

    async def _once(self, parts: Sequence[_Part]) -> list[Returned]:
        """Send each part out once, spread over the open connections. Return the outcomes of those that came back."""
        size = min(_SHARE, -(-len(parts) // max(1, self.connected())))
        for start in range(0, len(parts), size):
            await self.operations.send(tuple(parts[start : start + size]))
        outcomes = [await self.outcomes.receive() for _ in parts]
        return [outcome for outcome in outcomes if isinstance(outcome, Returned)]


async def _take_back(
    release: Release, begun: Sequence[Publish], reason: str, parts: _Parts, facts: trio.MemorySendChannel[Fact]
) -> None:
    """Take back all that may be published of a release: the last rank first, and with it what was refused.

    If the target refuses that as well, the release stays open, and the next run begins with it. If that has no success
    either, the journal gives up what it knows of these files: the run sends them again.
    """
    stuck: dict[str, str] = {}
    for rank in _ranks(begun, is_reversed=True):
        stuck |= await parts.carry_out([PutBack(part) for part in rank])
    if stuck and not release.is_recovered:
        raise FatalError(
            f"a release could neither be finished ({reason}) nor taken back ({_named(stuck)}); "
            "let the account rename these files, and run again: that run finishes the release"
        )
    for item in begun:
        if item.path in stuck:
            await facts.send(Forgotten(item.path))
            if item.aside is not None and not is_place(item.aside):
                await facts.send(Intended((item.aside,)))
    await _record(facts, ReleaseEnded(reason))


def _ranks(items: Sequence[Publish], *, is_reversed: bool = False) -> Iterator[list[Publish]]:
    """Yield the items of each rank, the lowest rank first. The other way round, items and all, if ``is_reversed``."""
    ordered = sorted(items, key=lambda item: item.rank)
    if is_reversed:
        ordered.reverse()
    for _, rank in groupby(ordered, key=lambda item: item.rank):
        yield list(rank)


def _named(refused: Mapping[str, str]) -> str:
    """Return one line about what was refused: the first file, and how many more there are."""
    path, reason = next(iter(refused.items()))
    more = f", and {counted(len(refused) - 1, 'more file')}" if len(refused) > 1 else ""
    return f"{display(path)}: {display(reason)}{more}"


async def _record(facts: trio.MemorySendChannel[Fact], event: Event) -> None:
    """Send an event, and return once the journal has it."""
    registration = Registration(event, trio.Event())
    await facts.send(registration)
    await registration.durable.wait()
