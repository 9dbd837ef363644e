"""Exact mirrors: ``delete = "everything"`` also removes what actorsync did not put there, under the same guards."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Special
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.errors import FatalError, OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Adopted, RemovalsRefused
from actorsync.model.operation import Done, Failed, Remove
from actorsync.planning.drift import AuditRule
from actorsync.planning.selection import Selection
from actorsync.policy import Allowed
from actorsync.profile.values.units import MaxDelete
from tests.support.hidden_links import HidingLinks
from tests.support.tiers import amount
from tests.support.world.exact import ExactStory
from tests.support.world.memory_mirror import LANES, ONE, Mirror
from tests.support.world.simulation import simulate

EXACT = attrs.evolve(ONE, delete="everything", connections=3)
SEEDS = amount("EXACT_SEEDS", short=60, full=200)
GUARDED = attrs.evolve(EXACT, max_delete=MaxDelete.parse("50%"))


def paths_of(tree: MemoryEndpoint) -> set[str]:
    """Return everything in a tree, links and special files included."""
    return {*tree.files(), *tree.directories()} | set(specials_of(tree))


def specials_of(tree: MemoryEndpoint) -> Iterator[str]:
    for directory in ("", *tree.directories()):
        node = tree.find(directory)
        for name, child in getattr(node, "children", {}).items():
            if isinstance(child, Special):
                yield f"{directory}/{name}" if directory else name


def removed(mirror: Mirror) -> dict[str, bool]:
    """Return what was removed in the last run, each with whether it was foreign."""
    return {
        done.operation.path: done.operation.is_foreign
        for done in mirror.seen(Done)
        if isinstance(done.operation, Remove)
    }


def with_foreign_entries() -> Mirror:
    """Return a mirror whose target holds one entry of each kind that the source does not have."""
    mirror = Mirror()
    mirror.fill(9)
    mirror.source.write("page", b"new")
    mirror.source.mkdir("shared")
    mirror.source.write("was a folder", b"file now")
    mirror.source.write("was a file/x", b"in a folder now")
    mirror.source.write("was a link/x", b"in a folder now")
    target = mirror.target
    target.write("stray", b"theirs")
    target.write("page", b"an older page")
    target.write("shared/stray", b"theirs")
    target.write("old/deep/er/stray", b"theirs")
    target.mkdir("old/empty")
    target.write("was a folder/x", b"theirs")
    target.write("was a file", b"theirs")
    target.put_special("was a link", Kind.LINK)
    target.put_special("link", Kind.LINK)
    target.put_special("old/deep/socket", Kind.OTHER)
    return mirror


async def test_exact_mirror_leaves_only_what_the_source_has(autojump_clock: MockClock) -> None:
    mirror = with_foreign_entries()
    report = await mirror.run(policy=EXACT)
    assert report.exit_code == 0, report
    assert paths_of(mirror.target) == paths_of(mirror.source)
    assert mirror.target.files() == mirror.source.files()
    assert set(removed(mirror).values()) == {True}
    assert report.removed == len(removed(mirror)) == 13
    mirror.target.log.clear()
    report = await mirror.run(policy=EXACT)
    assert (report.exit_code, report.removed, mirror.target.log) == (0, 0, [])


@pytest.mark.parametrize("delete", [True, False])
async def test_other_rules_remove_nothing_foreign(autojump_clock: MockClock, delete: bool) -> None:
    mirror = with_foreign_entries()
    foreign = paths_of(mirror.target)
    for _ in range(3):
        await mirror.run(policy=attrs.evolve(EXACT, delete=delete))
        assert paths_of(mirror.target) >= foreign


async def test_key_turned_on_later_finds_what_others_have_added_meanwhile(autojump_clock: MockClock) -> None:
    """The journal of another rule knows foreign entries as of its survey, and without links."""
    mirror = Mirror()
    mirror.fill(9)
    mirror.target.write("d/theirs", b"known")
    assert (await mirror.run()).exit_code == 0
    mirror.target.write("later/x", b"unknown")
    mirror.target.write("d/later", b"unknown")
    mirror.target.put_special("d/link", Kind.LINK)
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert paths_of(mirror.target) == paths_of(mirror.source)
    # And once more, after a time under another rule.
    assert (await mirror.run()).exit_code == 0
    mirror.target.write("again/x", b"unknown")
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert paths_of(mirror.target) == paths_of(mirror.source)


async def test_foreign_entries_stay_in_directories_that_may_be_links(autojump_clock: MockClock) -> None:
    """What actorsync put there goes, and so does what lies in the root. The rest goes if the user knows of no links."""
    mirror = Mirror()
    mirror.fill(9)
    for path in ("ours", "d/ours", "e/ours"):
        mirror.source.write(path, b"ours")
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    for path in ("ours", "d/ours", "e/ours"):
        mirror.source.delete(path)
    mirror.source.delete("e")
    for path in ("theirs", "d/theirs", "theirs too/x"):
        mirror.target.write(path, b"theirs")
    target = HidingLinks(mirror.target, is_asked=True)
    anew = attrs.evolve(EXACT, audit=AuditRule(50, mends=True))
    for _ in range(2):
        report = await mirror.run(policy=anew, target=target)
        assert report.exit_code == 1
        reasons = {it.operation.path: it.reason for it in mirror.seen(Failed)}
        assert [path for path, reason in sorted(reasons.items()) if "set sync.no-links = true" in reason] == [
            "d/theirs",
            "theirs too/x",
        ]
        assert reasons["theirs too"] == "it still holds 'theirs too/x'"
        expected = {"d/theirs", "theirs too", "theirs too/x"}
        assert paths_of(mirror.target) - paths_of(mirror.source) == expected
    assert (await mirror.run(policy=attrs.evolve(anew, allowed=Allowed(no_links=True)), target=target)).exit_code == 0
    assert paths_of(mirror.target) == paths_of(mirror.source)


async def test_excluded_entries_stay_with_the_directories_that_hold_them(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)
    for path in ("uploads/photo", "old/keep.log", "old/page", "d/x.log", "a/b/.git/config", "deep/er/still/x"):
        mirror.target.write(path, b"theirs")
    selection = Selection(exclude=["/uploads/", "*.log", "/deep/er/"], keeps_git_back=True)
    report = await mirror.run(policy=attrs.evolve(EXACT, selection=selection))
    assert report.exit_code == 0
    assert set(removed(mirror)) == {"old/page"}
    assert mirror.target.files().keys() - mirror.source.files().keys() == {
        "uploads/photo",
        "old/keep.log",
        "d/x.log",
        "a/b/.git/config",
        "deep/er/still/x",
    }


async def test_what_the_source_hides_stays_on_the_target(autojump_clock: MockClock) -> None:
    """A link in the source is skipped: what the target has under its name may be what the link leads to."""
    mirror = Mirror()
    mirror.fill(3)
    mirror.source.put_special("current", Kind.LINK)
    mirror.target.write("current/page", b"theirs")
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert "current/page" in mirror.target.files()


async def test_files_of_actorsync_itself_stay(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)
    own = {
        "d/.actorsync-0123456789abcdef.tmp",
        "d/.actorsync+0123456789abcdef.tmp",
        "try.actorsync-0123456789abcdef",
        "  .actorsync-0123456789abcdef-é",
        ".local/state/actorsync/0123456789abcdef.journal",
        "elsewhere/0123456789abcdef.journal",
        "elsewhere/0123456789abcdef.journal-wal",
        "elsewhere/0123456789abcdef.journal.lock",
        "conf/profile.toml",
        "keys/id",
    }
    for path in own:
        mirror.target.write(path, b"of another run")
    policy = attrs.evolve(EXACT, protected=frozenset({"conf/profile.toml", "keys"}))
    assert (await mirror.run(policy=policy)).exit_code == 0
    assert mirror.target.files().keys() - mirror.source.files().keys() == own


async def test_foreign_target_is_not_wiped_by_the_first_run(autojump_clock: MockClock) -> None:
    """The path in the profile may be that of another site: all new files do not make its removal a smaller part."""
    mirror = Mirror()
    mirror.fill(500)
    for number in range(20):
        mirror.target.write(f"site/{number}", b"theirs")
    before = mirror.target.files().keys()
    report = await mirror.run(policy=GUARDED)
    (refused,) = mirror.seen(RemovalsRefused)
    assert (report.exit_code, refused.removals) == (4, 21)
    assert refused.reason == (
        "21 of 21 entries on the target would be removed, 21 of them not put there by actorsync, more than max-delete "
        "allows (10): nothing removed; see them with actorsync plan; if this is intended, run once with "
        "--set sync.max-delete=100%"
    )
    assert mirror.target.files().keys() == before | mirror.source.files().keys()
    assert (await mirror.run(policy=GUARDED)).exit_code == 0, "the target has 501 entries of ours by now"


async def test_foreign_entries_do_not_widen_what_may_be_removed_of_ours(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(20)
    for number in range(200):
        mirror.source.write(f"both/{number}", b"x", 10**18)
        mirror.target.write(f"both/{number}", b"x", 10**18)
    assert (await mirror.run(policy=GUARDED)).exit_code == 0
    for number in range(15):
        mirror.source.delete(f"d/{number}")
    for number in range(120):
        mirror.source.delete(f"both/{number}")
    report = await mirror.run(policy=GUARDED)
    assert (report.exit_code, report.removed) == (4, 0)


@pytest.mark.parametrize("at_first", [True, False])
async def test_empty_source_removes_nothing(autojump_clock: MockClock, at_first: bool) -> None:
    mirror = Mirror()
    if not at_first:
        mirror.fill(4)
        assert (await mirror.run(policy=GUARDED)).exit_code == 0
        mirror.source.delete("d")
    mirror.target.write("x", b"theirs")
    mirror.target.write("y", b"theirs")
    report = await mirror.run(policy=attrs.evolve(GUARDED, max_delete=MaxDelete.parse("99%")))
    assert (report.exit_code, report.removed) == (4, 0)
    assert report.refused is not None
    assert report.refused.startswith("the source is empty")


async def test_source_on_another_device_removes_nothing_foreign(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(9)
    assert (await mirror.run()).exit_code == 0
    mirror.target.write("stray", b"theirs")
    mirror.source.device = 2
    report = await mirror.run(policy=GUARDED)
    assert (report.exit_code, report.removed) == (4, 0)


async def test_unlisted_directory_keeps_everything_below_and_fails_the_run(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=_Closed("target", inodes=False, lanes=LANES))
    mirror.fill(9)
    mirror.target.write("old/closed/x", b"theirs")
    mirror.target.write("old/open/x", b"theirs")
    mirror.target.write("uploads/closed/x", b"theirs")
    policy = attrs.evolve(EXACT, selection=Selection(exclude=["/uploads/"]))
    report = await mirror.run(policy=policy)
    assert report.exit_code == 1
    assert [path for path, _ in report.failures] == ["old/closed"], "what is excluded need not be listed"
    assert set(removed(mirror)) == {"old/open/x", "old/open"}
    assert isinstance(mirror.target, _Closed)
    mirror.target.is_open = True
    assert (await mirror.run(policy=policy)).exit_code == 0
    assert mirror.target.directories() == {"d", "uploads", "uploads/closed"}


async def test_failed_file_keeps_foreign_entries_beside_it_and_like_it(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(5)
    mirror.source.write("new/page", b"twelve bytes")
    mirror.target.mkdir("new")
    mirror.target.write("new/old page", b"another version")
    mirror.target.write("archive/page", b"twelve bytes")
    mirror.target.write("archive/other", b"another size, and far away")
    mirror.target.trouble = {"new/page": OperationRefused("no")}
    report = await mirror.run(policy=EXACT)
    assert (report.exit_code, report.withheld) == (1, 3)
    assert removed(mirror) == {"archive/other": True}
    mirror.target.trouble = {}
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert paths_of(mirror.target) == paths_of(mirror.source)


@pytest.mark.parametrize("is_ours", [True, False])
async def test_directory_with_new_foreign_content_is_removed_by_the_next_run(
    autojump_clock: MockClock, is_ours: bool
) -> None:
    """The run that finds it says so, and is not "in sync"."""
    mirror = Mirror()
    mirror.fill(9)
    if is_ours:
        mirror.source.write("old/ours", b"x")
    else:
        mirror.target.write("old/theirs", b"x")
        mirror.target.trouble = {"old/theirs": OperationRefused("busy")}
    await mirror.run(policy=EXACT)
    mirror.target.trouble = {}
    if is_ours:
        mirror.source.delete("old")
    mirror.target.write("old/later/deep/x", b"unknown")
    report = await mirror.run(policy=EXACT)
    assert report.exit_code == 1
    ((path, reason),) = report.failures
    assert (path, reason.partition(":")[0]) == ("old", "kept")
    assert "old/later/deep/x" in mirror.target.files()
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert paths_of(mirror.target) == paths_of(mirror.source)


async def test_foreign_file_that_changes_is_kept_once_and_then_removed_as_it_is(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(9)
    mirror.target.write("d/theirs", b"as surveyed")
    mirror.target.trouble = {"d/theirs": OperationRefused("busy")}
    assert (await mirror.run(policy=EXACT)).exit_code == 1
    mirror.target.trouble = {}
    mirror.target.write("d/theirs", b"somebody works with it")
    report = await mirror.run(policy=EXACT)
    assert report.failures == (("d/theirs", "'d/theirs' was changed by another program: not removed"),)
    assert mirror.target.files()["d/theirs"] == b"somebody works with it"
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert "d/theirs" not in mirror.target.files()


async def test_foreign_file_removed_by_a_killed_run_is_not_adopted(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)
    mirror.target.write("x", b"theirs", 10**18)
    apply = mirror.journal.apply

    def die_of_removals(facts: object) -> None:
        if any(isinstance(fact, Done) and isinstance(fact.operation, Remove) for fact in facts):  # type: ignore[attr-defined]
            raise FatalError("no space left")
        apply(facts)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror.journal, "apply", die_of_removals)
        assert (await mirror.run(policy=EXACT)).exit_code == 7
    assert mirror.target.find("x") is None
    mirror.source.write("x", b"theirs", 10**18)
    assert (await mirror.run(policy=EXACT)).exit_code == 0
    assert not any(event.source.path == "x" for event in mirror.seen(Adopted))
    assert mirror.target.files() == mirror.source.files()


async def test_foreign_file_under_another_spelling_is_neither_removed_nor_replaced(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=MemoryEndpoint("target", inodes=False, fold=str.casefold, lanes=LANES))
    mirror.fill(3)
    mirror.source.write("readme", b"new")
    mirror.target.write("README", b"old version")
    for _ in range(2):
        ((path, reason),) = (await mirror.run(policy=EXACT)).failures
        assert (path, reason.partition(":")[0]) == ("readme", "'README' is in its place")
        assert mirror.target.files()["README"] == b"old version"


async def test_directory_in_the_way_with_excluded_content_fails_the_file(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    mirror.fill(3)
    mirror.source.write("page", b"a file")
    mirror.target.write("page/keep.log", b"theirs")
    mirror.target.write("page/x", b"theirs")
    report = await mirror.run(policy=attrs.evolve(EXACT, selection=Selection(exclude=["*.log"])))
    assert report.failures == (("page", "blocked by a directory that holds excluded entries; exclude it as well"),)
    assert "page/keep.log" in mirror.target.files()


async def test_plan_marks_what_actorsync_did_not_put_there(autojump_clock: MockClock) -> None:
    mirror = with_foreign_entries()
    before = paths_of(mirror.target)
    report = await mirror.run(DryRun(mirror.target), policy=EXACT)
    assert (report.exit_code, report.removed) == (0, 13)
    assert set(removed(mirror).values()) == {True}
    assert (paths_of(mirror.target), mirror.target.log) == (before, [])


async def test_journal_of_an_exact_mirror_is_good_for_another_rule(autojump_clock: MockClock) -> None:
    """Links and special files that it knows are foreign entries like others."""
    mirror = with_foreign_entries()
    mirror.target.trouble = {path: OperationRefused("busy") for path in ("link", "was a link")}
    assert (await mirror.run(policy=EXACT)).exit_code == 1
    mirror.target.trouble = {}
    await mirror.run()
    assert mirror.target.find("link") is not None
    assert not any(isinstance(event.operation, Remove) for event in mirror.seen(Failed))


class _Closed(MemoryEndpoint):
    """A target in which no directory called "closed" can be listed."""

    is_open = False

    def entry(self, path: str, node: object) -> Entry:
        if not self.is_open and "closed/" in path:
            raise OperationRefused("550 Permission denied")
        return super().entry(path, node)  # type: ignore[arg-type]


@pytest.mark.scaled
def test_stories_of_exact_mirrors_end_with_what_the_source_has() -> None:
    foreign = 0
    for seed in range(SEEDS):
        story = ExactStory(seed)
        try:
            simulate(story)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        foreign += story.foreign
    assert foreign > SEEDS // 2
