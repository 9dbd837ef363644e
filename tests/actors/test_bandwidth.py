"""The bandwidth limit: the bucket with a clock of the test, readers on virtual time, and limited runs."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actorsync.actors.shutdown import GOODBYE, Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.cli.commands import run_command
from actorsync.cli.output.progress import progress_text
from actorsync.endpoints.contract import Session, Source, Upload
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.bandwidth import Bandwidth, Bucket, Limited
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.journal import open_memory_journal
from actorsync.model.operation import Done
from actorsync.profile import load_profile
from actorsync.runs.options import policy_of
from tests.support.mirror import contents, mirror
from tests.support.servers.any_side import FTPES, LOCAL, Sides, put
from tests.support.world.memory_mirror import ONE, Mirror

KIB = 1024


# The bucket.


@given(
    rate=st.floats(1, 1e9), asked=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=20), late=st.floats(0, 0.01)
)
def test_bucket_passes_at_most_the_rate_and_two_pieces(rate: float, asked: list[int], late: float) -> None:
    bucket, now, passed = Bucket(rate), 0.0, 0
    for most in asked:
        while wait := bucket.wait(now):
            now += wait + late
        count = bucket.take(most)
        assert 0 < count <= most
        passed += count
        assert passed <= rate * now + 2 * bucket.piece + 1


def test_idle_bucket_saves_at_most_one_piece() -> None:
    bucket = Bucket(10_000)
    bucket.wait(0.0)
    assert bucket.wait(3_600.0) == 0, "an hour later"
    passed = 0
    while not bucket.wait(3_600.0):
        passed += bucket.take(1 << 20)
    assert passed <= 2 * bucket.piece


def test_returned_bytes_pass_later() -> None:
    bucket = Bucket(10_000)
    bucket.wait(0.0)
    assert [bucket.take(1_024), bucket.take(1_000)] == [1_024, 1_000]
    bucket.give_back(999)
    assert bucket.wait(0.0) == pytest.approx(0.0001)


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan])
def test_invalid_limit_is_refused(limit: float) -> None:
    bandwidth = Bandwidth(2.0)
    with pytest.raises(ValueError, match="use None for no limit"):
        bandwidth.limit = limit
    assert bandwidth.limit == 2.0


# Readers.


async def read_all(source: Source, path: str, note: Callable[[int], None] = lambda count: None) -> bytes:
    data = b""
    async with source.open_session() as session, session.open(path) as content:
        while piece := await content.read(1 << 20):
            data += piece
            note(len(piece))
    return data


def tree(**files: int) -> MemoryEndpoint:
    memory = MemoryEndpoint()
    for name, size in files.items():
        memory.write(name, random.Random(name).randbytes(size))
    return memory


async def test_files_share_the_limit_in_turns(autojump_clock: MockClock) -> None:
    source = Limited(tree(**{f"f{n}": 10 * KIB for n in range(64)}), Bandwidth(10 * KIB))
    began, longest, ends = trio.current_time(), 0.0, []

    async def read(path: str) -> None:
        nonlocal longest
        before = began

        def note(count: int) -> None:
            nonlocal before, longest
            longest, before = max(longest, trio.current_time() - before), trio.current_time()

        assert len(await read_all(source, path, note)) == 10 * KIB
        ends.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(read, f"f{number}")
    assert 63 < max(ends) < 66, "640 KiB"
    assert min(ends) > 50, "all progressed together"
    assert longest < 10, "no reader is silent for longer than a server waits"


@pytest.mark.parametrize(("limit", "seconds"), [(100 * KIB, 10), (10 * KIB, 100), (None, 0), (10**9, 0)])
async def test_changed_limit_takes_effect_for_waiting_readers(
    limit: float | None, seconds: float, autojump_clock: MockClock
) -> None:
    bandwidth = Bandwidth(KIB)  # at this rate the file takes twenty minutes
    source, began = Limited(tree(f=1000 * KIB + 10 * KIB), bandwidth), trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, source, "f")
        await trio.sleep(9.5)
        bandwidth.limit = limit
    assert trio.current_time() - began == pytest.approx(9.5 + seconds, abs=0.2 + seconds / 50)


async def test_reader_waits_only_after_a_limit_is_set(autojump_clock: MockClock) -> None:
    bandwidth, began = Bandwidth(), trio.current_time()
    source = Limited(tree(f=1 << 20), bandwidth)
    async with source.open_session() as session, session.open("f") as content:
        assert len(await content.read(1 << 19)) == 1 << 19
        assert trio.current_time() == began
        bandwidth.limit = 2 << 18
        while await content.read(1 << 19):
            pass
    assert trio.current_time() - began == pytest.approx(1, abs=0.1)


async def test_cancelled_reader_delays_no_other(autojump_clock: MockClock) -> None:
    bandwidth = Bandwidth(KIB)
    source, began = Limited(tree(a=100 * KIB, b=2 * KIB), bandwidth), trio.current_time()
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(2.5):
            nursery.start_soon(read_all, source, "b")
            await read_all(source, "a")
    assert trio.current_time() - began < 4


async def test_limited_content_has_its_descriptor_and_a_rate_limit_hook(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(1 << 20))
    source = Limited(LocalEndpoint(tmp_path), Bandwidth(10_000))
    async with source.open_session() as session, session.open("f") as content:
        assert content.fileno() is not None
        assert content.admit is not None
        assert await content.admit(1 << 20) == KIB


# Runs.


def test_limit_is_that_of_the_profile(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[source]\npath = "a"\n[target]\nurl = "b"\n')
    unlimited = policy_of(load_profile(tmp_path / "p.toml")).bandwidth
    assert unlimited is not None
    assert unlimited.limit is None  # until a user sets one
    limited = policy_of(load_profile(tmp_path / "p.toml", ["sync.bwlimit=512K"])).bandwidth
    assert limited is not None
    assert limited.limit == 512 * KIB


def test_command_line_overrides_the_limit_of_the_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("public", "mirror"):
        (tmp_path / name).mkdir()
    (tmp_path / "public/f").write_bytes(b"content")
    profile = tmp_path / "p.toml"
    profile.write_text('[source]\npath = "public"\n[target]\nurl = "mirror"\n[sync]\nbwlimit = "1K"\n')
    assert run_command(["run", str(profile), "--bwlimit", "fast"]) == 2
    assert "Invalid value for '--bwlimit': \"fast\" is not a rate" in capsys.readouterr().err
    assert run_command(["run", str(profile), "--bwlimit", "off"]) == 0
    assert contents(tmp_path / "mirror") == contents(tmp_path / "public")


async def test_limited_run_takes_the_time_of_its_bytes(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.source.write("big", bytes(200 * KIB))
    mirror.fill(100)
    bandwidth, shown = Bandwidth(10 * KIB), []

    def observe(event: object) -> None:
        if isinstance(event, Done):
            shown.append(progress_text(mirror.statistics, 10 * KIB))

    report = await mirror.run(policy=attrs.evolve(ONE, connections=3, bandwidth=bandwidth), observe=observe)
    assert (report.exit_code, report.copied) == (0, 101)
    assert report.seconds == pytest.approx(report.copied_bytes / (10 * KIB), rel=0.05)
    assert mirror.target.files() == mirror.source.files()
    assert "10.0 KiB/s (limit 10.0 KiB/s)" in shown[0]


async def test_limit_is_set_and_removed_during_a_run(autojump_clock: MockClock) -> None:
    mirror, bandwidth = Mirror(), Bandwidth()
    mirror.source.write("big", bytes(1 << 20))
    began = trio.current_time()

    async def change() -> None:
        bandwidth.limit = KIB
        await trio.sleep(20)
        bandwidth.limit = None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        report = await mirror.run(policy=attrs.evolve(ONE, bandwidth=bandwidth))
    assert report.exit_code == 0
    assert trio.current_time() - began == pytest.approx(20, abs=2)


@pytest.mark.parametrize(("verb", "most"), [("drain", 35 + GOODBYE), ("cancel", 5 + GOODBYE), ("now", GOODBYE)])
async def test_run_with_a_low_limit_stops_in_time(verb: str, most: float, autojump_clock: MockClock) -> None:
    mirror = Mirror(shutdown=Shutdown(drain_seconds=30, cancel_seconds=5), statistics=Statistics())
    for number in range(20):
        mirror.source.write(f"f{number}", bytes(1 << 20))

    async def stop() -> None:
        await trio.sleep(10)
        getattr(mirror.shutdown, verb)()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        report = await mirror.run(policy=attrs.evolve(ONE, connections=3, bandwidth=Bandwidth(KIB)))
    assert report.exit_code == (3 if verb == "drain" else 130)
    assert report.seconds <= 10 + most
    assert not mirror.target.files() or verb == "now", "no partial file is left"


@attrs.define(eq=False)
class Noting(EndpointWrapper[MemoryEndpoint]):
    """A target that records the types of the content it receives."""

    kinds: set[type] = attrs.Factory(set)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _NotingSession(session, self)


class _NotingSession(SessionWrapper):
    def __init__(self, real: Session, place: Noting) -> None:
        super().__init__(real)
        self._place = place

    async def stage(self, upload: Upload, **rest: Any) -> Any:
        self._place.kinds.add(type(upload.content))
        return await self._real.stage(upload, **rest)


async def test_content_is_wrapped_only_with_a_limit(autojump_clock: MockClock) -> None:
    mirror = Mirror(wall_ns=lambda: 3 * 10**18)
    mirror.fill(3)
    async with mirror.source.open_session() as session, session.open("d/0") as content:
        as_it_is = type(content)
    plain, limited = Noting(mirror.target), Noting(MemoryEndpoint())
    assert (await mirror.run(plain)).copied == 3
    mirror.journal = open_memory_journal()
    assert (await mirror.run(limited, policy=attrs.evolve(ONE, bandwidth=Bandwidth()))).copied == 3
    assert plain.kinds == {as_it_is}
    assert as_it_is not in limited.kinds


@attrs.define(eq=False)
class Thinned(trio.abc.ReceiveStream):
    """A stream of one byte of each piece."""

    stream: trio.abc.ReceiveStream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(1_000))[:1]

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_transformed_content_counts_with_its_sent_size(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.source.write("f", bytes(1 << 20))
    thinned = Transform("thinned", ["*"], Thinned)
    report = await mirror.run(policy=attrs.evolve(ONE, transforms=(thinned,), bandwidth=Bandwidth(KIB)))
    assert report.copied_bytes == -(-(1 << 20) // 1_000)
    assert report.seconds < 3, "a million bytes are read, and a thousand sent"


# Real servers.


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with Sides.made() as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (LOCAL, LOCAL),
        (LOCAL, "pyftpdlib"),
        (LOCAL, FTPES),
        (LOCAL, "asyncssh"),
        ("pyftpdlib", LOCAL),
        ("asyncssh", "pyftpdlib"),
    ],
)
async def test_limited_run_to_a_real_server_arrives_at_the_rate(sides: Sides, kind: str, other: str) -> None:
    source, target = sides.side(kind), sides.side(other)
    rng = random.Random(kind + other)
    for number, size in enumerate([0, 1, 700, 3_000, 100_000, 40_000]):
        put(source, f"d{number % 2}/{number}", rng.randbytes(size))
    source.adopt()
    bandwidth = Bandwidth(400_000)
    run = await mirror(source.endpoint(), target.endpoint(), None, bandwidth=bandwidth, settled=True)
    assert (run.report.exit_code, run.report.copied) == (0, 6), run.report
    assert contents(target.root) == contents(source.root)
    assert run.report.seconds > 0.2, "143 kB at 400 kB/s"


@pytest.mark.full
@pytest.mark.parametrize("other", ["pyftpdlib", "asyncssh"])
async def test_low_limit_does_not_look_like_a_lost_connection(sides: Sides, other: str) -> None:
    """Neither this side, whose timeout is shorter than a file takes, nor the server gives the connection up."""
    source, target = sides.side(LOCAL), sides.side(other)
    for number in range(3):
        put(source, f"{number}", random.Random(number).randbytes(15_000))
    place = target.endpoint(stall_seconds=2.0)
    run = await mirror(source.endpoint(), place, None, bandwidth=Bandwidth(15_000), settled=True, connections=3)
    assert (run.report.exit_code, run.report.reconnects) == (0, 0), run.report
    assert run.report.seconds > 2.5, "every upload took longer than the timeout"
    assert contents(target.root) == contents(source.root)
