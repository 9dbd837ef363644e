"""A directory of this machine as target of a pull: nothing is written outside it.

Neither hostile names of a server nor links that another program plants lead out of it.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import SessionWrapper
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, join, parent_of
from actorsync.model.operation import Side as TreeSide
from actorsync.planning.temporary_names import temporary_name
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.conformance.contents import MemoryContent
from tests.support.mirror import contents, mirror
from tests.support.servers.any_side import OLD, Side, put
from tests.support.servers.ftp import endpoint_for
from tests.support.sweeps import IS_COMPLETE
from tests.support.world.memory_mirror import Mirror

SECONDS = 10.0 if IS_COMPLETE else 2.0

#: Swaps directories for links to the outside and back until its standard input ends. After 100 times, prints a line.
FLIP = """
import os, select, sys
target, outside, *paths = sys.argv[1:]
flips = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for path in paths:
        path, aside = os.path.join(target, path), os.path.join(target, "aside")
        try:
            os.rename(path, aside)
            os.symlink(outside, path)
            os.unlink(path)
            os.rename(aside, path)
            flips += 1
            if flips == 100:
                print("enough", flush=True)
        except OSError:  # the mirror may have made the directory again meanwhile
            if os.path.isdir(aside) and not os.path.lexists(path):
                os.rename(aside, path)
            elif os.path.isdir(aside):
                os.rename(aside, os.path.join(target, f"carried away {os.urandom(8).hex()}"))
"""


# Links that come and go.


async def test_pull_while_directories_become_links_writes_nothing_outside(
    embedded: EmbeddedFtpServer, tmp_path: Path
) -> None:
    """A process swaps two directories of the target for links to the outside and back, as fast as it can."""
    rng = random.Random(76)
    target, outside = tmp_path / "target", tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "precious").write_bytes(b"precious")
    source = Side(embedded.root)
    for number in range(10):
        put(source, f"d/{number}", rng.randbytes(500))
        put(source, f"d/sub{number % 2}/{number}", rng.randbytes(50_000))
    put(source, "d/precious", b"another")
    (target / "d/sub0").mkdir(parents=True)
    before = contents(outside)
    words = [sys.executable, "-c", FLIP, os.fspath(target), os.fspath(outside), "d", "d/sub0"]
    flipper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220 - it is quick
    assert flipper.stdout is not None
    runs, began = 0, time.monotonic()
    try:
        while time.monotonic() - began < SECONDS or runs < 3 or not select.select([flipper.stdout], [], [], 0)[0]:
            await mirror(endpoint_for(embedded), LocalEndpoint(target), tmp_path / "journal")
            runs += 1
            for number in range(10):
                put(source, f"d/{number}", rng.randbytes(rng.randrange(3_000)), time=OLD + runs)
    finally:
        await trio.to_thread.run_sync(flipper.communicate)
    assert contents(outside) == before
    for path in target.iterdir():
        if path.is_symlink():
            path.unlink()
    for _ in range(3):  # files in swapped directories are missing
        run = await mirror(endpoint_for(embedded), LocalEndpoint(target), None)
    assert run.report.exit_code == 0
    assert contents(target).items() >= contents(embedded.root).items()


# Names.

HOSTILE = ("../x", "..", ".", "", "a/../../x", "a/b", "/x", "x\0y", "/etc/x", "\udcff/..")


class Hostile(MemoryEndpoint):
    """A source that lists hostile names."""

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Any]:
        async with super().open_session() as session:
            yield _HostileSession(session)


class _HostileSession(SessionWrapper):
    async def list_directory(self, directory: str) -> Listing:
        if directory not in {"", "good"}:
            return Listing(directory)
        kinds = [(Kind.FILE, "f"), (Kind.DIRECTORY, "d")]
        bad = [
            Entry(join(directory, name) if name else f"{directory}/", kind, 1, 1)
            for kind, _ in kinds
            for name in HOSTILE
        ]
        good = [Entry(join(directory, name), Kind.FILE, 1, 1) for name in ("fine", "with\na newline", "-rf")]
        return Listing(directory, (*bad, *good, *([Entry("good", Kind.DIRECTORY)] if not directory else [])))

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[MemoryContent]:
        yield MemoryContent(b"!", entry=Entry(path, Kind.FILE, 1, 1))


@pytest.mark.parametrize("is_remote", [False, True])
async def test_hostile_names_in_a_listing_make_the_directory_a_problem(is_remote: bool, tmp_path: Path) -> None:
    target = tmp_path / "above" / "target"
    target.mkdir(parents=True)
    source = Hostile(is_remote=is_remote, lanes=4)
    for _ in range(2):
        run = await mirror(source, LocalEndpoint(target), tmp_path / "journal")
        assert run.report.exit_code == 1
        assert "a name that no file has" in run.failures[""]
        assert contents(tmp_path / "above").keys() == {"target"}


# File systems that treat two names as one.


def fold_case(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def fold_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@pytest.fixture
def folding(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], None]:
    """Make every system call with a name in an open directory fold that name."""

    def begin(fold: Callable[[str], str]) -> None:
        def stored(name: Any, directory: int | None) -> Any:
            if directory is None or not isinstance(name, str):
                return name
            return next((one for one in listdir(directory) if fold(one) == fold(name)), name)

        def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
            def inner(name: Any, *rest: Any, dir_fd: int | None = None, **more: Any) -> Any:
                return call(stored(name, dir_fd), *rest, dir_fd=dir_fd, **more)

            return inner

        def renamed(old: str, new: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
            found = stored(new, dst_dir_fd)
            rename(stored(old, src_dir_fd), found, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        listdir, rename = os.listdir, os.rename
        for name in ("stat", "open", "mkdir", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
        monkeypatch.setattr(os, "rename", renamed)

    return begin


async def send(endpoint: LocalEndpoint, path: str, data: bytes) -> Entry | OperationRefused:
    async with endpoint.open_session() as session:
        temporary = join(parent_of(path), temporary_name(path.rpartition("/")[2], f"{random.getrandbits(64):016x}"))
        staged, _ = await session.stage(Upload(path, temporary, MemoryContent(data)))
        assert isinstance(staged, Staged), staged
        (result,) = await session.commit([staged])
        if isinstance(result, OperationRefused):
            assert await session.sweep([temporary]) == [True]
        return result


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize(
    ("fold", "one", "other"),
    [
        (fold_case, "Readme", "README"),
        (fold_case, COMPOSED, DECOMPOSED),
        (fold_form, COMPOSED, DECOMPOSED),
        (fold_case, "d/Straße", "d/STRASSE"),
    ],
)
async def test_second_file_with_a_folded_name_is_refused(
    fold: Callable[[str], str], one: str, other: str, tmp_path: Path, folding: Callable[..., None]
) -> None:
    (tmp_path / "d").mkdir()
    folding(fold)
    endpoint = LocalEndpoint(tmp_path)
    assert isinstance(await send(endpoint, one, b"one"), Entry)
    refused = await send(endpoint, other, b"other")
    assert isinstance(refused, OperationRefused)
    assert "is in its place: the target takes both names for one" in str(refused)
    assert isinstance(await send(endpoint, one, b"one again"), Entry), "a file can replace itself"
    assert {name: digest for name, digest in contents(tmp_path).items() if digest} == {one: contents(tmp_path)[one]}
    assert (tmp_path / one).read_bytes() == b"one again"


async def test_form_folding_file_system_keeps_names_in_other_case(tmp_path: Path, folding: Callable[..., None]) -> None:
    folding(fold_form)
    endpoint = LocalEndpoint(tmp_path)
    for name in ("a", "A", COMPOSED, COMPOSED.upper()):
        assert isinstance(await send(endpoint, name, b"x"), Entry)
    assert len(contents(tmp_path)) == 4


async def test_second_directory_with_a_folded_name_is_refused(tmp_path: Path, folding: Callable[..., None]) -> None:
    folding(fold_case)
    async with LocalEndpoint(tmp_path).open_session() as session:
        made, refused, again = await session.make_directories(["Docs", "docs", "Docs"])
        assert isinstance(made, Entry)
        assert isinstance(again, Entry)
        assert isinstance(refused, OperationRefused)
        assert "'Docs' is in its place" in str(refused)


async def test_case_sensitive_file_system_is_probed_once(tmp_path: Path) -> None:
    endpoint = LocalEndpoint(tmp_path)
    for name in ("a", "A", COMPOSED, DECOMPOSED):
        assert isinstance(await send(endpoint, name, b"x"), Entry)
    assert (endpoint.tree.names.folds_case, endpoint.tree.names.folds_form) == (False, False)
    assert len(contents(tmp_path)) == 4


async def test_names_that_change_their_spelling_are_renamed(tmp_path: Path, folding: Callable[..., None]) -> None:
    folding(fold_case)
    mirror_of, target = Mirror(), LocalEndpoint(tmp_path / "target")
    for path in ("Img/1.jpg", "Img/deep/2.jpg", "README", COMPOSED):
        mirror_of.source.write(path, path.encode(), OLD * 10**9)
    assert (await mirror_of.run(target)).exit_code == 0
    mirror_of.source.rename("Img", "img")
    mirror_of.source.rename("README", "readme")
    mirror_of.source.rename(COMPOSED, DECOMPOSED)
    report = await mirror_of.run(target)
    assert (report.exit_code, report.removed, report.moved) == (0, 0, 3)
    assert {it for it, digest in contents(tmp_path / "target").items() if digest} == mirror_of.source.files().keys()
    mirror_of.source.write("IMG/3", b"three")
    report = await mirror_of.run(target)
    assert dict(report.failures)["IMG"].startswith("'img' is in its place")
    assert (tmp_path / "target/img/1.jpg").read_bytes() == b"Img/1.jpg"
    assert mirror_of.journal.traits(TreeSide.TARGET) == {"names": "case,form"}


async def test_entry_with_another_spelling_is_not_removed(tmp_path: Path, folding: Callable[..., None]) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img/f").write_bytes(b"f")
    folding(fold_case)
    endpoint = LocalEndpoint(tmp_path)
    endpoint.traits.learn("names", "case")
    async with endpoint.open_session() as session:
        gone = [Entry("Img/f", Kind.FILE, 1), Entry("img/F", Kind.FILE, 1), Entry("IMG", Kind.DIRECTORY)]
        assert await session.remove(gone) == [True] * 3
        assert contents(tmp_path).keys() == {"img", "img/f"}
        assert await session.remove([Entry("img/f", Kind.FILE, 1)]) == [True]


async def test_directory_that_a_crash_left_between_two_names_gets_its_name_back(tmp_path: Path) -> None:
    (tmp_path / ".actorsync+1.tmp").mkdir()
    (tmp_path / ".actorsync+1.tmp/f").write_bytes(b"f")
    async with LocalEndpoint(tmp_path).open_session() as session:
        assert await session.sweep([".actorsync-1.tmp"], {".actorsync-1.tmp": "img"}) == [True]
    assert contents(tmp_path).keys() == {"img", "img/f"}
