"""Runs with transforms between real servers and directories."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.wrappers.transform import Transform, Transformed
from actorsync.testing.network.faults import Cut, CutData, Fault, Truncate
from actorsync.testing.network.proxy import CutWire
from actorsync.transforms import gzip_stream
from tests.support.mirror import Run, contents, mirror, settings_for, temporaries
from tests.support.observer import Observer, is_whole, self_evident
from tests.support.servers.any_side import FTPES, LOCAL, OLD, Side, Sides, put
from tests.support.streams import Mapped
from tests.support.system.forks import Forks
from tests.support.tiers import amount


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with Sides.made() as made:
        yield made


GZIP = Transform("gzip", ["*.txt"], gzip_stream)


def unpacked(path: str, data: bytes) -> bytes:
    return gzip.decompress(data) if path.endswith(".txt") else data


def files(side: Side, change: Callable[[str, bytes], bytes] = lambda _, data: data) -> dict[str, bytes]:
    paths = [path for path, digest in contents(side.root).items() if digest is not None]
    return {path: change(path, (side.root / path).read_bytes()) for path in paths}


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (LOCAL, LOCAL),
        (LOCAL, "pyftpdlib"),
        (LOCAL, "vsftpd"),
        (LOCAL, FTPES),
        (LOCAL, "asyncssh"),
        pytest.param("pyftpdlib", "asyncssh", marks=pytest.mark.full),
        ("asyncssh", LOCAL),
    ],
)
async def test_gzip_transform_over_a_real_server_arrives_compressed(
    sides: Sides, kind: str, other: str, tmp_path: Path
) -> None:
    source, target = sides.side(kind), sides.side(other)
    rng = random.Random(kind + other)
    for number, size in enumerate([0, 1, 5_000, 65_536, 400_000, 1_500_000]):
        put(source, f"d{number % 2}/{number}.txt", rng.randbytes(size // 2).hex().encode())
        put(source, f"d{number % 2}/{number}.dat", rng.randbytes(size))
    source.adopt()

    async def run() -> int:
        made = await mirror(source.endpoint(), target.endpoint(), tmp_path, transforms=(GZIP,))
        assert (made.report.exit_code, made.failures) == (0, {}), made.report
        assert files(target, unpacked) == files(source)
        assert temporaries(target.root) == []
        return made.report.copied

    assert await run() == 12
    assert await run() == 0
    put(source, "d0/0.txt", b"new", time=OLD + 5)
    source.adopt()
    assert await run() == 1
    (source.root / "d0/0.txt").unlink()
    assert await run() == 0


@pytest.mark.scaled
@pytest.mark.parametrize(("kind", "other"), [(LOCAL, "pyftpdlib"), ("proftpd", "openssh")])
async def test_cut_connections_with_gzip_converge(sides: Sides, kind: str, other: str, tmp_path: Path) -> None:
    rng = random.Random(f"cut {kind} {other}")
    source, target = sides.side(kind), sides.side(other)
    for number in range(12):
        path = f"d{number % 3}/{number}.txt"
        put(source, path, self_evident(path, rng.choice((200, 60_000, 400_000)), rng))
    source.adopt()
    ftp: list[Fault] = [CutData(verb="STOR", at_transfer=2, after=300), Cut(verb="STOR", at_line=4, when="unanswered")]
    read_ftp: list[Fault] = [
        CutData(verb="RETR", at_transfer=3, after=500),
        Truncate(verb="RETR", at_transfer=5, after=100),
    ]
    wire = [CutWire(after=9_000, direction="up"), CutWire(after=30_000, direction="down")]
    observer = Observer(target.root, lambda path, data: is_whole(path, gzip.decompress(data)))
    with observer.watching(pause=0.02):
        async with source.disturbed(*read_ftp) as reading, target.disturbed(*ftp, wire=wire) as writing:
            disturbed: Run = await mirror(reading, writing, tmp_path, transforms=(GZIP,))
        last = await mirror(source.endpoint(), target.endpoint(), tmp_path, transforms=(GZIP,))
    assert disturbed.report.exit_code in {0, 1, 5}
    assert disturbed.report.reconnects or kind != LOCAL
    assert (last.report.exit_code, last.failures) == (0, {})
    assert files(target, unpacked) == files(source)
    assert observer.wrong == []


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


KILLS = amount("KILLS", short=1, full=3)


@pytest.mark.scaled
@pytest.mark.parametrize("name", ["pyftpdlib", "asyncssh"])
def test_kill_during_gzip_converges(sides: Sides, forks: Forks, name: str, tmp_path: Path) -> None:
    rng = random.Random(f"kill {name}")
    source, target = sides.side(LOCAL), sides.side(name)
    assert target.server is not None
    settings = settings_for(source.root, target.server.target, tmp_path, path=target.path)
    settings["gzip"] = ["*.txt"]
    observer = Observer(target.root, lambda path, data: is_whole(path, gzip.decompress(data)))
    killed, window = 0, 0.25
    with observer.watching():
        for round_ in range(8 * KILLS):
            for number in rng.sample(range(30), 10):
                path = f"d{number % 3}/{number}.txt"
                put(source, path, self_evident(path, rng.choice((200, 5_000, 300_000)), rng), time=OLD + round_)
            is_killed = forks.run(settings, kill_after=rng.uniform(0, window)).is_killed
            window *= 1.05 if is_killed else 0.7
            killed += is_killed
            if killed == KILLS:
                break
            (source.root / f"d0/{rng.randrange(10) * 3}.txt").unlink(missing_ok=True)
        last = forks.run(settings)
    observer.look()
    assert killed == KILLS
    assert last.report is not None
    assert (last.report["exit_code"], last.report["failures"]) == (0, [])
    assert observer.wrong == []
    assert files(target, unpacked) == files(source)
    assert temporaries(target.root) == []


async def test_big_transformed_file_is_produced_piece_by_piece(tmp_path: Path) -> None:
    """A piece is produced after the previous one was taken; neither memory nor disk holds the rest."""
    size, most, taken, given = 1 << 24, 0, 0, 0
    (tmp_path / "source").mkdir()
    (tmp_path / "source/big").touch()
    os.truncate(tmp_path / "source/big", size)

    @attrs.define(eq=False)
    class Metered(Mapped):
        async def receive_some(self, max_bytes: int | None = None) -> Any:
            nonlocal taken, most
            piece = await super().receive_some(max_bytes)
            taken += len(piece)
            most = max(most, taken - given)
            return piece

    source = Transformed(LocalEndpoint(tmp_path / "source"), [Transform("metered", ["*"], Metered)])
    async with source.open_session() as session, session.open("big") as content:
        while piece := await content.read(1 << 18):
            given += len(piece)
    assert given == size
    assert most <= 1 << 19
