"""FTP servers that take different spellings for one name, and have few commands to show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mirror import mirror
from tests.support.scenarios import write
from tests.support.servers.evil import Answer, evil_server
from tests.support.servers.ftp import endpoint_for

FEW: dict[str, tuple[str, ...]] = {
    "SIZE": ("SIZE",),
    "SIZE and MLST": ("SIZE", "MLST", "MLSD", "MDTM", "FEAT"),
    "MLST": ("MLST", "MLSD", "MDTM", "FEAT"),
}
GREETINGS = {"known": b"220 pyftpdlib\r\n", "unknown": b"220 hello\r\n"}


def without(missing: str) -> dict[str, Answer]:
    return dict.fromkeys(FEW[missing], b"502 no")


@pytest.mark.parametrize("greeting", GREETINGS)
@pytest.mark.parametrize("missing", FEW)
async def test_second_spelling_never_replaces_the_first_where_commands_are_missing(
    missing: str, greeting: str, tmp_path: Path
) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    write(source / "a.txt", b"one")
    async with evil_server(without(missing), folds=True, greeting=GREETINGS[greeting]) as server:
        assert (await mirror(source, endpoint_for(server), journal)).report.exit_code == 0
        write(source / "A.txt", b"another")
        for _ in range(2):
            run = await mirror(source, endpoint_for(server), journal)
            assert (run.report.exit_code, list(run.failures)) == (1, ["A.txt"])
    assert server.files == {"/a.txt": b"one"}


@pytest.mark.parametrize("greeting", GREETINGS)
@pytest.mark.parametrize("missing", FEW)
async def test_two_new_spellings_are_one_file_and_one_failure_where_commands_are_missing(
    missing: str, greeting: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    write(source / "a.txt", b"one")
    write(source / "A.txt", b"another")
    async with evil_server(without(missing), folds=True, greeting=GREETINGS[greeting]) as server:
        run = await mirror(source, endpoint_for(server), None, connections=2)
    assert (run.report.exit_code, len(run.failures)) == (1, 1)
    assert [*server.files.items()] in ([("/a.txt", b"one")], [("/A.txt", b"another")])


@pytest.mark.parametrize("greeting", GREETINGS)
@pytest.mark.parametrize("missing", FEW)
async def test_name_that_changes_its_spelling_is_renamed_where_commands_are_missing(
    missing: str, greeting: str, tmp_path: Path
) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    write(source / "a.txt", b"one")
    async with evil_server(without(missing), folds=True, greeting=GREETINGS[greeting]) as server:
        assert (await mirror(source, endpoint_for(server), journal)).report.exit_code == 0
        (source / "a.txt").rename(source / "A.txt")
        moved = 0
        for _ in range(3):
            run = await mirror(source, endpoint_for(server), journal, settled=True)
            moved += run.report.moved
        assert (run.report.exit_code, moved) == (0, 1)
    assert server.files == {"/A.txt": b"one"}


async def test_listing_that_is_cut_short_is_no_proof_that_a_name_is_free(tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    write(source / "a.txt", b"one")
    async with evil_server(folds=True) as server:
        assert (await mirror(source, endpoint_for(server), journal)).report.exit_code == 0
        write(source / "A.txt", b"another")
        server.listing = b"type=file;size=1;modify=20240101000000; b\r\ntype=file;si"
        run = await mirror(source, endpoint_for(server), journal)
        assert (run.report.exit_code, list(run.failures)) == (1, ["A.txt"])
    assert server.files["/a.txt"] == b"one"
