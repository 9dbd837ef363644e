"""A site of twenty files that is published in one burst, between trees in memory, and what may become of it."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import attrs

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.releases import Publication, Published, publish, put_back
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry
from actorsync.planning.publishing.rules import PublishRule
from actorsync.planning.temporary_names import is_own
from tests.support.world.memory_mirror import ONE, Mirror

__all__ = ["BURST", "NAMES", "Stubborn", "Telling", "a_site", "restart", "site_of", "write_new"]

BURST = attrs.evolve(ONE, connections=2, publish=PublishRule(is_burst=True))

#: Files of all ranks, in two directories. The last three are new in the second version.
NAMES = (
    *(f"assets/{number}.css" for number in range(6)),
    *(f"assets/{number}.bin" for number in range(4)),
    *(f"{number}.html" for number in range(5)),
    "index.html",
    "sw.js",
    "new/late.css",
    "new/late.html",
    "new.html",
)


async def a_site(target: MemoryEndpoint | None = None) -> Mirror:
    """Return two trees with the first version on both sides, and the second version in the source."""
    mirror = Mirror() if target is None else Mirror(target=target)
    for name in (*NAMES[:-3], "stale.css", "old/stale.html"):
        mirror.source.write(name, b"old " + name.encode())
    assert (await mirror.run(policy=ONE)).exit_code == 0
    write_new(mirror)
    return mirror


def write_new(mirror: Mirror, version: bytes = b"the new ") -> None:
    """Write another version of all files into the source, and remove two files of the first."""
    for name in NAMES:
        mirror.source.write(name, version + name.encode())
    if mirror.source.find("old") is not None:
        mirror.source.delete("old")
        mirror.source.delete("stale.css")


def site_of(target: MemoryEndpoint) -> dict[str, bytes]:
    """Return what a visitor may see: everything but files under names of our own."""
    return {path: data for path, data in target.files().items() if not is_own(path)}


def restart(mirror: Mirror) -> Mirror:
    """Return the trees and the journal as they are at this moment: all that is left when the process is killed now."""
    target, source = copy.deepcopy(mirror.target), copy.deepcopy(mirror.source)
    return attrs.evolve(
        mirror,
        source=source,
        target=target,
        journal=mirror.journal.copy_to_memory(),
        shutdown=type(mirror.shutdown)(),
        statistics=type(mirror.statistics)(),
        events=[],
        tokens=copy.copy(mirror.tokens),
    )


@attrs.define(eq=False)
class Stubborn(EndpointWrapper[Endpoint]):
    """A target that refuses to publish some paths, and to put some back. ``begins`` is called before each such verb."""

    refused: Collection[str] = ()
    stuck: Collection[str] = ()
    begins: Callable[[str, str], None] = lambda verb, path: None

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _StubbornSession(session, self)


class _StubbornSession(SessionWrapper):
    def __init__(self, real: Session, endpoint: Stubborn) -> None:
        super().__init__(real)
        self._endpoint = endpoint

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        results: list[Published | OperationRefused] = []
        for item in items:
            self._endpoint.begins("publish", item.staged.path)
            if item.staged.path in self._endpoint.refused:
                results.append(OperationRefused("550 no"))
            else:
                results += await publish(self._real, [item])
        return results

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        results: list[Entry | OperationRefused | None] = []
        for item in items:
            self._endpoint.begins("put_back", item.staged.path)
            if item.staged.path in self._endpoint.stuck:
                results.append(OperationRefused("550 not that either"))
            else:
                results += await put_back(self._real, [item])
        return results


@attrs.define(eq=False)
class Telling(EndpointWrapper[Endpoint]):
    """A target that tells how much room it has, or does not tell."""

    free: int | None = None

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _TellingSession(session, self.free)


class _TellingSession(SessionWrapper):
    def __init__(self, real: Session, free: int | None) -> None:
        super().__init__(real)
        self._free = free

    async def free_space(self) -> int | None:
        return self._free
