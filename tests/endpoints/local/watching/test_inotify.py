"""Hints from a real inotify: which directories are hinted for what happens in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actorsync.planning.selection import Selection
from tests.endpoints.local.watching.hinted import all_hints, directories_until, reason_of, watched
from tests.support.editors import SAVES, build_anew, git_checkout


async def test_tree_is_watched_by_inotify(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    async with watched(tmp_path) as hints:
        assert (hints.how, hints.directories, hints.why) == ("inotify", 3, "")


@pytest.mark.parametrize("name", [b"\xff\xfe", "ü".encode(), b" ", b"line\nfeed", b"-" * 255, b"\\040"])
async def test_names_of_any_bytes_are_hinted(tmp_path: Path, name: bytes) -> None:
    directory = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(directory)
    async with watched(tmp_path) as hints:
        os.mkdir(directory + b"/new")
        below = os.fsdecode(name)
        assert await directories_until(hints, f"{below}/new") == {below, f"{below}/new"}


async def test_path_longer_than_a_call_takes_is_hinted(tmp_path: Path) -> None:
    at, names = os.open(tmp_path, os.O_RDONLY), []
    try:
        for number in range(20):
            name = f"{number:02}" + "x" * 248
            os.mkdir(name, dir_fd=at)
            below = os.open(name, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
            names.append(name)
        async with watched(tmp_path) as hints:
            assert hints.directories == 21
            os.mkdir("new", dir_fd=at)
            await directories_until(hints, "/".join([*names, "new"]))
    finally:
        os.close(at)


async def test_files_made_with_a_deep_new_directory_are_hinted(tmp_path: Path) -> None:
    async with watched(tmp_path) as hints:
        for number in range(20):
            deep = tmp_path / f"{number}/b/c/d"
            deep.mkdir(parents=True)
            (deep / "file").write_text("at once")
        expected = {path for number in range(20) for path in (f"{number}", f"{number}/b", f"{number}/b/c/d")}
        await directories_until(hints, "", *expected)
        (tmp_path / "7/b/c/d/later").write_text("watched by now")
        assert await all_hints(hints, tmp_path, ignored=["", *_with_all(expected)]) == set()


async def test_later_file_in_a_new_directory_is_hinted(tmp_path: Path) -> None:
    async with watched(tmp_path) as hints:
        (tmp_path / "a/b").mkdir(parents=True)
        await directories_until(hints, "a/b")
        await all_hints(hints, tmp_path)
        (tmp_path / "a/b/file").write_text("later")
        assert await directories_until(hints, "a/b") - {""} == {"a/b"}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "changed"])
async def test_saving_hints_only_the_directory_of_the_file(tmp_path: Path, save: object, is_new: bool) -> None:
    assert callable(save)
    (tmp_path / "a/b").mkdir(parents=True)
    if not is_new:
        (tmp_path / "a/b/page.html").write_text("old")
    async with watched(tmp_path) as hints:
        save(tmp_path / "a/b", "page.html", "new")
        assert await all_hints(hints, tmp_path, ignored=[""]) == {"a/b"}


async def test_checkout_hints_what_it_touches(tmp_path: Path) -> None:
    git_checkout(tmp_path, {"a/one": "1", "b/two": "2", "c/d/three": "3"})
    (tmp_path / "still").mkdir()
    async with watched(tmp_path) as hints:
        git_checkout(tmp_path, {"a/one": "1", "e/f/four": "4"})
        found = await all_hints(hints, tmp_path)
        assert found >= {"", "a", "e", "e/f"}
        assert "still" not in found


async def test_build_that_empties_its_output_is_hinted_and_watched_again(tmp_path: Path) -> None:
    files = {"index.html": "1", "css/site.css": "2"}
    (tmp_path / "out").mkdir()
    build_anew(tmp_path / "out", files)
    async with watched(tmp_path) as hints:
        for _ in range(3):
            build_anew(tmp_path / "out", files)
            assert await all_hints(hints, tmp_path) >= {"", "out", "out/css"}
        (tmp_path / "out/css/more.css").write_text("3")
        assert await directories_until(hints, "out/css") - {""} == {"out/css"}


async def test_renamed_tree_dirties_both_parents_and_is_watched_under_its_new_name(tmp_path: Path) -> None:
    (tmp_path / "from/tree/below").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    async with watched(tmp_path) as hints:
        (tmp_path / "from/tree").rename(tmp_path / "to/new")
        assert await all_hints(hints, tmp_path, ignored=[""]) >= {"from", "to"}
        (tmp_path / "to/new/below/file").write_text("x")
        assert await all_hints(hints, tmp_path, ignored=[""]) == {"to/new/below"}
        assert hints.directories == 5


async def test_swapped_directories_are_watched_under_their_new_names(tmp_path: Path) -> None:
    for name in ("one/first", "two/second"):
        (tmp_path / name).mkdir(parents=True)
    async with watched(tmp_path) as hints:
        (tmp_path / "one").rename(tmp_path / "three")
        (tmp_path / "two").rename(tmp_path / "one")
        (tmp_path / "three").rename(tmp_path / "two")
        await all_hints(hints, tmp_path)
        (tmp_path / "one/second/file").write_text("x")
        (tmp_path / "two/first/file").write_text("x")
        assert await all_hints(hints, tmp_path, ignored=[""]) == {"one/second", "two/first"}


async def test_tree_moved_out_is_not_watched_any_more(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "a/tree/below").mkdir(parents=True)
    async with watched(root) as hints:
        (root / "a/tree").rename(outside)
        assert await all_hints(hints, root, ignored=[""]) == {"a"}
        (outside / "below/file").write_text("x")
        assert await all_hints(hints, root, ignored=[""]) == set()
        assert hints.directories == 2


async def test_tree_moved_in_is_hinted_at_all_levels(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "below").mkdir(parents=True)
    async with watched(root) as hints:
        outside.rename(root / "in")
        await directories_until(hints, "", "in", "in/below")
        (root / "in/below/file").write_text("x")
        assert await all_hints(hints, root, ignored=[""]) >= {"in/below"}


async def test_mode_and_time_alone_are_hinted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    async with watched(tmp_path) as hints:
        (tmp_path / "a/file").chmod(0o600)
        assert await all_hints(hints, tmp_path, ignored=[""]) == {"a"}
        os.utime(tmp_path / "a/file", (1, 1))
        assert await all_hints(hints, tmp_path, ignored=[""]) == {"a"}
        (tmp_path / "a").chmod(0o700)
        assert "" in await directories_until(hints, "")


async def test_file_that_stays_open_is_hinted(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = os.open(tmp_path / "logs/site.log", os.O_WRONLY | os.O_CREAT)
    try:
        async with watched(tmp_path) as hints:
            os.write(log, b"a line")
            assert await directories_until(hints, "logs") == {"logs"}
    finally:
        os.close(log)


async def test_reading_makes_no_hint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    async with watched(tmp_path) as hints:
        assert (tmp_path / "a/file").read_text() == "x"
        assert [it.name for it in (tmp_path / "a").iterdir()] == ["file"]
        assert await all_hints(hints, tmp_path, ignored=[""]) == set()


async def test_what_is_excluded_or_private_makes_no_hint(tmp_path: Path) -> None:
    for name in ("node_modules/x", "journals", "kept"):
        (tmp_path / name).mkdir(parents=True)
    selection = Selection(exclude=["node_modules/", "*.tmp"], private=frozenset({"journals", "kept/profile.toml"}))
    async with watched(tmp_path, selection) as hints:
        assert hints.directories == 2
        for name in ("node_modules/x/y", "node_modules/z", "journals/site.sqlite", "kept/a.tmp", "kept/profile.toml"):
            (tmp_path / name).write_text("x")
        assert await all_hints(hints, tmp_path, ignored=[""]) == set()
        (tmp_path / "node_modules").rename(tmp_path / "modules")
        await directories_until(hints, "modules/x")


async def test_directory_that_becomes_readable_is_watched(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    async with watched(tmp_path) as hints:
        assert hints.directories == 3
        (tmp_path / "a").chmod(0)
        (tmp_path / "a").chmod(0o755)
        await all_hints(hints, tmp_path)
        (tmp_path / "a/b/file").write_text("x")
        await directories_until(hints, "a/b")


async def test_overflow_of_the_queue_is_told_and_what_was_made_is_watched(tmp_path: Path) -> None:
    async with watched(tmp_path) as hints:
        for number in range(
            _queue_length() // 2 + 100
        ):  # nothing reads meanwhile: this task does not let another one run
            path = tmp_path / f"{number}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            path.unlink()
        (tmp_path / "new/below").mkdir(parents=True)
        assert await reason_of(hints) == "more changed at once than the queue of inotify holds"
        await directories_until(hints, "new/below")
        (tmp_path / "new/below/file").write_text("x")
        await directories_until(hints, "new/below")


def _queue_length() -> int:
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def _with_all(paths: set[str]) -> set[str]:
    return {path[:end] for path in paths for end in range(1, len(path) + 1)}
