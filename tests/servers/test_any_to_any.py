"""Mirrors between all kinds of endpoints: servers to a directory, and servers to servers."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest
import trio

from actorsync.model.event import Connected
from actorsync.testing.network.faults import Cut, CutData, Fault, How, Truncate, When
from actorsync.testing.network.proxy import CutWire, Direction, WireFault
from tests.support.mirror import Run, contents, mirror, settings_for, temporaries, times
from tests.support.observer import Observer, self_evident
from tests.support.servers.any_side import FTPES, LOCAL, OLD, Side, Sides, fill, put
from tests.support.sweeps import IS_COMPLETE
from tests.support.system.forks import Forks
from tests.support.tiers import amount

HOWS: tuple[How, ...] = ("fin", "rst", "rst", "silence") if IS_COMPLETE else ("fin", "rst")
WHENS: tuple[When, ...] = get_args(When)

PYFTPDLIB, PROFTPD, ASYNCSSH, OPENSSH = "pyftpdlib", "proftpd", "asyncssh", "openssh"
PULLS = [(name, LOCAL) for name in (PYFTPDLIB, PROFTPD, ASYNCSSH, OPENSSH)]
#: Each of the four servers is a source and a target, once with its own protocol and once with the other.
BETWEEN = [(PYFTPDLIB, PROFTPD), (PROFTPD, OPENSSH), (OPENSSH, ASYNCSSH), (ASYNCSSH, PYFTPDLIB)]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with Sides.made() as made:
        yield made


def equal(source: Side, target: Side) -> None:
    assert contents(target.root) == contents(source.root)
    assert times(target.root) == times(source.root)
    assert temporaries(target.root) == []


@pytest.mark.parametrize(
    ("kind", "other"), [*PULLS, ("vsftpd", LOCAL), (FTPES, LOCAL), *(BETWEEN if IS_COMPLETE else BETWEEN[::2])]
)
async def test_mirror_copies_then_does_nothing_then_follows_changes(
    sides: Sides, kind: str, other: str, tmp_path: Path
) -> None:
    source, target = sides.side(kind), sides.side(other)
    fill(source, random.Random(kind + other))

    async def run() -> Run:
        made = await mirror(source.endpoint(), target.endpoint(), tmp_path)
        assert (made.report.exit_code, made.failures) == (0, {}), made.report
        equal(source, target)
        return made

    first = await run()
    assert first.report.copied == 15
    nothing = await run()
    assert (nothing.report.copied, nothing.report.removed, nothing.report.directories_made) == (0, 0, 0)
    assert not nothing.of(Connected), "the journal knows the target, so no connection is needed"

    put(source, "d0/0", b"longer", time=OLD + 1)
    put(source, "d1/deep/er/1", b"2", time=OLD + 1)
    os.utime(source.root / "d2/2", (OLD, OLD + 2))  # touched
    put(source, "new/folder/file", b"new")
    shutil.rmtree(source.root / "gone")
    (source.root / "moved/away").rename(source.root / "moved there")
    (source.root / "empty").rmdir()
    put(source, "empty", b"a file now")
    source.adopt()
    changed = await run()
    assert changed.report.copied == 6
    assert changed.report.removed == 4, "gone/file, gone, moved/away, and empty"


@pytest.mark.parametrize("kind", ["vsftpd", PROFTPD, OPENSSH])
async def test_unreadable_directory_removes_nothing(sides: Sides, kind: str, tmp_path: Path) -> None:
    source, target = sides.side(kind), sides.side(LOCAL)
    for path in ("closed/a", "closed/deep/b", "open/c", "open/d"):
        put(source, path, path.encode() * 10)
    source.adopt()
    assert (await mirror(source.endpoint(), target.endpoint(), tmp_path)).report.copied == 4
    (source.root / "closed/a").unlink()
    (source.root / "open/c").unlink()
    (source.root / "closed").chmod(0)
    run = await mirror(source.endpoint(), target.endpoint(), tmp_path)
    (source.root / "closed").chmod(0o755)
    assert run.report.exit_code == 1
    assert run.failures.keys() == {"closed"}
    assert contents(target.root).keys() == {*contents(source.root), "closed/a"}


# Files that change while they are read.


def is_begun(target: Side) -> bool:
    """Return whether part of the file has arrived under its temporary name."""
    for path in (target.root / "d").glob(".actorsync-*"):
        with suppress(FileNotFoundError):
            return path.stat().st_size > 0
    return False


CHANGES = ("grows", "shrinks", "is written anew", "is replaced", "vanishes")


@pytest.mark.parametrize(
    ("kind", "change"),
    [*itertools.product((PYFTPDLIB, PROFTPD, ASYNCSSH, OPENSSH), CHANGES)]
    if IS_COMPLETE
    else [(PROFTPD, "is written anew"), (OPENSSH, "shrinks"), (PROFTPD, "vanishes")],
)
async def test_file_that_changes_during_the_read_arrives_as_one_version(
    sides: Sides, kind: str, change: str, tmp_path: Path
) -> None:
    """Only complete versions ever have the final name, and a file that vanishes is no failure."""
    rng = random.Random(f"{kind} {change}")
    source, target = sides.side(kind), sides.side(LOCAL)
    old, new = (self_evident("d/file", 2_500_000, rng) for _ in range(2))
    put(source, "d/file", old)
    put(source, "other", self_evident("other", 100, rng))
    source.adopt()
    file = source.root / "d/file"
    observer = Observer(target.root)

    async def change_it() -> None:
        while not is_begun(target):  # noqa: ASYNC110 - a disk, no event
            await trio.sleep(0.005)
        match change:
            case "grows":
                with file.open("ab") as more:
                    more.write(b"more")
            case "shrinks":
                os.truncate(file, 1_500_000)
            case "is written anew":
                file.write_bytes(new)
            case "is replaced":
                put(source, "d/new", new, time=OLD + 7)
                (source.root / "d/new").rename(file)
            case _:
                file.unlink()

    async with source.disturbed(rate=4_000_000) as reading, trio.open_nursery() as nursery:
        nursery.start_soon(change_it)
        with observer.watching(pause=0.01):
            run = await mirror(reading, target.endpoint(), tmp_path)
        nursery.cancel_scope.cancel()
    found = (target.root / "d/file").read_bytes() if (target.root / "d/file").exists() else None
    if change in {"grows", "shrinks"}:
        assert found in {None, file.read_bytes()}, "the changed content is a version, too"
        observer.wrong = [wrong for wrong in observer.wrong if found is None]
    else:
        assert found in {None, old, new}
    assert observer.wrong == []
    assert run.report.exit_code == 0 or found is None
    put(source, "d/file", new, time=OLD + 9)
    source.adopt()
    assert (await mirror(source.endpoint(), target.endpoint(), tmp_path)).report.exit_code == 0
    equal(source, target)


# Connections that are cut.

ROUNDS = 20 if IS_COMPLETE else 1


def ftp_fault(rng: random.Random, *, is_source: bool) -> Fault:
    """Return a random fault for an FTP server; a listing may be cut short without an error."""
    verbs = ("RETR", "MLSD", "EPSV", "MLST", "") if is_source else ("STOR", "RNTO", "SIZE", "MKD", "DELE", "")
    transfer = rng.choice(("RETR", "MLSD") if is_source else ("STOR",))
    how, at, after = rng.choice(HOWS), rng.randrange(1, 8), rng.choice((0, 1, 300, 30_000))
    match rng.randrange(3):
        case 0:
            return Cut(verb=rng.choice(verbs), at_line=at, how=how, when=rng.choice(WHENS))
        case 1:
            return CutData(verb=transfer, at_transfer=at, after=after, how=how)
        case _:
            return Truncate(verb=transfer, at_transfer=at, after=after)


def wire_faults(rng: random.Random) -> list[WireFault | None]:
    """Return random faults for the first connections to an SFTP server, after their logins."""
    directions: tuple[Direction, ...] = get_args(Direction)
    return [
        CutWire(after=rng.randrange(3_000, 150_000), direction=rng.choice(directions), how=rng.choice(HOWS))
        for _ in range(rng.randrange(1, 3))
    ]


@pytest.mark.parametrize(("kind", "other"), [*PULLS, *(BETWEEN if IS_COMPLETE else BETWEEN[1::2])])
async def test_mirror_completes_after_cuts_on_either_side(sides: Sides, kind: str, other: str, tmp_path: Path) -> None:
    """No incomplete file ever has a final name, no file of the source is removed, and the mirror completes."""
    rng = random.Random(f"cut {kind} {other}")
    source, target = sides.side(kind), sides.side(other)
    numbers = range(16)
    for number in numbers:
        write(source, f"d{number % 3}/{number}", rng, time=OLD)
    source.adopt()
    observer = Observer(target.root)
    with observer.watching(pause=0.02):
        assert (await mirror(source.endpoint(), target.endpoint(), tmp_path)).report.exit_code == 0
        for round_ in range(ROUNDS):
            for number in rng.sample(numbers, 8):
                write(source, f"d{number % 3}/{number}", rng, time=OLD + 2 * round_ + 1)
            gone = f"d0/{rng.choice((0, 3, 6, 9))}"
            (source.root / gone).unlink(missing_ok=True)
            source.adopt()
            for _ in range(4):
                faults = [
                    [ftp_fault(rng, is_source=is_source) for _ in range(rng.randrange(1, 4))]
                    for is_source in (True, False)
                ]
                async with (
                    source.disturbed(*faults[0], wire=wire_faults(rng)) as reading,
                    target.disturbed(*faults[1], wire=wire_faults(rng)) as writing,
                ):
                    run = await mirror(reading, writing, tmp_path)
                missing = contents(source.root).keys() - contents(target.root).keys()
                there = {path for path in contents(source.root) if (source.root / path).is_file()}
                assert not missing or run.report.exit_code, f"{missing} is missing: {faults}"
                assert {path for path in contents(target.root) if (target.root / path).is_file()} >= there - missing
                if run.report.exit_code == 0:
                    break
                # 4: the listing of the root was cut off before its first byte, so the source looked empty.
                assert run.report.exit_code in {1, 4, 5}, (run.report, faults)
            again = await mirror(source.endpoint(), target.endpoint(), tmp_path)
            assert (again.report.exit_code, again.failures) == (0, {})
            equal(source, target)
    assert observer.wrong == []
    assert observer.looks > ROUNDS


def write(side: Side, path: str, rng: random.Random, *, time: int) -> None:
    put(side, path, self_evident(path, rng.choice((200, 5_000, 60_000, 400_000)), rng), time=time)


# kill -9.

KILLS = amount("KILLS", short=2, full=6)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.scaled
@pytest.mark.parametrize(("kind", "other"), [(PROFTPD, LOCAL), (OPENSSH, PYFTPDLIB)])
def test_mirror_completes_after_kill_9_at_random_moments(
    sides: Sides, forks: Forks, kind: str, other: str, tmp_path: Path
) -> None:
    rng = random.Random(f"kill {kind} {other}")
    source, target = sides.side(kind), sides.side(other)
    assert source.server is not None
    numbers = range(40)
    for number in numbers:
        write(source, f"d{number % 3}/{number}", rng, time=OLD)
    source.adopt()
    settings = settings_for(
        (source.server.target, source.path),
        target.server.target if target.server else target.root,
        tmp_path / "journal",
        path=target.path if target.server else "",
    )
    observer = Observer(target.root)
    with observer.watching(pause=0.01):
        killed, window = 0, 0.3
        wanted = -(-KILLS // 2)
        for attempt in range(5 * wanted):
            is_killed = forks.run(settings, kill_after=rng.uniform(0, window)).is_killed
            window *= 1.05 if is_killed else 0.7
            killed += is_killed
            if killed == wanted:
                break
            for number in rng.sample(numbers, 6):
                write(source, f"d{number % 3}/{number}", rng, time=OLD + attempt + 1)
            source.adopt()
        last = forks.run(settings)
    assert last.report is not None
    assert (last.report["exit_code"], last.report["failures"]) == (0, [])
    assert observer.wrong == []
    equal(source, target)
    assert killed == wanted
