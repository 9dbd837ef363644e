"""Servers that take different spellings for one name: whole runs, and what a session does with such names."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actorsync.endpoints.contract import Endpoint
from actorsync.errors import OperationRefused
from actorsync.journal import open_journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Intended
from actorsync.planning.name_folding import loosest_key
from actorsync.testing.conformance.place import put
from tests.support.mirror import contents, mirror, temporaries
from tests.support.servers.folding_servers import FoldingFolder, Renames, folding_ftp, folding_sftp
from tests.support.servers.storage import available as why_not
from tests.support.servers.storage import storage

KINDS = ("ftp", "sftp")
RENAMES: tuple[Renames, ...] = ("direct", "idle", "refused")


@contextmanager
def target(
    kind: str, folder: Path, renames: Renames = "direct", fold: Callable[[str], str] = loosest_key
) -> Iterator[Any]:
    root = folder / "root"
    root.mkdir()
    shared = FoldingFolder(root, renames, fold)
    with folding_ftp(shared) if kind == "ftp" else folding_sftp(shared, folder) as make:
        yield make


def write(source: Path, *paths: str) -> None:
    for path in paths:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
        os.utime(source / path, ns=(10**18 + 123, 10**18 + 123))


@pytest.mark.parametrize("renames", RENAMES)
@pytest.mark.parametrize("kind", KINDS)
async def test_names_that_change_their_spelling_are_renamed_and_nothing_is_removed(
    kind: str, renames: Renames, tmp_path: Path
) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    write(source, "Img/1.jpg", "Img/deep/2.jpg", "logo.PNG", "other")
    with target(kind, tmp_path, renames) as make:
        assert (await mirror(source, make(), journal, settled=True)).report.exit_code == 0
        (source / "Img").rename(source / "img")
        (source / "logo.PNG").rename(source / "logo.png")
        run = await mirror(source, make(), journal, settled=True)
        assert (run.report.exit_code, run.report.copied, run.report.removed, run.report.moved) == (0, 0, 0, 2)
        assert contents(tmp_path / "root") == contents(source)
        run = await mirror(source, make(), journal, settled=True)
        assert (run.report.exit_code, run.report.copied, run.report.moved) == (0, 0, 0)
        write(source, "img/3.jpg")
        (source / "logo.png").unlink()
        assert (await mirror(source, make(), journal, settled=True)).report.exit_code == 0
        assert contents(tmp_path / "root") == contents(source)


@pytest.mark.parametrize("kind", KINDS)
async def test_second_spelling_is_refused_with_its_contents(kind: str, tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    write(source, "Img/1", "readme")
    with target(kind, tmp_path) as make:
        assert (await mirror(source, make(), journal)).report.exit_code == 0
        before = contents(tmp_path / "root")
        write(source, "img/1", "img/deep/2", "README")
        for _ in range(2):
            run = await mirror(source, make(), journal)
            assert run.report.exit_code == 1
            assert run.failures["img"].startswith("'Img' is in its place")
            assert run.failures["README"].startswith("'readme' is in its place")
            assert contents(tmp_path / "root") == before
        shutil.rmtree(source / "Img")
        (source / "readme").unlink()
        for _ in range(2):
            run = await mirror(source, make(), journal, settled=True)
        assert run.report.exit_code == 0
        assert contents(tmp_path / "root") == contents(source)
        assert temporaries(tmp_path / "root") == []


@pytest.mark.parametrize("kind", KINDS)
async def test_directory_with_another_spelling_is_not_taken_for_the_one_to_be_made(kind: str, tmp_path: Path) -> None:
    with target(kind, tmp_path) as make:
        endpoint: Endpoint = make()
        async with endpoint.open_session() as session:
            made = await session.make_directories(["Img"])
            again = await session.make_directories(["img", "img/deep", "img/deep/er", "other", "Img"])
        assert [type(it) for it in (*made, *again)] == [Entry, *[OperationRefused] * 3, Entry, Entry]
        assert contents(tmp_path / "root") == {"Img": None, "other": None}


@pytest.mark.parametrize("kind", KINDS)
async def test_entry_with_another_spelling_is_not_removed(kind: str, tmp_path: Path) -> None:
    with target(kind, tmp_path) as make:
        endpoint: Endpoint = make()
        async with endpoint.open_session() as session:
            await session.make_directories(["img", "empty"])
            file = await put(session, "img/f", b"content")
            asked = [
                Entry("Img/f", Kind.FILE, file.size, file.mtime_ns),
                Entry("img/F", Kind.FILE, file.size, file.mtime_ns),
                Entry("Empty", Kind.DIRECTORY),
            ]
            assert await session.remove(asked) == [True] * 3
        assert sorted(contents(tmp_path / "root")) == ["empty", "img", "img/f"]
        async with make().open_session() as session:  # a later run that has uploaded nothing
            assert await session.remove([file]) == [True]


@pytest.mark.parametrize("kind", KINDS)
async def test_directory_that_a_crash_left_between_two_names_gets_its_name_back(kind: str, tmp_path: Path) -> None:
    source, journal, root = tmp_path / "source", tmp_path / "journal", tmp_path / "root"
    write(source, "Img/1.jpg", "readme")
    with target(kind, tmp_path, "idle") as make:
        assert (await mirror(source, make(), journal, settled=True)).report.exit_code == 0
        (source / "Img").rename(source / "img")
        (source / "readme").rename(source / "README")
        with open_journal(journal, "test") as opened:  # as a run leaves it that is killed between two renames
            for name, number in (("img", 1), ("README", 2)):
                opened.apply([Intended((f".actorsync-{number}.tmp",), Entry(name, Kind.OTHER))])
        (root / "Img").rename(root / ".actorsync+1.tmp")
        (root / "readme").rename(root / ".actorsync+2.tmp")
        run = await mirror(source, make(), journal, settled=True)
        assert (run.report.exit_code, run.report.removed, run.report.copied) == (0, 0, 0)
        assert contents(root) == contents(source)
        run = await mirror(source, make(), journal, settled=True)
        assert (run.report.exit_code, run.report.copied, run.report.moved) == (0, 0, 0)


def composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def ascii_lower(name: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
async def test_two_forms_of_a_name_are_two_files_only_where_the_server_has_two(
    kind: str, connections: int, tmp_path: Path
) -> None:
    """The server tells cases apart, and forms not. The first two files of a run already have one name there."""
    source, journal, root = tmp_path / "source", tmp_path / "journal", tmp_path / "root"
    write(source, "caf\u00e9", "cafe\u0301", "plain")
    with target(kind, tmp_path, fold=composed) as make:
        for _ in range(2):
            run = await mirror(source, make(), journal, connections=connections)
            assert run.report.exit_code == 1
            assert [why.endswith("or exclude it") for why in run.failures.values()] == [True]
            assert len(contents(root)) == 2
            (stored,) = [path for path in root.iterdir() if not path.name.isascii()]
            assert stored.read_text() == stored.name


@pytest.mark.parametrize("kind", KINDS)
async def test_folded_forms_are_remembered_by_a_run_that_sends_only_other_names(kind: str, tmp_path: Path) -> None:
    source, journal, root = tmp_path / "source", tmp_path / "journal", tmp_path / "root"
    write(source, "caf\u00e9")
    with target(kind, tmp_path, fold=composed) as make:
        assert (await mirror(source, make(), journal)).report.exit_code == 0
        write(source, "plain")
        assert (await mirror(source, make(), journal)).report.exit_code == 0
        write(source, "cafe\u0301")
        assert list((await mirror(source, make(), journal)).failures) == ["cafe\u0301"]
        assert (root / "caf\u00e9").read_text() == "caf\u00e9"


@pytest.mark.parametrize("kind", KINDS)
async def test_server_that_folds_only_ascii_letters_is_recognised_by_any_name(kind: str, tmp_path: Path) -> None:
    source, journal, root = tmp_path / "source", tmp_path / "journal", tmp_path / "root"
    write(source, "\u00e9", "a")
    with target(kind, tmp_path, fold=ascii_lower) as make:
        assert (await mirror(source, make(), journal)).report.exit_code == 0
        write(source, "A", "\u00c9")
        run = await mirror(source, make(), journal, connections=1)
        assert list(run.failures) == ["A"]
        assert contents(root) == {path: what for path, what in contents(source).items() if path != "A"}


@pytest.mark.full
@pytest.mark.skipif(why_not("samba") is not None, reason=f"samba: {why_not('samba')}")
async def test_samba_renames_names_that_change_their_spelling(tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    write(source, "Img/1.jpg", "readme")
    with storage("samba") as server:
        assert server.root is not None
        assert (await mirror(source, server.endpoint("site"), journal, settled=True)).report.exit_code == 0
        (source / "Img").rename(source / "img")
        (source / "readme").rename(source / "README")
        run = await mirror(source, server.endpoint("site"), journal, settled=True)
        assert (run.report.exit_code, run.report.copied, run.report.removed, run.report.moved) == (0, 0, 0, 2)
        there = contents(server.root / "site")
        assert there == contents(source)
        write(source, "IMG/2")
        run = await mirror(source, server.endpoint("site"), journal, settled=True)
        assert run.failures["IMG"].startswith("'img' is in its place")
        assert contents(server.root / "site") == there
