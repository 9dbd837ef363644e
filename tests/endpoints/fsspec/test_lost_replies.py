"""Replies that are lost, repeated requests and failures of the server, at each request of each verb.

A server may have done the work of a request whose reply is lost. What answers the repeated request (404, 405, 412) is
then no refusal. Each scenario is run once to count its requests, and then once for each request and each fault.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import attrs
import fsspec
import httpx
import pytest
import trio
from fsspec.implementations.local import LocalFileSystem
from trio.testing import wait_all_tasks_blocked

from actorsync.endpoints.contract import Relocation, Session, Staged, Upload
from actorsync.endpoints.fsspec import endpoint as endpoint_module
from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint, open_fsspec
from actorsync.endpoints.fsspec.errors import Declined
from actorsync.endpoints.plugins import Location
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.planning.temporary_names import temporary_name
from actorsync.testing.conformance.contents import MemoryContent
from tests.endpoints.fsspec.stores import Flat, KeepsOld
from tests.support.servers.fake_dav import FakeDav

Fault = Literal["lost", "done and lost", "failed", "done and failed", "repeated"]
#: Each fault, and how many requests in a row have it. A look is repeated twice before the connection is lost.
FAULTS: Final[list[tuple[Fault, int]]] = [
    *(("lost", 1), ("lost", 3), ("done and lost", 1), ("done and lost", 3)),
    *(("failed", 1), ("done and failed", 2), ("repeated", 1), ("repeated", 3)),
]
Tree = dict[str, bytes | None]
_ValueT = TypeVar("_ValueT")
_tokens = itertools.count(1)


@attrs.define
class Plan:
    """Which of the calls of a scenario have a fault: ``times`` calls from number ``first`` on."""

    fault: Fault = "lost"
    first: int = 1_000_000
    times: int = 1
    calls: int = 0

    def apply(self, work: Callable[[], _ValueT], lose: Callable[[], Any], fail: Callable[[], _ValueT]) -> _ValueT:
        """Do the work of one call, with its fault. ``fail`` returns the answer of a server that failed, or raises."""
        self.calls += 1
        if not self.first <= self.calls < self.first + self.times:
            return work()
        if self.fault.startswith("done"):
            work()
        elif self.fault == "repeated":
            work()
            return work()
        if self.fault.endswith("lost"):
            lose()
        return fail()


@attrs.define
class Lane:
    """Repeats what the connection was lost over, and uploads again what was refused with ``retry``, as a lane does."""

    endpoint: FsspecEndpoint
    temporaries: dict[str, str] = attrs.Factory(dict)

    async def call(self, verb: Callable[[Session], Awaitable[_ValueT]]) -> _ValueT:
        for _ in range(6):
            try:
                async with self.endpoint.open_session() as session:
                    return await verb(session)
            except ConnectionLost:
                continue
        raise AssertionError("the connection was lost again and again")

    async def upload(self, path: str, data: bytes) -> None:
        for _ in range(3):
            temporary = ""

            async def stage(session: Session) -> Staged | OperationRefused:
                nonlocal temporary
                temporary = join(parent_of(path), temporary_name(name_of(path), f"{next(_tokens):016x}"))
                self.temporaries[temporary] = path
                return (await session.stage(Upload(path, temporary, MemoryContent(data))))[0]

            result: Staged | Entry | OperationRefused = await self.call(stage)
            if isinstance(result, Staged):
                result = await self.commit(result)
            if isinstance(result, Entry):
                return
            assert isinstance(result, OperationRefused)
            assert result.retry, result
        raise AssertionError(result)

    async def commit(self, staged: Staged) -> Entry | OperationRefused:
        (result,) = await self.call(lambda session: session.commit([staged]))
        return result

    async def entry(self, path: str) -> Entry:
        listing = await self.call(lambda session: session.list_directory(parent_of(path)))
        (found,) = (entry for entry in listing.entries if entry.path == path)
        return found

    async def make(self, *paths: str) -> None:
        results = await self.call(lambda session: session.make_directories(paths))
        assert all(isinstance(one, Entry) for one in results), results

    async def move(self, old: str, new: str) -> None:
        item = Relocation(await self.entry(old), new)
        results = await self.call(lambda session: session.move([item]))
        assert all(isinstance(one, Entry) for one in results), results

    async def remove(self, *paths: str) -> None:
        for path in paths:
            assert await self.call(partial(self._remove, await self.entry(path))) == [True]

    async def _remove(self, entry: Entry, session: Session) -> list[bool | OperationRefused]:
        return await session.remove([entry])

    async def sweep(self) -> None:
        results = await self.call(lambda session: session.sweep([*self.temporaries], self.temporaries))
        assert results == [True] * len(self.temporaries)


# Scenarios.


@attrs.frozen
class Scenario:
    before: Tree
    after: Tree
    work: Callable[[Lane], Awaitable[None]]


async def replaces_odd(lane: Lane) -> None:
    await lane.upload(" lead", b"new")


async def replaces(lane: Lane) -> None:
    await lane.upload("a", b"new")


async def makes(lane: Lane) -> None:
    await lane.make("", " d")


async def fills(lane: Lane) -> None:
    await lane.upload(" d/in", b"new")


async def moves(lane: Lane) -> None:
    await lane.move("old", "new")


async def removes(lane: Lane) -> None:
    await lane.remove("d/a", "d")


async def reads(lane: Lane) -> None:
    async def read(session: Session) -> bytes:
        async with session.open("a") as content:
            return await content.read(1 << 20)

    assert await lane.call(read) == b"old"


async def restores(lane: Lane) -> None:
    lane.temporaries[".actorsync-00000000000000ff.tmp"] = "a"


SCENARIOS: Final = {
    "new": Scenario({}, {" lead": b"new"}, replaces_odd),
    "replace": Scenario({"a": b"old"}, {"a": b"new"}, replaces),
    "replace odd": Scenario({" lead": b"old"}, {" lead": b"new"}, replaces_odd),
    "make": Scenario({}, {" d": None}, makes),
    "fill": Scenario({" d": None}, {" d": None, " d/in": b"new"}, fills),
    "move": Scenario({"old": b"x"}, {"new": b"x"}, moves),
    "remove": Scenario({"d": None, "d/a": b"x"}, {}, removes),
    "remove file": Scenario({"a": b"x", "b": b"y"}, {"b": b"y"}, lambda lane: lane.remove("a")),
    "read": Scenario({"a": b"old"}, {"a": b"old"}, reads),
    "restore": Scenario(
        {aside_of(".actorsync-00000000000000ff.tmp"): b"old", ".actorsync-00000000000000ff.tmp": b"new"},
        {"a": b"old"},
        restores,
    ),
}


async def run(scenario: Scenario, endpoint: FsspecEndpoint) -> None:
    lane = Lane(endpoint)
    await scenario.work(lane)
    await lane.sweep()


# WebDAV.


@pytest.mark.parametrize(
    ("name", "checks_new_name_first"),
    [*((name, False) for name in SCENARIOS), *((name, True) for name in ("new", "replace odd", "move", "restore"))],
)
async def test_webdav_verb_survives_a_fault_at_each_request(name: str, checks_new_name_first: bool) -> None:
    """Servers look at the two names of a rename in either order: 404 or 412 answers a repeated one."""
    scenario = SCENARIOS[name]

    async def tried(plan: Plan) -> Tree:
        server = FakeDav({"": None, **scenario.before}, checks_new_name_first=checks_new_name_first)

        def answer(request: httpx.Request) -> httpx.Response:
            request.read()
            return plan.apply(lambda: server.answer(request), lose, lambda: httpx.Response(500))

        await run(scenario, server.endpoint(transport=httpx.MockTransport(answer)))
        return server.tree

    def lose() -> None:
        raise httpx.ReadError("connection reset")

    await check(tried, {"": None, **scenario.after})


async def check(tried: Callable[[Plan], Awaitable[Tree]], expected: Tree) -> None:
    """Run a scenario without a fault, and with each fault at each of its calls."""
    plain = Plan()
    assert await tried(plain) == expected
    failed: list[str] = []
    for (fault, times), first in itertools.product(FAULTS, range(1, plain.calls + 1)):
        try:
            found = await tried(Plan(fault, first, times))
        except Exception as error:  # noqa: BLE001 - all are shown together
            failed.append(f"{fault} {times} at {first}: {error!r}")
        else:
            if found != expected:
                failed.append(f"{fault} {times} at {first}: {found}")
    assert not failed, "\n".join(failed)


async def test_repeated_commit_waits_for_the_thread_that_a_cancelled_one_has_left_behind() -> None:
    """A lost connection cancels the calls of all lanes. Their threads go on, and have renamed what is looked at."""
    server, began, release = FakeDav(), threading.Event(), threading.Event()

    def hold(request: httpx.Request) -> None:
        if request.headers.get("Depth") == "1" and any(method == "MOVE" for method, _ in server.requests):
            began.set()
            assert release.wait(10)

    server.override = hold
    async with server.endpoint().open_session() as session:
        staged, _ = await session.stage(Upload(" lead", " .actorsync-0000000000000001- lead", MemoryContent(b"new")))
        assert isinstance(staged, Staged)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.commit, [staged])
            await trio.to_thread.run_sync(began.wait)
            nursery.cancel_scope.cancel()
        results: list[Entry | OperationRefused] = []

        async def again() -> None:
            results.extend(await session.commit([staged]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(again)
            await wait_all_tasks_blocked()
            release.set()
    assert [type(result) for result in results] == [Entry], results
    assert server.tree == {"": None, " lead": b"new"}


# Stores through fsspec: an object store copies; others rename, and not all of them replace.


class Unsteady:
    """Makes kinds of stores whose calls have the faults of ``plan``. Calls of a store to itself have none."""

    plan = Plan()
    is_inside = False

    @classmethod
    def call(cls, work: Callable[[], Any]) -> Any:
        if cls.is_inside:
            return work()
        cls.is_inside = True
        try:
            return cls.plan.apply(work, cls.lose, cls.fail)
        finally:
            cls.is_inside = False

    @staticmethod
    def lose() -> None:
        raise ConnectionResetError("reset")

    @staticmethod
    def fail() -> None:
        raise Declined("the store failed", retry=True)

    @classmethod
    def kind(cls, kind: type[Any], **fields: object) -> type[Any]:
        def faulty(method: str) -> Any:
            plain = getattr(kind, method)
            return lambda self, *args, **kwargs: cls.call(lambda: plain(self, *args, **kwargs))

        verbs = ["info", "ls", "cat_file", "pipe_file", "cp_file", "rm_file", "mkdir", "rmdir"]
        verbs += ["mv"] if issubclass(kind, LocalFileSystem) else []
        return type(f"Unsteady{kind.__name__}", (kind,), {**{verb: faulty(verb) for verb in verbs}, **fields})


def files_below(root: Path) -> Tree:
    found = ((str(it.relative_to(root)), it) for it in root.rglob("*"))
    return {path: it.read_bytes() if it.is_file() else None for path, it in found}


@pytest.mark.parametrize("kind", [LocalFileSystem, KeepsOld])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_verb_of_a_store_that_renames_survives_a_fault_at_each_call(
    name: str, kind: type[Any], tmp_path: Path
) -> None:
    scenario, numbers = SCENARIOS[name], itertools.count()
    made = Unsteady.kind(kind)
    fsspec.register_implementation("unsteady", made, clobber=True)
    root_of = kind._strip_protocol

    made._strip_protocol = classmethod(lambda _, path: root_of(str(path).removeprefix("unsteady://")))

    async def tried(plan: Plan) -> Tree:
        root = tmp_path / str(next(numbers))
        root.mkdir()
        for path, data in scenario.before.items():
            if data is None:
                (root / path).mkdir()
            else:
                (root / path).write_bytes(data)
        Unsteady.plan = plan
        await run(scenario, open_fsspec(Location(scheme="fsspec+unsteady", path=str(root).lstrip("/"))))
        return files_below(root)

    await check(tried, scenario.after)


@pytest.mark.parametrize("name", ["new", "replace", "replace odd", "move", "remove file", "read"])
async def test_verb_of_an_object_store_survives_a_fault_at_each_call(name: str) -> None:
    scenario = SCENARIOS[name]

    async def tried(plan: Plan) -> Tree:
        store: dict[str, Any] = {}
        made = Unsteady.kind(Flat, store=store, pseudo_dirs=[""])
        Unsteady.plan = Plan()
        filled = made(skip_instance_cache=True)
        for path, data in scenario.before.items():
            filled.pipe_file(f"/bucket/site/{path}", data)
        filled.pipe_file("/bucket/other", b"")
        Unsteady.plan = plan
        location = Location(scheme="flat", host="bucket", path="site")
        arrangement = endpoint_module.Plan(
            lambda **_: made(skip_instance_cache=True), "bucket/site", {}, {}, is_flat=True
        )
        await run(scenario, FsspecEndpoint(location, arrangement, "flat"))
        return {path.removeprefix("/bucket/site/"): file.getvalue() for path, file in store.items() if "site" in path}

    await check(tried, scenario.after)
