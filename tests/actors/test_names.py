"""Names that a target takes for one: nothing that the source has is lost, whatever its names are called meanwhile."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import attrs
import pytest

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import File
from actorsync.errors import OperationRefused
from actorsync.model.operation import Done, Remove
from actorsync.planning.name_folding import loosest_key
from tests.support.world.folding import FoldingStory, simulate_folding
from tests.support.world.memory_mirror import LANES, ONE, Mirror

KEEPING = attrs.evolve(ONE, delete=False)


def folding(fold: Callable[[str], str] = loosest_key) -> Mirror:
    return Mirror(target=MemoryEndpoint("target", inodes=False, lanes=LANES, fold=fold))


def check_same(mirror: Mirror) -> None:
    assert mirror.target.files() == mirror.source.files()
    assert mirror.target.directories() == mirror.source.directories()
    mirror.check_nothing_left()


@pytest.mark.parametrize("delete", [True, False])
async def test_directory_with_another_case_is_renamed_with_its_contents(delete: bool) -> None:
    policy = ONE if delete else KEEPING
    mirror = folding()
    for path in ("Img/1.jpg", "Img/2.jpg", "Img/deep/3.jpg", "index.html"):
        mirror.source.write(path, path.encode())
    assert (await mirror.run(policy=policy)).exit_code == 0
    mirror.source.rename("Img", "img")
    report = await mirror.run(policy=policy)
    assert (report.exit_code, report.copied, report.removed, report.moved) == (0, 0, 0, 1)
    check_same(mirror)
    commands = len(mirror.target.log)
    assert (await mirror.run(policy=policy)).exit_code == 0
    assert mirror.target.log[commands:] == []


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "Über/é.txt"), unicodedata.normalize("NFD", "über/é.txt")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("logo.PNG", "logo.png"),
        ("A/Img", "a/img"),
        (COMPOSED, DECOMPOSED),
        ("dots./f", "dots/f"),
        ("dir/name ", "dir/name"),
    ],
)
async def test_file_with_another_spelling_at_any_level_is_renamed(old: str, new: str) -> None:
    mirror = folding()
    mirror.source.write(old, b"content")
    mirror.source.write("other", b"o")
    assert (await mirror.run()).exit_code == 0
    rename_at_every_level(mirror.source, old, new)
    report = await mirror.run()
    assert (report.exit_code, report.copied, report.removed) == (0, 0, 0)
    check_same(mirror)


def rename_at_every_level(source: MemoryEndpoint, old: str, new: str) -> None:
    ours, theirs = old.split("/"), new.split("/")
    for depth in range(1, len(ours) + 1):
        here, there = "/".join((*theirs[: depth - 1], ours[depth - 1])), "/".join(theirs[:depth])
        if here != there:
            source.rename(here, there)


async def test_renamed_and_rewritten_file_is_sent_under_its_new_spelling() -> None:
    mirror = folding()
    mirror.source.write("README", b"old")
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("README")
    mirror.source.write("readme", b"new content")
    report = await mirror.run()
    assert (report.exit_code, report.copied, report.removed, report.moved) == (0, 1, 0, 1)
    check_same(mirror)


@pytest.mark.parametrize("delete", [True, False])
async def test_target_that_tells_names_apart_gets_both(delete: bool) -> None:
    mirror = Mirror()
    for path in ("Img/1.jpg", "README"):
        mirror.source.write(path, path.encode())
    policy = ONE if delete else KEEPING
    assert (await mirror.run(policy=policy)).exit_code == 0
    mirror.source.rename("Img", "img")
    mirror.source.rename("README", "readme")
    assert (await mirror.run(policy=policy)).exit_code == 0
    there = mirror.target.files()
    assert {path: there[path] for path in mirror.source.files()} == mirror.source.files()
    assert (there == mirror.source.files()) is delete


async def test_directory_that_becomes_a_file_of_another_spelling_is_replaced() -> None:
    mirror = folding()
    mirror.source.write("Docs/a", b"a")
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("Docs")
    mirror.source.write("docs", b"now a file")
    assert (await mirror.run()).exit_code == 0
    check_same(mirror)
    mirror.source.delete("docs")
    mirror.source.write("DOCS/b", b"b")
    assert (await mirror.run()).exit_code == 0
    check_same(mirror)


async def test_second_directory_of_one_name_is_refused_with_its_contents() -> None:
    mirror = folding()
    mirror.source.write("Img/a", b"first")
    assert (await mirror.run()).exit_code == 0
    for path in ("img/b", "img/deep/c", "IMG/a"):
        mirror.source.write(path, b"second")
    for _ in range(2):
        report = await mirror.run()
        assert report.exit_code == 1
        assert mirror.target.files() == {"Img/a": b"first"}
        reasons = dict(report.failures)
        assert reasons["img"].startswith("'Img' is in its place: the target takes both names for one")
        assert mirror.target.directories() == {"Img"}
    mirror.source.delete("img")
    mirror.source.delete("IMG")
    assert (await mirror.run()).exit_code == 0
    check_same(mirror)


async def test_one_of_two_directories_that_shared_a_name_may_go() -> None:
    """A journal of an older version, or of another target, has both names. The one that stays has what is there."""
    mirror = Mirror()
    for path in ("Img/1", "img/1", "img/2", "IMG"):
        mirror.source.write(path, b"%d" % len(path))
    assert (await mirror.run()).exit_code == 0
    old, mirror.target = mirror.target, MemoryEndpoint("target", inodes=False, lanes=LANES, fold=str.casefold)
    for path in ("img/1", "img/2"):
        node = old.find(path)
        assert isinstance(node, File)
        mirror.target.write(path, old.files()[path], node.mtime_ns)
    mirror.source.delete("Img")
    mirror.source.delete("IMG")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    assert not [it for it in mirror.seen(Done) if isinstance(it.operation, Remove)]
    assert (await mirror.run()).exit_code == 0
    mirror.source.delete("img/2")
    assert (await mirror.run()).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_new_spelling_is_left_to_the_next_run_when_it_is_refused() -> None:
    mirror = folding()
    mirror.source.write("Img/1", b"1")
    mirror.source.write("gone", b"g")
    assert (await mirror.run()).exit_code == 0
    mirror.source.rename("Img", "img")
    mirror.source.delete("gone")
    mirror.target.trouble["img"] = OperationRefused("no")
    report = await mirror.run()
    assert report.exit_code == 1
    assert mirror.target.files() == {"Img/1": b"1", "gone": b"g"}, "nothing is removed beside what failed"
    mirror.target.trouble.clear()
    assert (await mirror.run()).exit_code == 0
    check_same(mirror)


@pytest.mark.parametrize("seeds", [range(start, start + 15) for start in (0, 15)], ids=str)
def test_spellings_that_change_between_faults_and_crashes_end_in_an_equal_mirror(seeds: range) -> None:
    for seed in seeds:
        simulate_folding(FoldingStory(seed))


def test_names_that_the_target_takes_for_one_never_cost_what_the_source_has() -> None:
    for seed in range(20):
        simulate_folding(FoldingStory(seed, may_clash=True))


def test_spellings_that_change_on_a_target_that_tells_them_apart_are_names_like_others() -> None:
    for seed in range(20):
        simulate_folding(FoldingStory(seed, may_clash=True, fold=None))
