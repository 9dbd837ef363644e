"""Whole runs against SFTP servers, from a local directory to the files on the server's disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actorsync.model.event import Adopted
from actorsync.model.operation import Copy, Done, Failed
from actorsync.testing.servers.sftp import EmbeddedSftpServer
from tests.support.mirror import contents, mirror, mirror_process, temporaries, times
from tests.support.scenarios import MIB, ODD_NAMES, big_tree, change_everything, tree_to_be_changed, write
from tests.support.servers.ssh_servers import (
    ASYNCSSH,
    NAMES,
    OPENSSH,
    Name,
    Options,
    SshTarget,
    embedded_server,
    endpoint_for,
    openssh_server,
    require,
    serving,
)
from tests.support.servers.ssh_site import Site, site_on

POSIX_RENAME = "posix-rename@openssh.com"


def state_of(root: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and change time of every path below ``root``: any write changes one of them."""
    return {
        os.path.join(folder, name): (found.st_ino, found.st_ctime_ns)
        for folder, folders, files in os.walk(root)
        for name in (".", *folders, *files)
        for found in [os.lstat(os.path.join(folder, name))]
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty directory to mirror."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
async def site(shared_sftp_server: SshTarget, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """A new directory for each test, on each server."""
    name = request.node.name.partition("[")[0]
    async with site_on(shared_sftp_server, name, tmp_path) as opened:
        yield opened


# ---- every file arrives once


@pytest.mark.full
async def test_large_tree_arrives_and_the_second_run_changes_nothing(site: Site, source: Path) -> None:
    # The asyncssh server is slower and runs in this process, so it gets a tenth.
    big_tree(source, 100 * MIB if site.server.name == OPENSSH else 10 * MIB)
    # Without the proxy, which is slower than the servers.
    run = await mirror(source, endpoint_for(site.server, site.path), site.journal)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(site.root) == contents(source)
    assert times(site.root) == times(source)
    sent = [done.operation.path for done in run.of(Done) if isinstance(done.operation, Copy)]
    assert sorted(sent) == sorted(times(source)), "each file was sent once"

    before = state_of(site.root)
    await site.assert_nothing_to_do(source)
    # Another process in another time zone has nothing to do either.
    process = mirror_process(
        source, site.server, site.journal, path=site.path, host=site.proxy.host, environment={"TZ": "America/New_York"}
    )
    output, _ = await trio.to_thread.run_sync(process.communicate)
    assert json.loads(output.splitlines()[-1])["exit_code"] == 0
    assert site.proxy.connections == 0
    assert state_of(site.root) == before


async def test_more_large_files_than_the_window_holds_arrive(site: Site, source: Path) -> None:
    for number in range(20):
        write(source / f"{number}", bytes([number]) * (2 * MIB))
    run = await mirror(source, endpoint_for(site.server, site.path), None, connections=1, seconds=20)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(site.root) == contents(source)


async def test_password_login_works(site: Site, source: Path) -> None:
    write(source / "d/file", b"by password")
    await site.succeed(source, login=site.server.password_login)


async def test_m065_empty_files_arrive(site: Site, source: Path) -> None:
    for number in range(5):
        write(source / f"{number}", b"")
    await site.succeed(source)


async def test_permissions_are_kept_for_files_and_directories(
    server_folder: Path, source: Path, tmp_path: Path
) -> None:
    modes = (0o644, 0o600, 0o755)
    for mode in modes:
        write(source / "d" / f"{mode:o}", b"content")
        (source / "d" / f"{mode:o}").chmod(mode)
    (source / "d").chmod(0o700)
    with serving(OPENSSH, server_folder) as server:
        run = await mirror(source, endpoint_for(server), tmp_path / "journal")
        assert run.report.exit_code == 0
        assert [(server.root / "d" / f"{mode:o}").stat().st_mode & 0o777 for mode in modes] == list(modes)
        assert (server.root / "d").stat().st_mode == (source / "d").stat().st_mode


# ---- names


async def test_m079_m080_m083_odd_names_arrive_exactly(site: Site, source: Path) -> None:
    for name in ODD_NAMES:
        write(source / name, os.fsencode(name))
        write(source / "folders" / name / "inside", b"inside")
    await site.succeed(source)
    await site.assert_nothing_to_do(source)
    for name in ODD_NAMES:
        write(source / name, b"new " + os.fsencode(name))
        shutil.rmtree(source / "folders" / name)
    await site.succeed(source)


async def test_m049_names_that_differ_only_in_case_arrive(site: Site, source: Path) -> None:
    for name in ("a", "A", "d/x", "D/x"):
        write(source / name, name.encode())
    await site.succeed(source)


async def test_m081_longest_names_arrive(site: Site, source: Path) -> None:
    for name in ("x" * 255, "é" * 127, "日" * 85, "\N{PILE OF POO}" * 63, "e\u0301" + "x" * 252, "\t" + "x" * 200):
        write(source / name, b"long")
    await site.succeed(source)


async def test_m082_too_long_paths_fail_and_the_rest_arrives(site: Site, source: Path) -> None:
    """The connection goes on with the other files."""
    write(source / "z", b"and the rest")
    descriptor = os.open(source, os.O_RDONLY)
    for _ in range(20):  # deeper than the longest path, so by descriptors
        os.mkdir("y" * 250, dir_fd=descriptor)
        deeper = os.open("y" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor), "wb") as file:  # noqa: ASYNC230
        file.write(b"deep")
    os.close(descriptor)
    run = await site.run(source)
    assert run.report.exit_code == 1
    assert (site.root / "z").read_bytes() == b"and the rest"
    assert run.report.reconnects == 0
    assert all(len(path) > 3_000 for path in run.failures)
    assert run.failures


# ---- changes


async def test_changes_of_every_kind_converge_in_one_run(site: Site, source: Path) -> None:
    tree_to_be_changed(source)
    await site.succeed(source)
    change_everything(source)
    run = await site.succeed(source)
    assert "same" not in {event.operation.path for event in run.of(Done)}
    await site.assert_nothing_to_do(source)


async def test_without_delete_nothing_is_removed(site: Site, source: Path) -> None:
    for name in ("stays", "d/stays, too"):
        write(source / name, b"x")
    await site.succeed(source)
    (source / "stays").unlink()
    shutil.rmtree(source / "d")
    run = await site.run(source, delete=False)
    assert run.report.exit_code == 0
    assert set(contents(site.root)) == {"stays", "d", "d/stays, too"}


# ---- foreign files


async def test_foreign_files_are_adopted_overwritten_or_left(site: Site, source: Path) -> None:
    write(source / "equal", b"equal", 1_650_000_000)
    write(source / "other", b"ours")
    write(source / "d/ours", b"ours")
    write(site.root / "equal", b"equal", 1_650_000_000)
    write(site.root / "other", b"theirs")
    write(site.root / "d/theirs", b"theirs")
    write(site.root / "their folder/theirs", b"theirs")
    site.server.adopt()
    equal = (site.root / "equal").stat().st_ino

    run = await site.run(source)
    assert run.report.exit_code == 0
    assert [event.source.path for event in run.of(Adopted) if event.source.path == "equal"] == ["equal"]
    assert (site.root / "equal").stat().st_ino == equal, "the file was not sent"
    assert (site.root / "other").read_bytes() == b"ours"
    assert (site.root / "d/theirs").read_bytes() == b"theirs"
    assert (site.root / "their folder/theirs").read_bytes() == b"theirs"

    shutil.rmtree(source / "d")  # then our file is removed; the foreign file and its directory stay
    run = await site.run(source)
    assert run.report.exit_code == 0
    assert not (site.root / "d/ours").exists()
    assert (site.root / "d/theirs").read_bytes() == b"theirs"


async def test_m114_lost_journal_costs_a_survey_only(site: Site, source: Path) -> None:
    for number in range(20):
        write(source / f"d{number % 3}" / f"{number}", b"content %d" % number)
    await site.succeed(source)
    (source / "d0/0").unlink()
    shutil.rmtree(site.journal)
    before = state_of(site.root)
    run = await site.run(source)
    assert run.report.exit_code == 0
    assert run.report.adopted == 19
    assert state_of(site.root) == before, "nothing is sent or removed: without the journal, d0/0 is foreign"


async def test_m037_foreign_change_is_overwritten_but_never_removed(site: Site, source: Path) -> None:
    for name in ("sent again", "deleted", "deleted, too"):
        write(source / name, b"ours")
    await site.succeed(source)
    for name in ("sent again", "deleted"):
        write(site.root / name, b"somebody else's")
    write(site.root / "deleted, too", b"ours", 1_500_000_000)  # the same size, another time
    site.server.adopt()
    write(source / "sent again", b"ours, and new")
    (source / "deleted").unlink()
    (source / "deleted, too").unlink()
    run = await site.run(source)
    assert run.report.exit_code == 1
    assert {event.operation.path for event in run.of(Failed)} == {"deleted", "deleted, too"}
    assert (site.root / "sent again").read_bytes() == b"ours, and new"
    assert (site.root / "deleted").read_bytes() == b"somebody else's"
    assert (site.root / "deleted, too").read_bytes() == b"ours"


async def test_removed_directory_is_made_again(site: Site, source: Path) -> None:
    for name in ("a/b/c/file", "a/b/other", "top"):
        write(source / name, b"one")
    await site.succeed(source)
    shutil.rmtree(site.root / "a")
    write(source / "a/b/c/file", b"two, and longer")
    run = await site.run(source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert (site.root / "a/b/c/file").read_bytes() == b"two, and longer"


async def test_m047_link_to_its_own_directory_is_not_followed(site: Site, source: Path) -> None:
    write(source / "d/file", b"x")
    (site.root / "loop").symlink_to(".")
    (site.root / "outside").symlink_to("/etc")
    run = await site.run(source)
    assert run.report.exit_code == 0
    assert (site.root / "d/file").read_bytes() == b"x"
    assert (site.root / "loop").is_symlink()
    assert (site.root / "outside").is_symlink()


# ---- servers without extensions


@pytest.mark.parametrize(
    "without",
    [
        (POSIX_RENAME,),
        ("limits@openssh.com",),
        ("statvfs@openssh.com", "fstatvfs@openssh.com"),
        ("lsetstat@openssh.com",),
        ("fsync@openssh.com",),
        (
            POSIX_RENAME,
            "limits@openssh.com",
            "statvfs@openssh.com",
            "fstatvfs@openssh.com",
            "lsetstat@openssh.com",
            "fsync@openssh.com",
            "hardlink@openssh.com",
            "copy-data",
        ),
    ],
    ids=lambda without: "+".join(name.partition("@")[0] for name in without),
)
async def test_m033_m050_replacement_works_without_extensions(
    without: tuple[str, ...],
    embedded_sftp: tuple[EmbeddedSftpServer, SshTarget],
    source: Path,
    tmp_path: Path,
) -> None:
    """New versions replace old ones, and no temporary is left."""
    server, target = embedded_sftp
    server.without = frozenset(without)
    tree_to_be_changed(source)
    for _ in range(2):
        run = await mirror(source, endpoint_for(target), tmp_path / "journal")
        assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
        assert contents(target.root) == contents(source)
        assert times(target.root) == times(source)
        if (source / "gone").exists():
            change_everything(source)
    commands = len(server.commands)
    assert (await mirror(source, endpoint_for(target), tmp_path / "journal")).report.exit_code == 0
    assert len(server.commands) == commands
    assert temporaries(target.root) == []
    assert not any(request.verb == "POSIX-RENAME" for request in server.commands if POSIX_RENAME in without)


async def test_m033_without_posix_rename_the_old_version_is_not_removed_first(
    embedded_sftp: tuple[EmbeddedSftpServer, SshTarget], source: Path, tmp_path: Path
) -> None:
    server, target = embedded_sftp
    server.without = frozenset([POSIX_RENAME])
    write(source / "page", b"old")
    await mirror(source, endpoint_for(target), tmp_path / "journal")
    write(source / "page", b"new, and longer")
    commands = len(server.commands)
    run = await mirror(source, endpoint_for(target), tmp_path / "journal")
    assert (run.report.exit_code, run.failures) == (0, {})
    mutating = [str(c) for c in server.commands[commands:] if c in server.mutating]
    assert not any(line == "REMOVE page" for line in mutating), mutating
    assert contents(target.root) == contents(source)


# ---- connection limits


@pytest.mark.parametrize("name", NAMES)
async def test_m014_m015_run_completes_with_fewer_connections_than_wanted(
    name: Name, server_folder: Path, source: Path, tmp_path: Path
) -> None:
    """OpenSSH drops a connection while another one logs in; asyncssh drops the third connection."""
    for number in range(60):
        write(source / f"d{number % 4}" / f"{number}", b"content %d" % number)
    options = Options(max_connections=1 if name == OPENSSH else 2)
    with serving(name, server_folder, options) as server:
        run = await mirror(source, endpoint_for(server), tmp_path / "journal", connections=8)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(server_folder / "root") == contents(source)


async def test_one_channel_per_connection_is_enough(server_folder: Path, source: Path, tmp_path: Path) -> None:
    require(OPENSSH)
    for number in range(60):
        write(source / f"d{number % 4}" / f"{number}", b"content %d" % number)
    with serving(OPENSSH, server_folder, Options(max_sessions=1)) as server:
        run = await mirror(source, endpoint_for(server), tmp_path / "journal", connections=3)
    assert (run.report.exit_code, run.failures, run.report.reconnects) == (0, {}, 0)
    assert contents(server_folder / "root") == contents(source)


# ---- addresses and paths


@pytest.mark.parametrize("name", NAMES)
async def test_ipv6_server_is_reached(name: Name, server_folder: Path, source: Path, tmp_path: Path) -> None:
    require(name)
    write(source / "d/file", b"over IPv6")
    root = server_folder / "root"
    root.mkdir()
    if not os.path.exists("/proc/net/if_inet6"):  # noqa: ASYNC240
        pytest.skip("no IPv6 on this machine")
    if name == ASYNCSSH:
        with embedded_server(root, server_folder, host="::1") as (_, target):
            await over_ipv6(target, source, tmp_path)
    else:
        with openssh_server(root, server_folder, host="::1") as started:
            await over_ipv6(started.target, source, tmp_path)


async def over_ipv6(target: SshTarget, source: Path, tmp_path: Path) -> None:
    endpoint = endpoint_for(target, login=target.password_login)
    assert "@[::1]:" in endpoint.display
    run = await mirror(source, endpoint, tmp_path / "journal")
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(target.root) == contents(source)


async def test_relative_paths_start_at_the_login_directory_and_absolute_ones_at_the_root(
    shared_sftp_server: SshTarget, source: Path
) -> None:
    """A path with a leading slash is absolute; others are relative to the login directory."""
    server = shared_sftp_server
    write(source / "file", b"somewhere")
    top = "" if server.name == ASYNCSSH else str(server.root)
    for path, leads_to in (
        ("relative/deep", "relative/deep"),
        (f"{top}/absolute/deep", "absolute/deep"),
        ("spaces in it/ü", "spaces in it/ü"),
    ):
        run = await mirror(source, endpoint_for(server, path), None)
        assert (run.report.exit_code, run.failures) == (0, {}), path
        assert (server.root / leads_to / "file").read_bytes() == b"somewhere"
