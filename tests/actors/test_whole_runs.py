"""What a run does about the rest of the world: clocks, roots, rules and neighbours that changed since the last one.

Numbers in names (``test_m059_...``) are rows of the fault matrix. Most of it is ``actorsync run`` between directories.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.event import Confirmed
from actorsync.planning.temporary_names import temporary_name
from tests.support.site import Ran, Site, tree
from tests.support.world.memory_mirror import Mirror

SECOND = 10**9
START = 1_700_000_000 * SECOND


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A mirror that is in place; ``gone.txt`` is still on the target, and is ours."""
    site = Site(tmp_path, capsys)
    site.fill()
    return site


# Clocks.


async def test_m056_a_file_that_is_rewritten_within_one_tick_of_the_clock(autojump_clock: MockClock) -> None:
    """Neither its size nor any of its times tells, and it is sent."""
    now = START
    mirror = Mirror(source=MemoryEndpoint("source", now=lambda: now, precision_ns=SECOND), wall_ns=lambda: now)
    mirror.source.write("a", b"one")
    mirror.source.write("b", b"two")
    assert (await mirror.run()).copied == 2
    before = mirror.source.entry("a", mirror.source.find("a"))  # type: ignore[arg-type]
    mirror.source.write("a", b"ONE")
    assert mirror.source.entry("a", mirror.source.find("a")) == before  # type: ignore[arg-type]
    now += 60 * SECOND
    assert (await mirror.run()).copied == 1
    assert mirror.target.files() == {"a": b"ONE", "b": b"two"}
    assert [event.source.path for event in mirror.seen(Confirmed)] == ["b"]
    commands = len(mirror.target.log)
    assert (await mirror.run()).exit_code == 0
    assert not mirror.seen(Confirmed), "it was read when it was old enough: its times prove something now"
    assert mirror.target.log[commands:] == []


def test_m056_the_same_size_and_a_time_that_was_set_back(site: Site) -> None:
    file = site.source / "a.txt"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_text("THIS IS a.txt")
    os.utime(file, ns=times)
    assert site.command("run").errors[-1].startswith("in sync: 1 copied")
    assert tree(site.target) == tree(site.source)


@pytest.mark.parametrize("years", [-10, -1, 10])
async def test_m058_a_clock_that_jumps_between_two_runs(autojump_clock: MockClock, years: int) -> None:
    now = START
    mirror = Mirror(source=MemoryEndpoint("source", now=lambda: now), wall_ns=lambda: now)
    for path in ("a", "b", "c"):
        mirror.source.write(path, path.encode())
    assert (await mirror.run()).copied == 3
    now += 100 * SECOND
    assert (await mirror.run()).exit_code == 0
    commands, memory = len(mirror.target.log), mirror.journal.subtree("")
    now += years * 365 * 86_400 * SECOND
    assert (await mirror.run()).exit_code == 0
    assert (mirror.target.log[commands:], mirror.journal.subtree("")) == ([], memory)
    mirror.source.write("a", b"A")  # older than what was sent, or much newer: it is another one
    mirror.source.delete("b")
    report = await mirror.run()
    assert (report.copied, report.removed) == (1, 1)
    assert mirror.target.files() == mirror.source.files()


# The root of the source.


def refused(site: Site, reason: str, code: int = 4) -> None:
    """Check that a run is refused, and that it neither removes anything nor forgets what it knows."""
    found = tree(site.target)
    for _ in range(2):
        ran = site.run()
        assert (ran.code, ran.out) == (code, [])
        (line,) = ran.errors
        assert reason in line
        assert tree(site.target) == found


def test_m059_a_source_that_was_emptied(site: Site) -> None:
    shutil.move(site.source, site.folder / "elsewhere")
    site.source.mkdir()
    refused(site, "the source is empty, and the target has 7 entries from it: nothing removed")
    site.source.rmdir()
    shutil.move(site.folder / "elsewhere", site.source)
    assert site.command("run").errors[-1].startswith("in sync: 0 copied (0 B), 1 removed"), "it was all remembered"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which is mounted, and can be taken away."""
    folder = tmp_path / "site"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty below", "something below"])
def test_m059_a_source_that_is_not_mounted(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_empty: bool
) -> None:
    site = Site(tmp_path, capsys)
    site.fill()
    subprocess.run(["umount", disk], check=True)
    if not is_empty:  # what was there before anything was mounted over it
        for path in ("a.txt", "b.txt", "sub/c.txt"):
            site.write(path, f"this is {path}")
    refused(site, "the source is empty" if is_empty else "is on another device than in the last run (is it mounted?)")
    if not is_empty:
        assert site.run("--set", "sync.any-device=true") == Ran(0, [], [])
        (site.source / "b.txt").unlink()
        assert site.run() == Ran(0, [], []), "the journal knows the new device"
        assert tree(site.target) == tree(site.source)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "does not exist; create the directory, or correct the path"),
        ("file", "is not a directory; name the directory to mirror"),
        ("dangling link", "is a symbolic link to nothing; correct the link or the path"),
    ],
)
def test_m060_root_that_is_not_a_directory_is_rejected(site: Site, kind: str, reason: str) -> None:
    shutil.rmtree(site.source)
    if kind == "file":
        site.source.write_text("a file")
    elif kind == "dangling link":
        site.source.symlink_to(site.folder / "nowhere")
    refused(site, f"actorsync: {site.profile}: source.path: {site.source} {reason}", code=2)
    for command in ("plan", "check"):
        assert site.command(command).code == 2


def test_m060_a_root_that_became_a_link_is_another_source(site: Site) -> None:
    """It leads to a tree that nothing is known of: what is there is sent, and nothing counts as gone."""
    elsewhere = site.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.txt").write_text("other")
    shutil.rmtree(site.source)
    site.source.symlink_to(elsewhere)
    found = tree(site.target)
    for _ in range(2):
        assert site.run() == Ran(0, [], [])
        assert tree(site.target) == {**found, "other.txt": b"other"}


def test_m061_unreadable_subtree_is_unknown(site: Site) -> None:
    """Nothing in it is removed, nor beside it; elsewhere what is gone goes."""
    for path in ("x/closed/1", "x/closed/2", "x/beside", "y/gone", "y/stays"):
        site.write(path, f"{path} " * 20)
    assert site.run("--set", "sync.delete=false") == Ran(0, [], [])
    (site.source / "x/closed/1").unlink()
    (site.source / "x/beside").unlink()
    (site.source / "y/gone").unlink()
    (site.source / "x/closed").chmod(0o000)
    try:
        ran = site.as_user()
        assert ran.code == 1
        assert any(line.startswith("failed: x/closed: ") and "Permission denied" in line for line in ran.errors)
        assert "1 removal postponed: it may be half of a rename that failed ('x/closed')" in ran.errors
        assert "0 copied (0 B), 1 mode set, 2 removed, 1 failed, 1 removal postponed in" in ran.errors[-1]
        there = tree(site.target).keys()
        assert {"x/closed/1", "x/closed/2", "x/beside", "y/stays"} <= there
        assert there.isdisjoint({"y/gone", "gone.txt"})
    finally:
        (site.source / "x/closed").chmod(0o755)
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)


# Rules and names.


@pytest.mark.parametrize("rule", ['exclude = ["sub/"]', 'exclude = ["*.txt"]', "max-depth = 1"])
def test_m070_entry_excluded_later_stays_on_the_target(site: Site, rule: str) -> None:
    found = tree(site.target)
    site.write_profile("delete = true", rule)
    assert site.command("plan").code == 0
    assert site.run() == Ran(0, [], [])
    kept = tree(site.target)
    assert kept.items() <= found.items()
    assert found.keys() - kept.keys() <= {"gone.txt"}
    shutil.rmtree(site.source / "sub")  # hidden, and gone: still left alone
    site.write("new.md", "a run that does something")
    site.run()
    assert "sub/c.txt" in tree(site.target)
    site.write("sub/c.txt", "this is sub/c.txt")
    site.write("sub/deep/d.txt", "this is sub/deep/d.txt")
    site.write_profile("delete = true")
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)


def test_m084_user_files_named_like_temporaries_are_mirrored(site: Site) -> None:
    """Those of the source are mirrored, those of the target stay: what is swept is what the journal knows, by name."""
    names = [temporary_name(name, "0123456789abcdef") for name in ("a.txt", " odd\n", "é")]
    names += [".actorsync-0123456789abcdef.tmp~", "sub/.actorsync-fedcba9876543210.tmp"]
    for name in names:
        site.write(name, f"the user's {name!r}")
    theirs = {f".actorsync-{number:016x}.tmp": f"{number}".encode() for number in range(3)}
    for name, data in theirs.items():
        site.write(name, data.decode(), in_target=True)
        site.write(f"sub/{name}", data.decode(), in_target=True)
    site.write("a.txt", "changed")
    for _ in range(2):
        assert site.run() == Ran(0, [], [])
    kept = {**theirs, **{f"sub/{name}": data for name, data in theirs.items()}}
    assert tree(site.target) == {**tree(site.source), **kept}
    for name in names:
        (site.source / name).unlink()
    site.journal.unlink()
    for _ in range(2):  # without a journal, nothing that looks like one of ours is taken for it
        assert site.run() == Ran(0, [], [])
    assert tree(site.target).keys() == {*tree(site.source), *kept, *names}


# Neighbours.


@pytest.fixture
def neighbour(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    """Another profile, with a source of its own and the same target. No audit reports what either does to the other."""
    monkeypatch.setenv("ACTORSYNC_AUDIT_LISTINGS", "0")
    return Site(tmp_path, capsys, name="neighbour")


def test_m120_two_profiles_with_one_target_never_remove_what_the_other_put_there(site: Site, neighbour: Site) -> None:
    """No lock can see it: the journals are two. What is not in one's own is foreign."""
    neighbour.write("n.txt", "the neighbour's")
    neighbour.write("sub/n.txt", "the neighbour's, in a directory of both")
    neighbour.write("a.txt", "the neighbour's a, which is another one")
    assert neighbour.run() == Ran(0, [], [])
    assert site.run() == Ran(0, [], []), "gone.txt goes"
    theirs = tree(neighbour.source)
    assert tree(site.target) == {**tree(site.source), **theirs}

    # What the neighbour wrote over is not as recorded any more: it stays, and so does what is beside it.
    (site.source / "a.txt").unlink()
    ran = site.run()
    assert ran.code == 1
    assert any("a.txt" in line and "changed by another program" in line for line in ran.errors)
    assert tree(site.target).items() >= theirs.items()

    # A directory of both goes only when it is empty, and that is no failure.
    shutil.rmtree(site.source / "sub")
    site.run("--set", "sync.max-delete=100%")
    assert tree(site.target).items() >= theirs.items()
    assert not (site.target / "sub/c.txt").exists()

    shutil.rmtree(neighbour.source)
    neighbour.source.mkdir()
    site.run()
    assert neighbour.run("--set", "sync.max-delete=100%").code == 0
    assert tree(site.target) == tree(site.source)


def test_m120_file_equal_in_two_profiles_belongs_to_both(site: Site, neighbour: Site) -> None:
    """The limit of it, which docs/design.md names: one removes it, and the other does not look."""
    for path in ("b.txt", "sub/c.txt"):
        shutil.copy2(site.source / path, neighbour.write(path, ""))
    assert neighbour.run() == Ran(0, [], []), "both are adopted"
    (site.source / "b.txt").unlink()
    assert site.run() == Ran(0, [], [])
    assert not (site.target / "b.txt").exists()
    assert neighbour.run() == Ran(0, [], [])
    neighbour.journal.unlink()
    assert neighbour.run() == Ran(0, [], [])
    assert (site.target / "b.txt").read_text() == "this is b.txt"


# Limits, and failures with removals waiting.


@pytest.mark.parametrize(("limit", "allowed"), [('"25%"', 2), ("2", 2), ("0", 0), ('"0%"', 0)])
def test_m134_more_removals_than_allowed_halt_before_the_first(site: Site, limit: str, allowed: int) -> None:
    site.write_profile("delete = true", f"max-delete = {limit}")
    for path in ("a.txt", "b.txt"):
        (site.source / path).unlink()
    site.write("new.txt", "new")
    found = tree(site.target)
    for _ in range(2):
        ran = site.run()
        assert (ran.code, ran.out) == (4, [])
        (line,) = ran.errors
        assert line.startswith("actorsync: 3 of ")
        assert f"more than max-delete allows ({allowed}): nothing removed; if this is intended, run once with" in line
    assert tree(site.target) == {**found, "new.txt": b"new"}, "what is to be sent is sent"
    assert site.command("plan").code == 4
    assert site.run("--set", "sync.max-delete=100%") == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)


def test_a_rename_is_planned_and_done(site: Site) -> None:
    (site.source / "a.txt").rename(site.source / "sub" / "z.txt")
    planned = site.command("plan")
    assert planned.out == ["> a.txt -> sub/z.txt", "- gone.txt", "1 to move, 1 to remove"]
    ran = site.command("run", "--verbose")
    lines = [line.split(" ", 2)[2] for line in ran.errors]  # behind the date and the time
    assert {"> a.txt -> sub/z.txt", "- gone.txt"} <= set(lines)
    assert lines[-1].startswith("in sync: 0 copied (0 B), 1 moved, 1 removed, 0 failed in ")
    assert tree(site.target) == tree(site.source)
    site.write("b.txt", "here again")
    assert site.command("run").code == 0
    (site.source / "b.txt").rename(site.source / "b2.txt")
    records = [json.loads(line) for line in site.command("run", "--json").out]
    assert [it["moved"] for it in records if it["event"] == "stopped"] == [1]
    assert [(it["from"], it["path"]) for it in records if it.get("operation") == "move"] == [("b.txt", "b2.txt")]


def test_touched_file_is_not_sent_with_compare_by_content(site: Site) -> None:
    by_checksum = ("--set", "sync.compare=checksum")
    for path in ("a.txt", "b.txt"):
        site.write(path, f"sent anew, as {path}")
    assert site.command("run", *by_checksum).code == 0
    for path in ("a.txt", "b.txt"):
        os.utime(site.source / path)
    assert site.command("plan").out[-1].startswith("2 files to copy")
    assert site.command("plan", *by_checksum).out[-1].startswith("nothing to do")
    ran = site.command("run", *by_checksum)
    assert ran.errors[-1].startswith("in sync: nothing to do")
    assert site.command("plan").out[-1].startswith("nothing to do"), "the new times are known now"


def test_m135_failed_file_postpones_the_removal_of_its_old_name(site: Site) -> None:
    """Moved from one directory to another, and refused there: the old one stays until the new one has arrived."""
    assert site.run() == Ran(0, [], []), "gone.txt goes; a new file may have its inode, and would look like it"
    for path in ("old/page.html", "old/rest/x", "far/away"):
        site.write(path, f"{path} " * 20)
    assert site.run("--set", "sync.delete=false") == Ran(0, [], [])
    (site.source / "new").mkdir()
    (site.source / "old/page.html").rename(site.source / "new/page.html")
    shutil.rmtree(site.source / "old")
    (site.source / "far/away").unlink()
    blocker = site.target / "new" / "page.html"
    (blocker / "not ours").mkdir(parents=True)
    for _ in range(2):
        ran = site.command("run")
        assert ran.code == 1
        assert "2 removals postponed: they may be half of a rename that failed ('new/page.html')" in ran.errors
        there = tree(site.target)
        assert "old/page.html" in there
        assert there.keys().isdisjoint({"old/rest/x", "far/away", "gone.txt"}), "far from it, what is gone goes"
    shutil.rmtree(blocker)
    assert site.run() == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)
    assert not (site.target / "old").exists()


def test_m135_failure_at_the_root_postpones_only_removals_in_the_root(site: Site) -> None:
    site.write("sub/gone too.txt", "it will go")
    assert site.run("--set", "sync.delete=false") == Ran(0, [], [])
    site.write("blocked", "a file that the target has no place for")
    (site.source / "sub/gone too.txt").unlink()  # after it, or the other one might get its inode
    (site.target / "blocked" / "not ours").mkdir(parents=True)
    ran = site.command("run")
    assert ran.code == 1
    assert "1 removal postponed: it may be half of a rename that failed ('blocked')" in ran.errors
    assert tree(site.target).keys() == {*tree(site.source), "gone.txt"} - {"blocked"}
