"""Runs with transforms between trees in memory: what is sent again, and what the journal records."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.cli.output.progress import progress_text
from actorsync.endpoints.contract import Capabilities, ReadSession
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.endpoints.wrappers.transform import Transform, Transformed
from actorsync.journal import open_memory_journal
from actorsync.model.entry import Kind, Listing
from actorsync.model.event import Adopted, Confirmed, Forgotten, Intended
from actorsync.model.operation import Copy, Done, Failed
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults
from actorsync.transforms import gzip_stream
from tests.support.streams import BANG, COPY, LATER, TWICE, UPPER, Mapped, explode, mapping
from tests.support.world.memory_mirror import ONE, Mirror


@attrs.define(eq=False)
class Derived(EndpointWrapper[MemoryEndpoint]):
    """A source that lists a copy beside each text file, as a stage of a pipeline would."""

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        async with self.real.open_session() as session:
            yield _DerivedSession(session)


class _DerivedSession(ReadSessionWrapper):
    async def list_directory(self, directory: str) -> Listing:
        listing = await self._real.list_directory(directory)
        copies = [attrs.evolve(it, path=f"{it.path}.copy") for it in listing.entries if it.path.endswith(".txt")]
        return attrs.evolve(listing, entries=(*listing.entries, *copies))


def site(*, settled: bool = True) -> Mirror:
    made = Mirror(wall_ns=lambda: LATER) if settled else Mirror(wall_ns=lambda: 0)
    for number in range(6):
        made.source.write(f"d{number % 2}/{number}.txt", b"text %d" % number * 1000)
        made.source.write(f"d{number % 2}/{number}.dat", b"data %d" % number * 1000)
    return made


def sent(made: Mirror) -> set[str]:
    return {it.operation.path for it in made.seen(Done) if isinstance(it.operation, Copy)}


async def run(made: Mirror, *transforms: Transform, code: int = 0, source: Any = None, **changes: Any) -> set[str]:
    policy = attrs.evolve(ONE, transforms=transforms, **changes)
    report = await made.run(source=source, policy=policy)
    assert report.exit_code == code, report
    made.check_one_outcome_each()
    if not code:
        made.check_nothing_left()
    return sent(made)


def expected(made: Mirror, change: Callable[[bytes], bytes] = bytes.upper) -> dict[str, bytes]:
    return {path: change(data) if path.endswith(".txt") else data for path, data in made.source.files().items()}


TEXTS = {f"d{number % 2}/{number}.txt" for number in range(6)}


async def test_second_run_sends_only_changed_files(autojump_clock: MockClock) -> None:
    made = site()
    assert len(await run(made, TWICE)) == 12
    assert made.target.files() == expected(made, lambda data: data * 2)
    assert await run(made, TWICE) == set()
    made.source.write("d0/0.txt", b"new")
    made.source.write("d1/1.dat", b"new")
    assert await run(made, TWICE) == {"d0/0.txt", "d1/1.dat"}
    assert made.target.files() == expected(made, lambda data: data * 2)
    record = made.journal.record("d0/0.txt")
    assert record is not None
    assert record.source is not None
    assert (record.source.size, record.target.size) == (3, 6)


async def test_changed_transforms_send_affected_files_again(autojump_clock: MockClock) -> None:
    made = site()
    await run(made)
    assert await run(made, UPPER) == TEXTS
    assert made.target.files() == expected(made)
    other = Transform("not for these", ["*.html"], gzip_stream)
    assert await run(made, UPPER, other) == set(), "the added transform does not apply to these files"
    newer = attrs.evolve(UPPER, name="upper 2", wrap=mapping(bytes.upper, b"."))
    assert await run(made, newer) == TEXTS
    assert made.target.files() == expected(made, lambda data: data.upper() + b".")
    some = attrs.evolve(newer, applies=["/d0/*.txt"])
    assert await run(made, some) == {path for path in TEXTS if path.startswith("d1")}
    assert await run(made) == {path for path in TEXTS if path.startswith("d0")}
    assert made.target.files() == made.source.files()


async def test_changed_order_of_transforms_sends_files_again(autojump_clock: MockClock) -> None:
    made = site()
    await run(made, UPPER, BANG)
    assert await run(made, BANG, UPPER) == TEXTS


async def test_transformed_file_is_never_adopted(autojump_clock: MockClock) -> None:
    """Equal size and time prove nothing: the file may be the untransformed one."""
    made = site()
    await run(made)
    made.journal = open_memory_journal()
    assert await run(made, UPPER) == TEXTS
    assert {event.source.path for event in made.seen(Adopted) if event.source.kind is Kind.FILE} == {
        path for path in made.source.files() if path not in TEXTS
    }
    assert made.target.files() == expected(made)
    made.journal = open_memory_journal()
    assert await run(made, UPPER) == TEXTS, "the content on the target may be another"


async def test_path_with_an_origin_is_sent_and_removed_with_it(autojump_clock: MockClock) -> None:
    made = site()
    source: Any = Derived(made.source)
    assert len(await run(made, COPY, source=source)) == 18
    assert made.target.files()["d0/0.txt.copy"] == made.source.files()["d0/0.txt"] + b" (copy)"
    assert await run(made, COPY, source=source) == set()
    made.source.write("d0/0.txt", b"new")
    assert await run(made, COPY, source=source) == {"d0/0.txt", "d0/0.txt.copy"}
    assert made.target.files()["d0/0.txt.copy"] == b"new (copy)"
    assert await run(made, UPPER, COPY, source=source) == TEXTS | {f"{path}.copy" for path in TEXTS}
    assert made.target.files()["d0/0.txt.copy"] == b"NEW (copy)"
    made.source.delete("d0/0.txt")
    await run(made, UPPER, COPY, source=source)
    assert not {"d0/0.txt", "d0/0.txt.copy"} & made.target.files().keys()


async def test_transformed_source_equals_transforms_of_the_policy(autojump_clock: MockClock) -> None:
    made = site()
    assert len(await run(made, source=Transformed(made.source, [UPPER]))) == 12
    assert made.target.files() == expected(made)
    assert await run(made, UPPER) == set()


@pytest.mark.parametrize("remote", [False, True])
async def test_checksum_compares_the_transformed_content(remote: bool, autojump_clock: MockClock) -> None:
    """Recent files, whose times prove nothing, are compared by their transformed content."""
    made = site(settled=False)
    made.source.capabilities = Capabilities(is_remote=remote)
    assert len(await run(made, UPPER)) == 12
    made.wall_ns = lambda: LATER
    assert await run(made, UPPER) == set()
    assert len(made.seen(Confirmed)) == 12
    assert await run(made, UPPER) == set()
    assert made.seen(Confirmed) == []


async def test_transform_with_changing_output_sends_the_file_again(autojump_clock: MockClock) -> None:
    made, count = site(settled=False), itertools.count()
    encrypt = Transform("encrypt", ["*.txt"], lambda stream: Mapped(stream, tail=b"%d" % next(count)))
    await run(made, encrypt)
    made.wall_ns = lambda: LATER
    assert await run(made, encrypt) == TEXTS
    assert await run(made, encrypt) == set()


async def test_failing_wrap_fails_one_file_once(autojump_clock: MockClock) -> None:
    made, tried = site(), []

    def fail(stream: trio.abc.ReceiveStream) -> Mapped:
        tried.append(stream)
        return Mapped(stream, explode)

    await run(made, UPPER, Transform("minify", ["0.txt"], fail), code=1)
    (failed,) = made.seen(Failed)
    assert failed.operation.path == "d0/0.txt"
    assert failed.reason == "transform 'minify' failed: ValueError: of no use"
    assert len(tried) == 1, "a second attempt would fail the same way"
    assert made.target.files() == {path: data for path, data in expected(made).items() if path != "d0/0.txt"}
    assert await run(made, UPPER) == {"d0/0.txt"}


async def test_failing_applies_fails_one_file(autojump_clock: MockClock) -> None:
    made = site()

    def applies(path: str) -> bool:
        return path.endswith(".txt") and (path != "d0/0.txt" or explode())

    await run(made, attrs.evolve(UPPER, applies=applies), code=1)
    assert [(it.operation.path, it.reason) for it in made.seen(Failed)] == [
        ("d0/0.txt", "transform 'upper' failed: ValueError: of no use")
    ]
    assert await run(made, UPPER) == {"d0/0.txt"}


@pytest.mark.parametrize(("verb", "most"), [("drain", 35), ("cancel", 5), ("now", 0)])
async def test_hanging_transform_is_stopped(verb: str, most: float, autojump_clock: MockClock) -> None:
    class Hanging(Mapped):
        async def receive_some(self, max_bytes: int | None = None) -> Any:
            await trio.sleep_forever()

    made = site()
    made.shutdown = Shutdown(drain_seconds=30, cancel_seconds=5)

    async def stop() -> None:
        await trio.sleep(100)
        getattr(made.shutdown, verb)()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        policy = attrs.evolve(ONE, transforms=(Transform("hangs", ["0.txt"], Hanging),), connections=2)
        report = await made.run(policy=policy)
    assert report.seconds <= 100 + most + 2
    assert report.exit_code in {3, 130}
    made.shutdown = Shutdown()
    await run(made)
    assert made.target.files() == made.source.files()


@pytest.mark.parametrize("seed", range(20))
async def test_lost_connections_with_transforms_converge(seed: int, autojump_clock: MockClock) -> None:
    made, rng = site(), random.Random(seed)
    for number in range(20):
        made.source.write(f"e/{number}.txt", rng.randbytes(rng.choice((0, 10, 100_000))))
    faulty = Faulty(made.target, RandomFaults(rng, 0.03, kinds=("lose",)))
    policy = attrs.evolve(ONE, transforms=(UPPER,), connections=3)
    for _ in range(20):
        if (await made.run(faulty, policy=policy)).exit_code == 0:
            break
    await run(made, UPPER)
    assert made.target.files() == expected(made)


async def test_commit_of_a_killed_run_is_recognized_by_its_size(autojump_clock: MockClock) -> None:
    """The journal has the size of the transformed content, so the file is removed when its source is gone."""
    made = site()
    intents: list[Intended] = []
    policy = attrs.evolve(ONE, transforms=(TWICE,))
    await made.run(policy=policy, observe=lambda event: intents.append(event) if isinstance(event, Intended) else None)
    matching = [it for it in intents if it.source is not None and it.source.path == "d0/0.txt"]
    assert [it.source.size for it in matching if it.source is not None] == [2 * len(b"text 0" * 1000)], (
        "and no earlier intent"
    )
    made.journal.apply([Forgotten("d0/0.txt"), matching[-1]])
    made.source.delete("d0/0.txt")
    await run(made, TWICE)
    assert "d0/0.txt" not in made.target.files()


async def test_untransformed_file_of_equal_size_is_not_mistaken_for_a_commit(autojump_clock: MockClock) -> None:
    """The file on the target has the size and time of the source, but not the transformed content."""
    made = site()
    await run(made)
    record = made.journal.record("d0/0.txt")
    assert record is not None
    made.journal.apply([Forgotten("d0/0.txt"), Intended(("d0/.actorsync-1.tmp",))])
    assert await run(made, UPPER) == TEXTS
    assert made.target.files() == expected(made)


@pytest.mark.parametrize("factor", [0, 1, 3])
async def test_progress_never_exceeds_the_total(factor: int, autojump_clock: MockClock) -> None:
    made = site()
    made.source.write("big.txt", bytes(2_000_000))
    levels = made.statistics
    shown: list[str] = []

    async def watch() -> None:
        while True:
            await trio.sleep(0.01)
            assert levels.bytes_sent <= levels.bytes_expected
            shown.append(progress_text(levels, 1_000.0))

    transform = Transform("bigger", ["*.txt"], mapping(lambda piece: piece * factor, b"tail"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        slow = Faulty(made.target, lambda verb, when: 0.02 if verb == "read" else None)
        policy = attrs.evolve(ONE, transforms=(transform,), connections=2)
        report = await made.run(slow, policy=policy)
        nursery.cancel_scope.cancel()
    assert report.exit_code == 0
    assert levels.bytes_sent == levels.bytes_planned == report.copied_bytes
    assert len(shown) > 5


async def test_plan_runs_no_transform(autojump_clock: MockClock) -> None:
    made = site()
    report = await made.run(
        DryRun(made.target), policy=attrs.evolve(ONE, transforms=(Transform("t", ["*.txt"], explode),))
    )
    assert (report.exit_code, report.copied) == (0, 12)
    assert made.target.files() == {}
