"""Whole runs against real servers, from a local directory to the server's disk.

The fault proxy stands before each server without any fault, and provides the same command log for all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from actorsync.model.event import Adopted
from actorsync.model.operation import Copy, Done, Failed
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from tests.support import FtpTarget
from tests.support.mirror import Run, contents, mirror, mirror_process, temporaries, times
from tests.support.servers import debian_servers
from tests.support.servers.ftp import PYFTPDLIB, endpoint_for, fresh_folder, serving

MIB = 1024 * 1024

#: Names that every server stores unchanged.
TAME_NAMES = (
    *(
        "two  words",
        " lead",
        "-rf",
        "%41",
        "*",
        "[a]",
        "?",
        '"',
        'quo"te',
        "'",
        ";",
        "|",
        "$(id)",
        "a;type=i",
        "#",
        "&",
        "{x}",
    ),
    *(".hidden", "..twice", "a:b", "<b>", "`id`", "!", "^", "=", "NFC " + unicodedata.normalize("NFC", "Zürich é")),
    *("NFD " + unicodedata.normalize("NFD", "Zürich é"), "日本語", "\N{PILE OF POO}", "~x", "~", "x" * 255, "日" * 85),
)
#: Names that Pure-FTPd stores under another name. The other servers store them unchanged.
WILD_NAMES = ("trail ", "a\tb", "a\x01b", "a\x7fb", "\t" + "x" * 200, "back\\slash")


def write(path: Path, content: bytes, seconds: int = 1_700_000_000) -> None:
    """Write a file with a fixed time in the past, and with a fraction of a second that no server stores."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(seconds * 10**9 + 123_456_789,) * 2)


def write_sparse(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.write(b"begin")
        file.truncate(size)
        file.seek(-3, os.SEEK_END)
        file.write(b"end")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


class Site:
    """A folder on a server, a proxy before it, and their journal."""

    def __init__(self, server: FtpTarget, proxy: FaultProxy, name: str, journal: Path) -> None:
        self.server, self.proxy, self.path, self.journal = server, proxy, f"/{name}", journal
        self.root = server.root / name

    async def run(self, source: Path, *, delete: bool = True, connections: int = 2) -> Run:
        endpoint = endpoint_for(self.server, self.path, host=self.proxy.host)
        return await mirror(source, endpoint, self.journal, delete=delete, connections=connections)

    async def succeed(self, source: Path) -> Run:
        """Make a run that must succeed, and check that both sides are equal afterwards."""
        run = await self.run(source)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(self.root) == contents(source)
        assert times(self.root) == times(source)
        return run

    async def assert_nothing_to_do(self, source: Path) -> None:
        """Make a run, and check that it opened no connection."""
        before = (self.proxy.connections, len(self.proxy.lines))
        run = await self.run(source)
        assert run.report.exit_code == 0
        assert (self.proxy.connections, len(self.proxy.lines)) == before, self.proxy.lines[before[1] :]


@asynccontextmanager
async def site_on(server: FtpTarget, name: str, tmp_path: Path) -> AsyncIterator[Site]:
    fresh_folder(server, name)
    async with open_fault_proxy((server.host, server.port)) as proxy:
        yield Site(server, proxy, name, tmp_path / "journal")


@pytest.fixture
async def site(shared_ftp_server: FtpTarget, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Return a fresh folder for each test, on each server."""
    name = request.node.name.partition("[")[0]
    async with site_on(shared_ftp_server, name, tmp_path) as opened:
        yield opened


# ---- everything arrives, once


@pytest.mark.full
async def test_big_tree_arrives_and_the_second_run_does_nothing(site: Site, source: Path) -> None:
    for folder in range(100):
        for number in range(20):
            write(source / f"folder {folder:02}" / f"{number}.txt", b"%d/%d" % (folder, number) * 40, 10**9 + number)
    for number, name in enumerate(TAME_NAMES):
        write(source / "odd" / name, name.encode())
        if name != "*":  # ProFTPD has no folder of that name
            write(source / "odd folders" / name / name, b"" if number % 2 else b"in an odd folder")
    for name in ("empty 1", "empty 2"):
        write(source / name, b"")
    (source / "empty folder").mkdir()
    write_sparse(source / "big", 100 * MIB)

    # Without the proxy, which is slower than any server.
    run = await mirror(source, endpoint_for(site.server, site.path), site.journal)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(site.root) == contents(source)
    assert times(site.root) == times(source)
    sent = [done.operation.path for done in run.of(Done) if isinstance(done.operation, Copy)]
    assert sorted(sent) == sorted(times(source)), "each was sent once"

    await site.assert_nothing_to_do(source)
    # The same in another process, in another time zone.
    before = site.proxy.connections
    process = mirror_process(
        source,
        site.server,
        site.journal,
        path=site.path,
        host=site.proxy.host,
        environment={"TZ": "America/New_York"},
    )
    output, _ = await trio.to_thread.run_sync(process.communicate)
    assert json.loads(output.splitlines()[-1])["exit_code"] == 0
    assert site.proxy.connections == before


async def test_m065_empty_files_arrive(site: Site, source: Path) -> None:
    for number in range(5):
        write(source / f"{number}", b"")
    await site.succeed(source)


async def test_each_listing_of_a_survey_requests_the_port_of_the_next(site: Site, source: Path) -> None:
    for number in range(6):
        write(site.root / f"d{number}" / "file", b"theirs")
    assert (await site.run(source, connections=1)).report.exit_code == 0
    verbs = [line.split(" ")[1] for line in site.proxy.lines]
    listings = max(verbs.count("MLSD"), verbs.count("LIST"))
    assert listings == 7
    assert verbs.count("EPSV") == listings, "no port is requested in vain"


# ---- names


async def test_m079_m080_m083_names_arrive_exactly_or_fail_by_name(site: Site, source: Path) -> None:
    """Files of others that were there before stay unchanged."""
    foreign = {"trail_": b"foreign 2", "a_b": b"foreign 3", "_" + "x" * 200: b"foreign 4"}
    for name, content in foreign.items():
        write(site.root / name, content)
        write(site.root / "folders" / name / "foreign", content)
    site.server.adopt()
    invalid = os.fsdecode(b"not \xc3\x28 utf-8 \xfe")
    names = (*WILD_NAMES, invalid)
    for name in names:
        write(source / name, name.encode("utf-8", "surrogateescape"))
        write(source / "folders" / name / "inside", b"inside")
    write(source / "tame", b"tame")

    run = await site.run(source)
    there, wanted = contents(site.root), contents(source)
    failed = set(run.failures)
    assert run.report.exit_code == (1 if failed else 0)
    for path, digest in wanted.items():
        if path in failed or any(path.startswith(f"{other}/") for other in failed):
            assert path not in there, f"{path!r} failed, and is there"
        else:
            assert there.get(path) == digest, f"{path!r} was reported as done"
    for name, content in foreign.items():
        assert (site.root / name).read_bytes() == content
        assert (site.root / "folders" / name / "foreign").read_bytes() == content
    assert set(there) - set(wanted) == {*foreign, *(f"folders/{n}{e}" for n in foreign for e in ("", "/foreign"))}
    assert failed == {path for name in REFUSED[site.server.name] for path in (name, f"folders/{name}")} | {
        f"folders/{name}/inside" for name in REFUSED[site.server.name]
    }


REFUSED: dict[str, tuple[str, ...]] = {
    PYFTPDLIB: (os.fsdecode(b"not \xc3\x28 utf-8 \xfe"),),
    "vsftpd": (),
    "proftpd": (),
    "pure-ftpd": WILD_NAMES,
}


async def test_m048_second_of_two_names_that_a_server_merges_fails(site: Site, source: Path) -> None:
    """``a<TAB>b`` never replaces ``a_b``: neither our file nor a foreign one, neither a file nor a folder."""
    write(source / "a\tb", b"with a tab")
    write(source / "a_b", b"with a line")
    (source / "d\te").mkdir()
    (source / "d_e").mkdir()
    for _ in range(2):
        run = await site.run(source)
        assert (site.root / "a_b").read_bytes() == b"with a line"
        assert (site.root / "d_e").is_dir()
        assert "d_e" not in run.failures
        assert temporaries(site.root) == []
    assert (site.root / "a\tb").exists() is (site.server.name != "pure-ftpd")


async def test_m081_m082_names_over_the_limit_fail_alone(site: Site, source: Path) -> None:
    """A path that is too long for a command line fails alone, and the session stays in step."""
    for name in ("x" * 255, "é" * 127, "日" * 85, "\N{PILE OF POO}" * 63, "e\u0301" + "x" * 252):
        write(source / name, b"long")
    deep = source
    for _ in range(9):
        deep = deep / ("y" * 250)
        deep.mkdir()
        write(deep / "file", b"deep")
    write(source / "z", b"and the rest")
    run = await site.run(source)
    assert run.report.exit_code == 1
    assert {reason for reason in run.failures.values() if "the limit is 2000" not in reason} <= {
        "its directory could not be made"
    }
    there, wanted = contents(site.root), contents(source)
    assert {path for path in wanted if path not in there} == set(run.failures)
    assert all(len(path) > 1_700 for path in run.failures)
    assert run.report.reconnects == 0


async def test_m074_m075_names_with_line_breaks_send_no_command(site: Site, source: Path) -> None:
    for name in ("victim", "kept"):
        write(site.root / name, b"foreign")
    site.server.adopt()
    for name in ("x\r\nDELE victim", "x\nDELE victim", "x\r", "y\xff\udcff"):
        write(source / os.fsdecode(os.fsencode(name)), b"evil")
    write(source / "good", b"good")
    run = await site.run(source)
    assert run.report.exit_code == 1
    assert sorted(contents(site.root)) == ["good", "kept", "victim"]
    assert not any(command.verb == "DELE" and "victim" in command.argument for command in site.proxy.commands)


# ---- changes


async def test_changes_of_every_kind_converge_in_one_run(site: Site, source: Path) -> None:
    for name in ("same", "changed", "renamed", "deleted", "file to folder", "folder to file/a", "folder to file/b/c"):
        write(source / name, name.encode())
    write(source / "gone/with/all", b"below")
    write(source / "touched", b"only its time")
    await site.succeed(source)

    write(source / "changed", b"longer than it was before")
    (source / "renamed").rename(source / "new name")
    (source / "deleted").unlink()
    (source / "file to folder").unlink()
    write(source / "file to folder/inside", b"now a folder")
    shutil.rmtree(source / "folder to file")
    write(source / "folder to file", b"now a file")
    shutil.rmtree(source / "gone")
    write(source / "touched", b"only its time", 1_600_000_000)
    run = await site.succeed(source)
    assert "same" not in {event.operation.path for event in run.of(Done)}
    await site.assert_nothing_to_do(source)


async def test_run_without_delete_removes_nothing(site: Site, source: Path) -> None:
    for name in ("stays", "d/stays, too"):
        write(source / name, b"x")
    await site.succeed(source)
    (source / "stays").unlink()
    shutil.rmtree(source / "d")
    run = await site.run(source, delete=False)
    assert run.report.exit_code == 0
    assert set(contents(site.root)) == {"stays", "d", "d/stays, too"}


# ---- foreign files


async def test_foreign_files_are_adopted_overwritten_or_kept(site: Site, source: Path) -> None:
    write(source / "equal", b"equal", 1_650_000_000)
    write(source / "other", b"ours")
    write(source / "d/ours", b"ours")
    write(site.root / "equal", b"equal", 1_650_000_000)
    write(site.root / "other", b"theirs")
    write(site.root / "d/theirs", b"theirs")
    write(site.root / "their folder/theirs", b"theirs")
    site.server.adopt()
    os.utime(site.root / "equal", ns=(1_650_000_000 * 10**9,) * 2)
    os.utime(source / "equal", ns=(1_650_000_000 * 10**9,) * 2)

    run = await site.run(source)
    assert run.report.exit_code == 0
    assert [event.source.path for event in run.of(Adopted) if event.source.path == "equal"] == ["equal"]
    assert not any(c.verb == "STOR" and c.argument.endswith("/equal") for c in site.proxy.commands)
    assert (site.root / "other").read_bytes() == b"ours"
    assert (site.root / "d/theirs").read_bytes() == b"theirs"
    assert (site.root / "their folder/theirs").read_bytes() == b"theirs"

    shutil.rmtree(source / "d")  # our file is removed, and the foreign one stays with the folder
    run = await site.run(source)
    assert run.report.exit_code == 0
    assert not (site.root / "d/ours").exists()
    assert (site.root / "d/theirs").read_bytes() == b"theirs"


async def test_m114_lost_journal_costs_only_a_survey(site: Site, source: Path) -> None:
    for number in range(20):
        write(source / f"d{number % 3}" / f"{number}", b"content %d" % number)
    await site.succeed(source)
    (source / "d0/0").unlink()
    shutil.rmtree(site.journal)
    before = len(site.proxy.mutating)
    run = await site.run(source)
    assert run.report.exit_code == 0
    assert run.report.adopted == 19
    assert all(c.verb == "MKD" for c in site.proxy.mutating[before:]), "nothing is sent or removed"
    assert (site.root / "d0/0").exists(), "without a journal it counts as foreign"


async def test_m037_foreign_change_is_overwritten_but_never_removed(site: Site, source: Path) -> None:
    for name in ("sent again", "deleted", "deleted, too"):
        write(source / name, b"ours")
    await site.succeed(source)
    for name in ("sent again", "deleted"):
        write(site.root / name, b"foreign")
    write(site.root / "deleted, too", b"ours", 1_500_000_000)  # the same size, another time
    site.server.adopt()
    write(source / "sent again", b"ours, and new")
    (source / "deleted").unlink()
    (source / "deleted, too").unlink()
    run = await site.run(source)
    assert run.report.exit_code == 1
    assert {event.operation.path for event in run.of(Failed)} == {"deleted", "deleted, too"}
    assert (site.root / "sent again").read_bytes() == b"ours, and new"
    assert (site.root / "deleted").read_bytes() == b"foreign"
    assert (site.root / "deleted, too").read_bytes() == b"ours"


async def test_directory_removed_on_the_server_is_made_again(site: Site, source: Path) -> None:
    for name in ("a/b/c/file", "a/b/other", "top"):
        write(source / name, b"one")
    await site.succeed(source)
    shutil.rmtree(site.root / "a")
    write(source / "a/b/c/file", b"two, and longer")
    run = await site.run(source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert (site.root / "a/b/c/file").read_bytes() == b"two, and longer"


# ---- servers without some commands


@contextmanager
def served(name: str, folder: Path, **options: object) -> Iterator[FtpTarget]:
    with serving(name, folder, debian_servers.Options(**options)) as server:  # type: ignore[arg-type]
        yield server


async def test_m040_server_that_cannot_set_times_copies_once(server_folder: Path, source: Path, tmp_path: Path) -> None:
    for number in range(10):
        write(source / f"d{number % 2}" / f"{number}", b"content %d" % number)
    with served("vsftpd", server_folder, mdtm_write=False) as server:
        async with site_on(server, "m040", tmp_path) as site:
            run = await site.run(source)
            assert (run.report.exit_code, run.failures) == (0, {})
            assert contents(site.root) == contents(source)
            await site.assert_nothing_to_do(source)
            write(source / "d0/0", b"content X")
            (source / "d1/1").unlink()
            run = await site.run(source)
            assert (run.report.exit_code, run.report.copied, run.report.removed) == (0, 1, 1)
            assert contents(site.root) == contents(source)


async def test_refused_upload_does_not_disable_setting_times(server_folder: Path, source: Path, tmp_path: Path) -> None:
    """vsftpd refuses MDTM for a missing file in the same way as for a forbidden change of times."""
    with served("vsftpd", server_folder) as server:
        async with site_on(server, "refused", tmp_path) as site:
            write(source / "d/1", b"one")
            await site.run(source)
            shutil.rmtree(site.root / "d")
            write(source / "d/1", b"one again")
            write(source / "e", b"with a time")
            await site.run(source, connections=1)
            assert times(site.root) == times(source)


@pytest.mark.parametrize(
    "without", [("MLSD", "MLST"), ("EPSV",), ("MFMT",), ("MDTM",), ("MFMT", "MDTM", "EPSV", "MLST")]
)
async def test_m025_pyftpdlib_without_commands_converges(
    without: tuple[str, ...], server_folder: Path, source: Path, tmp_path: Path
) -> None:
    for number in range(10):
        write(source / f"d{number % 2}" / f"{number}", b"content %d" % number)
    root = server_folder / "root"
    (root / "there").mkdir(parents=True)
    write(root / "there" / "d0" / "0", b"content 0", 1_700_000_000)
    with EmbeddedFtpServer(root, without=frozenset(without)) as server:
        journal = tmp_path / "journal"
        run = await mirror(source, endpoint_for(server, "there"), journal)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(root / "there") == contents(source)
        if "MFMT" not in without:
            assert times(root / "there") == times(source)
        assert run.report.reconnects == 0
        commands = len(server.commands)
        assert (await mirror(source, endpoint_for(server, "there"), journal)).report.exit_code == 0
        assert len(server.commands) == commands
        shutil.rmtree(source / "d0")
        run = await mirror(source, endpoint_for(server, "there"), journal)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(root / "there") == contents(source)


@pytest.mark.parametrize("name", [PYFTPDLIB, *debian_servers.NAMES])
async def test_m014_run_with_fewer_connections_than_configured_succeeds(
    name: str, server_folder: Path, source: Path, tmp_path: Path
) -> None:
    for number in range(60):
        write(source / f"d{number % 4}" / f"{number}", b"content %d" % number)
    if name == PYFTPDLIB:
        (server_folder / "root").mkdir()
        with EmbeddedFtpServer(server_folder / "root", max_connections=2) as embedded:
            run = await mirror(source, endpoint_for(embedded), tmp_path / "journal", connections=4)
    else:
        with served(name, server_folder, max_connections=2, max_connections_per_address=2) as server:
            run = await mirror(source, endpoint_for(server), tmp_path / "journal", connections=4)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(server_folder / "root") == contents(source)


async def test_upload_over_ipv6_arrives(server_folder: Path, source: Path, tmp_path: Path) -> None:
    write(source / "d/file", b"over IPv6")
    root = server_folder / "root"
    root.mkdir()
    try:
        server = EmbeddedFtpServer(root, host="::1")
        server.start()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with_server = server
    try:
        endpoint = endpoint_for(with_server)
        assert "[::1]" in endpoint.display
        run = await mirror(source, endpoint, tmp_path / "journal")
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(root) == contents(source)
        assert not any(command.verb == "PASV" for command in server.commands)
    finally:
        server.stop()
