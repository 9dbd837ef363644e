"""Which way a directory is watched, and how often a source is looked at that tells nothing."""

from __future__ import annotations

import errno
import os

import pytest

from actorsync.planning.watching.pace import LONGEST_REST, rest_after_failures, rest_after_round
from actorsync.planning.watching.ways import Choice, choose, without_inotify

EXT4, OVERLAY, TMPFS = 0xEF53, 0x794C7630, 0x01021994
NFS, CIFS, FUSE, NINE_P, CEPH = 0x6969, 0xFF534D42, 0x65735546, 0x01021997, 0x00C36400


@pytest.mark.parametrize("filesystem", [EXT4, OVERLAY, TMPFS, 0])
def test_directory_on_linux_is_watched_by_inotify(filesystem: int) -> None:
    assert choose("linux", filesystem, has_watchfiles=True) == Choice("inotify")


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_other_systems_use_watchfiles_or_poll(platform: str) -> None:
    assert choose(platform, 0, has_watchfiles=True) == Choice("watchfiles")
    assert choose(platform, 0, has_watchfiles=False) == Choice(
        "polling", 'the package watchfiles is not installed; install "actorsync[watch]"'
    )


@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize(
    ("filesystem", "name"), [(NFS, "NFS"), (CIFS, "SMB"), (FUSE, "FUSE"), (NINE_P, "9p"), (CEPH, "Ceph")]
)
def test_file_system_that_others_change_is_polled(platform: str, filesystem: int, name: str) -> None:
    choice = choose(platform, filesystem, has_watchfiles=True)
    assert choice == Choice("polling", f"the source is on {name}, which does not report what other machines change")


@pytest.mark.parametrize(
    ("number", "what_to_do"),
    [(errno.ENOSPC, "raise fs.inotify.max_user_watches"), (errno.EMFILE, "raise fs.inotify.max_user_instances")],
)
def test_limit_of_inotify_says_what_to_raise(number: int, what_to_do: str) -> None:
    choice = without_inotify(OSError(number, os.strerror(number)))
    assert choice.way == "polling"
    assert what_to_do in choice.why


def test_other_error_of_inotify_is_named() -> None:
    assert without_inotify(OSError(errno.EPERM, "x")).why == "inotify cannot be used: Operation not permitted"
    assert without_inotify(OSError("no number")).why == "inotify cannot be used: no number"


@pytest.mark.parametrize(
    ("seconds", "is_remote", "rest"),
    [(0.0, False, 2.0), (1.0, False, 19.0), (0.0, True, 30.0), (100.0, True, 300.0), (1e9, True, LONGEST_REST)],
)
def test_rest_grows_with_the_cost_of_a_round(seconds: float, is_remote: bool, rest: float) -> None:
    assert rest_after_round(seconds, is_remote=is_remote) == rest


def test_rest_doubles_after_failures_up_to_a_limit() -> None:
    assert [rest_after_failures(count, is_remote=True) for count in (1, 2, 3)] == [30, 60, 120]
    assert rest_after_failures(10_000, is_remote=True) == rest_after_failures(7, is_remote=True) <= LONGEST_REST
