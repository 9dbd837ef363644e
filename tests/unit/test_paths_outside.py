"""Paths that lead out of the root: one directory beside it may be used, and nothing else."""

from __future__ import annotations

import errno

import pytest

from actorsync.endpoints.local.openat import reason_of
from actorsync.endpoints.shared.paths import below, is_above, why_not_inside
from actorsync.endpoints.shared.symlink_guard import SymlinkGuard, above

TRASH = "../.trash"


@pytest.mark.parametrize("path", ["", "d", "d/..e", "..e", TRASH, "../.trash/run/d", ".."])
def test_path_below_the_root_or_in_the_directory_beside_it_may_be_used(path: str) -> None:
    assert why_not_inside(path, TRASH, "/home/site") is None


@pytest.mark.parametrize(
    "path",
    ["../out", "../../.trash", "../.trash/../x", "../.trash/..", "d/../.trash", "/x", "d//x", "../.trash/", "./x"],
)
def test_other_path_that_leads_out_is_refused(path: str) -> None:
    assert why_not_inside(path, TRASH, "/home/site") is not None


def test_no_path_leads_out_where_no_directory_is_given() -> None:
    assert why_not_inside(TRASH, "", "/home/site") is not None
    assert why_not_inside("..", "", "/home/site") is not None


@pytest.mark.parametrize(("outside", "root"), [(TRASH, ""), (TRASH, "/"), ("../../.trash", "/site")])
def test_root_with_no_directory_above_it_is_named_as_the_reason(outside: str, root: str) -> None:
    assert "the root has no directory above it" in (why_not_inside(outside, outside, root) or "")


@pytest.mark.parametrize(
    ("root", "path", "absolute"),
    [
        ("/home/site", "d/x", "/home/site/d/x"),
        ("/home/site", "", "/home/site"),
        ("", "", "/"),
        ("", "x", "/x"),
        ("/home/site", "../.trash/x", "/home/.trash/x"),
        ("/site", "../.trash", "/.trash"),
        ("/site", "..", "/"),
        ("/a/b/c", "../../t", "/a/t"),
        ("bucket/site", "../.trash", "bucket/.trash"),
    ],
)
def test_path_beside_the_root_is_resolved_by_its_names(root: str, path: str, absolute: str) -> None:
    assert below(root, path) == absolute


def test_directories_above_the_root_may_be_links_and_are_not_checked() -> None:
    assert above("../.trash/run") == ["../.trash", "../.trash/run"]
    assert above("..") == []
    assert SymlinkGuard().unknown(["..", "", "../.trash", "d"]) == ["../.trash", "d"]
    assert [is_above(path) for path in ("", "..", "../..", "..x", "../x")] == [True, True, True, False, False]


def test_other_file_system_is_named_with_what_to_do() -> None:
    assert "choose a directory on the same one" in reason_of(OSError(errno.EXDEV, "Invalid cross-device link"))
