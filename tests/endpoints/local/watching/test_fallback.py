"""Watching where inotify is not the way: no watches left, a network drive, another system."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.hints import Lost
from actorsync.endpoints.local.watching.kernel import Inotify
from actorsync.endpoints.local.watching.local_hints import System
from tests.endpoints.local.watching.hinted import directories_until, reason_of, watched
from tests.support.root import ROOT

FIRST_LOOK = Lost("polling has only just begun")
NO_WATCHES = "this user has no inotify watches left; raise fs.inotify.max_user_watches with sysctl"
NO_INSTANCES = "this user has no inotify instances left; raise fs.inotify.max_user_instances with sysctl"


def refusing(number: int) -> Inotify:
    """Fail as inotify_init1 does."""
    raise OSError(number, os.strerror(number))


async def test_tree_with_more_directories_than_watches_is_polled(tmp_path: Path) -> None:
    """In a user namespace, as its limit of watches can be lowered."""
    for name in ("grows", *(f"big/{number}" for number in range(100))):
        (tmp_path / name).mkdir(parents=True)
    program = [sys.executable, "-m", "tests.endpoints.local.watching.limited", str(tmp_path), "50"]
    namespace = ["unshare", "--user", "--map-root-user"]
    ran = await trio.run_process(
        [*namespace, *program], capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT
    )
    if ran.stderr.startswith(b"unshare:"):
        pytest.skip("namespaces cannot be made here")
    assert (ran.stdout.decode().splitlines(), ran.stderr.decode()) == (
        [
            "big polling",
            f"big polling {NO_WATCHES}",
            "grows inotify",
            f"grows {NO_WATCHES}",
            f"grows polling {NO_WATCHES}",
        ],
        "",
    )


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.EMFILE, NO_INSTANCES), (errno.ENOSYS, "inotify cannot be used: Function not implemented")],
)
async def test_system_without_an_instance_of_inotify_is_polled(tmp_path: Path, number: int, why: str) -> None:
    async with watched(tmp_path, system=System(inotify=lambda: refusing(number))) as hints:
        assert (hints.how, hints.why) == ("polling", why)
        assert await hints.receive() == FIRST_LOOK


class WatchingNothing(Inotify):
    """An instance that may not watch, as a security module may have it."""

    def add(self, path: str, mask: int) -> int:
        """Refuse."""
        raise PermissionError(errno.EACCES, f"{path}: {mask}")


async def test_root_that_can_be_read_and_not_watched_is_polled(tmp_path: Path) -> None:
    async with watched(tmp_path, system=System(inotify=WatchingNothing)) as hints:
        assert (hints.how, hints.why) == ("polling", "inotify cannot be used: Permission denied")
        assert await hints.receive() == FIRST_LOOK


async def test_network_drive_is_polled(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / name).mkdir()
    async with watched(tmp_path, system=System(filesystem_of=lambda _: 0x6969)) as hints:
        assert await hints.receive() == FIRST_LOOK
        assert (hints.how, hints.directories) == ("polling", 2)
        assert hints.why == "the source is on NFS, which does not report what other machines change"
        (tmp_path / name / "file").write_text("x")
        assert await directories_until(hints, name) == {name}


async def test_system_without_inotify_and_watchfiles_is_polled(tmp_path: Path) -> None:
    async with watched(tmp_path, system=System(platform="darwin", has_watchfiles=lambda: False)) as hints:
        assert (hints.how, hints.why) == (
            "polling",
            'the package watchfiles is not installed; install "actorsync[watch]"',
        )


# The real package watchfiles, on Linux.

ELSEWHERE = System(platform="darwin", has_watchfiles=lambda: True)


async def test_watchfiles_hints_what_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    async with watched(tmp_path, system=ELSEWHERE) as hints:
        assert (hints.how, hints.why) == ("watchfiles", "")
        (tmp_path / "a/b/file").write_text("x")
        assert await directories_until(hints, "a/b") == {"a/b"}


async def test_watchfiles_hints_all_levels_of_a_new_directory(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "below/deep").mkdir(parents=True)
    async with watched(root, system=ELSEWHERE) as hints:
        outside.rename(root / "in")
        await directories_until(hints, "", "in", "in/below", "in/below/deep")


async def test_watchfiles_that_stops_at_a_name_gives_way_to_polling(tmp_path: Path) -> None:
    async with watched(tmp_path, system=ELSEWHERE) as hints:
        os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
        assert (await reason_of(hints)).startswith("watchfiles has stopped")
        assert hints.how == "polling"
        assert await hints.receive() == FIRST_LOOK
        assert hints.directories == 2


async def test_replaced_root_is_watched_by_watchfiles_again(tmp_path: Path) -> None:
    root, new = tmp_path / "root", tmp_path / "new"
    for path in (root, new):
        (path / "a").mkdir(parents=True)
    fast = System(platform="darwin", has_watchfiles=lambda: True, tick=0.01)
    async with watched(root, system=fast) as hints:
        root.rename(tmp_path / "old")
        new.rename(root)
        while await reason_of(hints) != "the source is another directory now":
            pass
        (root / "a/file").write_text("x")
        await directories_until(hints, "a")
