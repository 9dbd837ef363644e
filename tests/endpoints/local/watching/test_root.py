"""The root of a watched tree is moved, replaced, removed, mounted over; or links in the tree lead elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from actorsync.endpoints.hints import Dirty, Hints, Lost
from actorsync.endpoints.local.watching.local_hints import System
from actorsync.endpoints.local.watching.root import Mount, Mounts, identity_of
from actorsync.planning.selection import Selection
from tests.endpoints.local.watching.hinted import all_hints, directories_until, reason_of, watched
from tests.support.root import ROOT

REPLACED, GONE, BACK = (
    "the source is another directory now",
    "the source is gone, or cannot be read",
    "the source is there again",
)

#: The root is looked at by the clock so seldom that only events count.
EVENTS_ONLY = System(tick=1_000.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a directory in it, in a directory that can be renamed as well."""
    path = tmp_path / "www/site"
    (path / "a").mkdir(parents=True)
    return path


async def is_watched(hints: Hints, root: Path) -> None:
    """Check that changes in the tree that the path leads to now are hinted."""
    (root / "a/file").write_text("x")
    while not (isinstance(hint := await hints.receive(), Dirty) and "a" in hint.directories):
        (root / "a/file").write_text("again")


def replacement(root: Path) -> Path:
    """Make a tree like the root, beside it."""
    path = root.parent / "new"
    (path / "a").mkdir(parents=True)
    return path


async def test_root_replaced_by_rename_is_told_and_watched(root: Path) -> None:
    new = replacement(root)
    async with watched(root, system=EVENTS_ONLY) as hints:
        os.rename(root, root.parent / "old")
        new.rename(root)
        assert await hints.receive() == Lost(REPLACED)
        await is_watched(hints, root)


async def test_renamed_directory_above_the_root_is_told(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/site"
    (other / "a").mkdir(parents=True)
    async with watched(root, system=EVENTS_ONLY) as hints:
        root.parent.rename(tmp_path / "old")
        other.parent.rename(root.parent)
        assert await hints.receive() == Lost(REPLACED)
        await is_watched(hints, root)


async def test_root_that_was_renamed_and_renamed_back_is_not_lost(root: Path) -> None:
    async with watched(root, system=EVENTS_ONLY) as hints:
        os.rename(root, root.parent / "away")
        (root.parent / "away").rename(root)
        (root / "a/file").write_text("x")
        assert await directories_until(hints, "a") == {"a"}


async def test_removed_root_is_told_once_and_waited_for(root: Path) -> None:
    async with watched(root, system=EVENTS_ONLY) as hints:
        shutil.rmtree(root)
        assert await reason_of(hints) == GONE
        assert hints.directories == 0
        (root / "a").mkdir(parents=True)
        assert await hints.receive() == Lost(BACK)
        await is_watched(hints, root)


async def test_root_made_anew_with_the_same_inode_is_watched(root: Path) -> None:
    async with watched(root, system=EVENTS_ONLY) as hints:
        shutil.rmtree(root)
        (root / "a").mkdir(parents=True)  # ext4 gives the new directory the number of the old one
        await reason_of(hints)
        await is_watched(hints, root)


async def test_missing_root_is_told_and_watched_when_it_appears(tmp_path: Path) -> None:
    root = tmp_path / "later"
    async with watched(root) as hints:
        assert await hints.receive() == Lost(GONE)
        (root / "a").mkdir(parents=True)
        assert await hints.receive() == Lost(BACK)
        await is_watched(hints, root)


async def test_file_in_the_place_of_the_root_counts_as_no_root(root: Path) -> None:
    async with watched(root, system=EVENTS_ONLY) as hints:
        os.rename(root, root.parent / "away")
        os.close(os.open(root, os.O_CREAT | os.O_WRONLY))
        assert await reason_of(hints) == GONE


@pytest.mark.parametrize(("mode", "is_found"), [(0o500, True), (0o300, False), (0o600, False)])
def test_root_that_cannot_be_read_counts_as_none(mode: int, is_found: bool) -> None:
    user = os.geteuid()
    with TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(mode)
        if user == 0:  # root may read all
            os.chown(root, 65_534, -1)
            os.seteuid(65_534)
        try:
            assert (identity_of(root) is not None) == is_found
        finally:
            os.seteuid(user)
            root.chmod(0o700)


async def test_root_that_is_a_link_is_watched_where_it_leads_now(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"releases/{number}/a").mkdir(parents=True)
    current = tmp_path / "current"
    current.symlink_to("releases/1")
    async with watched(current, system=EVENTS_ONLY) as hints:
        (tmp_path / "next").symlink_to("releases/2")
        (tmp_path / "next").rename(current)
        assert await hints.receive() == Lost(REPLACED)
        await is_watched(hints, tmp_path / "releases/2")


async def test_replaced_root_is_noticed_by_the_clock_as_well(tmp_path: Path) -> None:
    # A link that leads to a link: nothing watches the directory of the second one.
    for number in (1, 2):
        (tmp_path / f"{number}/a").mkdir(parents=True)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/second").symlink_to("../1")
    first = tmp_path / "first"
    first.symlink_to("links/second")
    async with watched(first, system=System(tick=0.01)) as hints:
        (tmp_path / "next").symlink_to("../2")
        (tmp_path / "next").rename(tmp_path / "links/second")
        assert await hints.receive() == Lost(REPLACED)
        await is_watched(hints, tmp_path / "2")


async def test_machine_that_was_asleep_is_told(root: Path) -> None:
    slept = [100.0]
    async with watched(root, system=System(tick=0.01, asleep=lambda: slept[0])) as hints:
        slept[0] += 4.0  # the clocks drift
        (root / "a/file").write_text("x")
        assert await directories_until(hints, "a") == {"a"}
        slept[0] += 3_600.0
        assert await hints.receive() == Lost("the machine was asleep")
        (root / "a/file").write_text("y")
        assert await directories_until(hints, "a") == {"a"}


# Links that are followed.


async def test_followed_directory_is_hinted_under_both_paths(root: Path) -> None:
    (root / "link").symlink_to("a")
    async with watched(root, links=True) as hints:
        (root / "a/file").write_text("x")
        assert await directories_until(hints, "a", "link") == {"a", "link"}


async def test_links_that_are_not_followed_are_not_watched(root: Path) -> None:
    (root / "link").symlink_to("a")
    async with watched(root) as hints:
        (root / "a/file").write_text("x")
        assert await all_hints(hints, root, ignored=[""]) == {"a"}


async def test_link_that_leads_elsewhere_now_is_hinted_and_followed(root: Path) -> None:
    for name in ("one", "two", "holder"):
        (root / name).mkdir()
    (root / "holder/link").symlink_to("../one")
    async with watched(root, links=True) as hints:
        (root / "next").symlink_to("../two")
        (root / "next").rename(root / "holder/link")
        await directories_until(hints, "holder", "holder/link")
        (root / "two/file").write_text("x")
        await directories_until(hints, "two", "holder/link")


async def test_directory_that_a_link_leads_to_is_replaced(root: Path) -> None:
    for name in ("one", "new", "holder"):
        (root / name).mkdir()
    (root / "holder/link").symlink_to("../one")
    async with watched(root, links=True) as hints:
        (root / "one").rename(root / "old")
        (root / "new").rename(root / "one")
        await directories_until(hints, "holder")
        await all_hints(hints, root)
        (root / "one/file").write_text("x")
        await directories_until(hints, "one", "holder/link")


async def test_file_that_a_link_leads_to_hints_the_directory_of_the_link(root: Path) -> None:
    (root / "holder").mkdir()
    (root / "a/real").write_text("x")
    (root / "holder/link").symlink_to("../a/real")
    async with watched(root, links=True) as hints:
        (root / "a/real").write_text("y")
        await directories_until(hints, "a", "holder")


async def test_link_to_nothing_is_hinted_when_its_target_appears(root: Path) -> None:
    (root / "holder").mkdir()
    (root / "holder/link").symlink_to("../a/later")
    async with watched(root, links=True) as hints:
        (root / "a/later").mkdir()
        await directories_until(hints, "a/later", "holder/link")
        (root / "a/later/file").write_text("x")
        await directories_until(hints, "holder/link")


async def test_links_in_a_circle_are_watched_once(root: Path) -> None:
    (root / "a/up").symlink_to("..")
    async with watched(root, links=True) as hints:
        assert hints.directories == 2


# Mounts: what /proc/self/mountinfo tells.


def mount_line(number: int, path: str, kind: str = "ext4") -> str:
    return f"{number} 1 8:{number} / {path} rw shared:7 - {kind} /dev/sda rw\n"


def test_mounts_below_the_root_are_found(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    lines = (
        mount_line(1, "/"),
        mount_line(2, "/srv/my\\040site/\\303\\274"),
        mount_line(3, "/srv/my\\040sites", "nfs"),
    )
    table.write_text("".join(lines))
    with Mounts("/srv/my site", table) as mounts:
        assert mounts.found == {Mount(b"2", b"8:2", "/srv/my site/ü".encode(), b"ext4")}
        assert mounts.silent() == {}
        assert not mounts.have_changed()


async def test_network_drive_in_the_source_is_polled_beside_inotify(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(mount_line(1, f"{root}/a", "nfs4") + mount_line(2, f"{root}/left-out", "fuse.sshfs"))
    async with watched(root, Selection(exclude=["left-out/"]), system=System(mount_table=table)) as hints:
        assert (hints.how, hints.why) == (
            "inotify",
            "a is on NFS: polled, as changes by other machines are not reported",
        )
        assert await hints.receive() == Lost("polling has only just begun")


def test_system_without_a_table_of_mounts_has_none(tmp_path: Path) -> None:
    with Mounts("/srv", tmp_path / "nothing") as mounts:
        assert not mounts.have_changed()


async def test_mounts_in_and_over_the_source_are_told_and_watched(root: Path) -> None:
    """In a namespace of its own, as root or as a user who is root there."""
    namespace = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
    program = [sys.executable, "-m", "tests.endpoints.local.watching.mounting", str(root)]
    ran = await trio.run_process(
        [*namespace, *program], capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
    )
    if ran.stderr.startswith(b"unshare:"):
        pytest.skip("namespaces cannot be made here")
    mounted = "a file system was mounted or unmounted in the source"
    said = [mounted, "hinted", mounted, "hinted", REPLACED, "hinted", REPLACED, "hinted"]
    assert (ran.stdout.decode().splitlines(), ran.stderr.decode()) == (said, "")
