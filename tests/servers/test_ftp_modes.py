"""Permissions over FTP: set with SITE CHMOD where the profile asks for it, and taken from listings on a pull."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Warned
from actorsync.planning.modes import KEEP, SOURCE, Modes
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.conformance.contents import MemoryContent
from tests.support import FtpTarget
from tests.support.mirror import Run, mirror
from tests.support.servers.evil import evil_server
from tests.support.servers.ftp import endpoint_for, fresh_folder

FIXED = Modes("fixed", 0o640, 0o751)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "d").mkdir(parents=True)
    (folder / "d").chmod(0o700)
    for name, mode in (("page", 0o604), ("run.sh", 0o755)):
        (folder / "d" / name).write_text(name)
        (folder / "d" / name).chmod(mode)
    return folder


def modes_in(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o7777 for path in sorted(folder.rglob("*"))}


def warnings_of(run: Run) -> list[str]:
    return [it.text for it in run.of(Warned) if "permissions" in it.text]


async def test_modes_are_set_where_the_profile_asks_for_it(
    shared_ftp_server: FtpTarget, source: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = fresh_folder(shared_ftp_server, "modes")

    async def once(**policies: Any) -> Run:
        run = await mirror(source, endpoint_for(shared_ftp_server, "modes"), tmp_path / "journal", **policies)
        assert (run.report.exit_code, warnings_of(run)) == (0, []), run.report
        return run

    await once()
    default = modes_in(root)
    assert default["d/page"] == default["d/run.sh"], "the modes of the server"
    (source / "d" / "run.sh").chmod(0o711)
    assert (await once()).report.copied == 0
    assert modes_in(root) == default, "a chmod is no upload where modes are left alone"
    assert (await once(modes=FIXED)).report.modes_set == 3
    assert modes_in(root) == {"d": 0o751, "d/page": 0o640, "d/run.sh": 0o640}
    (source / "d" / "run.sh").write_text("longer than before")
    assert (await once(modes=FIXED)).report.copied == 1
    assert modes_in(root)["d/run.sh"] == 0o640
    assert (await once(modes=SOURCE)).report.modes_set == 3
    assert modes_in(root) == {"d": 0o700, "d/page": 0o604, "d/run.sh": 0o711}
    (source / "d" / "page").chmod(0o600)
    run = await once(modes=SOURCE)
    assert (run.report.modes_set, run.report.copied) == (1, 0)
    assert modes_in(root)["d/page"] == 0o600


async def test_pull_keeps_the_modes_of_the_server(shared_ftp_server: FtpTarget, source: Path, tmp_path: Path) -> None:
    """A file that only its owner may read stays one: the listing shows it, with or without MLSD."""
    root = fresh_folder(shared_ftp_server, "pulled")
    (root / "d").mkdir()
    for name, mode in (("secret", 0o600), ("page", 0o644), ("run.sh", 0o755)):
        (root / "d" / name).write_text(name)
        (root / "d" / name).chmod(mode)
    for path in (root / "d", *(root / "d").iterdir()):
        os.chown(path, root.stat().st_uid, root.stat().st_gid)
    (tmp_path / "target").mkdir()

    async def pull() -> Run:
        target = LocalEndpoint(tmp_path / "target")
        run = await mirror(endpoint_for(shared_ftp_server, "pulled"), target, tmp_path / "journal")
        assert run.report.exit_code == 0, run.report
        return run

    await pull()
    expected = {"d": 0o755, "d/page": 0o644, "d/run.sh": 0o755, "d/secret": 0o600}
    assert modes_in(tmp_path / "target") == expected
    (root / "d" / "page").chmod(0o600)
    run = await pull()
    assert (run.report.copied, run.report.modes_set) == (0, 1)
    assert modes_in(tmp_path / "target") == expected | {"d/page": 0o600}


async def test_replaced_file_hands_its_mode_on(embedded: EmbeddedFtpServer, source: Path, tmp_path: Path) -> None:
    server = FtpTarget("pyftpdlib", embedded.host, embedded.port, embedded.user, embedded.password, embedded.root)
    await mirror(source, endpoint_for(server), tmp_path / "journal", modes=KEEP)
    assert modes_in(embedded.root)["d/page"] == 0o604, "a new file has the mode of its source"
    (embedded.root / "d" / "page").chmod(0o620)
    (source / "d" / "page").write_text("longer than before")
    run = await mirror(source, endpoint_for(server), tmp_path / "journal", modes=KEEP)
    assert (run.report.exit_code, run.report.copied, warnings_of(run)) == (0, 1, [])
    assert modes_in(embedded.root)["d/page"] == 0o620


async def test_mode_shares_the_flight_behind_an_upload() -> None:
    """No round trip more than without a mode, and nothing at all where no mode is asked for."""
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        for name, mode in (("a", None), ("b", 0o640)):
            begun = len(server.commands)
            staged, _ = await session.stage(Upload(name, f".{name}.tmp", MemoryContent(b"content"), mode=mode))
            assert isinstance(staged, Staged)
            assert [line for line in server.commands[begun:] if line.startswith("SITE")] == (
                [] if mode is None else ["SITE CHMOD 0640 /.b.tmp"]
            )


@pytest.mark.parametrize("reply", [b"500 SITE CHMOD not understood", b"550 Permission denied.", b"202 Superfluous"])
async def test_server_that_refuses_modes_is_one_warning(reply: bytes, source: Path, tmp_path: Path) -> None:
    async with evil_server({"SITE": reply}) as server:
        run = await mirror(source, endpoint_for(server), tmp_path / "journal", modes=FIXED)
        assert run.report.exit_code == 0
        (warning,) = warnings_of(run)
        assert warning.startswith("permissions are not set as sync.modes says (first: d: the server refuses it: ")
        asked = [line for line in server.commands if line.startswith("SITE")]
        assert len(asked) == (1 if reply.startswith(b"500") else 3), "an unknown command is not sent again"
        begun = len(server.commands)
        again = await mirror(source, endpoint_for(server), tmp_path / "journal", modes=FIXED)
        assert (again.report.exit_code, again.report.modes_set) == (0, 0)
        assert not [line for line in server.commands[begun:] if line.startswith("SITE")]


@pytest.mark.parametrize("name", ["two  spaces", "a\tb", "end "])
async def test_path_that_a_server_takes_apart_gets_no_mode(name: str) -> None:
    """ProFTPD joins the words of the command with single spaces: the mode would be set for another file."""
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        (entry,) = await session.set_modes([Entry(name, Kind.FILE, mode=0o600)])
        assert isinstance(entry, Entry)
        assert entry.mode is None
        assert not [line for line in server.commands if line.startswith("SITE")]
        (warning,) = session.warnings()
        assert "several spaces in a row" in warning


async def test_link_gets_no_mode(embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
    """A link that another program has put in the place of a directory leads elsewhere."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").touch(0o600)
    (embedded.root / "d").symlink_to(tmp_path / "outside")
    server = FtpTarget("pyftpdlib", embedded.host, embedded.port, embedded.user, embedded.password, embedded.root)
    async with endpoint_for(server).open_session() as session:
        (refused,) = await session.set_modes([Entry("d/f", Kind.FILE, mode=0o777)])
    assert isinstance(refused, OperationRefused)
    assert (tmp_path / "outside" / "f").stat().st_mode & 0o777 == 0o600
