"""``actorsync rehearse``: a profile against an embedded server, with faults, while a visitor checks the site."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from actorsync.cli.commands import run_command
from actorsync.cli.rehearse import report_lines
from actorsync.journal import state_directory
from actorsync.profile import load_profile
from actorsync.rehearsal import rehearsal
from actorsync.rehearsal.rehearsal import rehearse
from actorsync.rehearsal.report import run_text
from actorsync.rehearsal.result import Began, Rehearsal, Result, Run, Said
from actorsync.testing.servers.faults import parse_fault
from tests.support.root import ROOT

BIG = bytes(range(256)) * 1200  # 300 KiB
HASTY = (sys.executable, "-m", "tests.support.hasty_run")
NAIVE = (sys.executable, "-m", "tests.support.naive_run")


@pytest.fixture(autouse=True)
def into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The parent of temporary folders; checks afterwards that it is empty."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(folder))
    monkeypatch.setenv("TMPDIR", os.fspath(folder))
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "big.bin").write_bytes(BIG)
    for number in range(4):
        (source / f"{number}.html").write_text(f"<h1>{number}</h1>")
        (source / "sub" / f"{number}.css").write_text("body {}")
    (source / "left.bak").write_text("excluded")
    return source


def write_profile(source: Path, scheme: str, *more: str) -> Path:
    """A profile whose server does not exist and whose secrets cannot be looked up."""
    path = source.parent / "shop.toml"
    url = f'url = "{scheme}://deploy@www.example.com/htdocs/www"'
    key = 'key-file = "no such key"\nknown-hosts = "nor this"' if scheme == "sftp" else ""
    password = 'password = { command = ["false"] }'
    sync = ["[sync]", "delete = true", "connections = 2", 'exclude = ["*.bak"]']
    path.write_text("\n".join(["[source]", 'path = "source"', "[target]", url, password, key, *sync, *more]))
    return path


async def rehearsed(profile: Path, *faults: str, child: Sequence[str] = HASTY, **more: Any) -> Result:
    loaded = load_profile(profile, needs_keys=False)
    events: list[Began | Said | Run] = []
    result = await rehearse(Rehearsal(loaded, tuple(map(parse_fault, faults)), child=child, **more), events.append)
    assert [event for event in events if isinstance(event, Run)] == list(result.runs)
    return result


def is_good(result: Result) -> bool:
    """Check everything that a rehearsal of actorsync must achieve with any fault."""
    assert result.is_whole, result.seen
    assert result.has_converged, (result.runs, result.seen)
    assert result.exit_code == 0
    assert result.seen.showing == ((9, 9) if result.rehearsal.from_nothing else (0, 9))
    assert result.seen.strangers == result.seen.changed == ()
    assert result.plan.never_happened() == []
    return True


@pytest.mark.parametrize("scheme", ["ftpes", "ftps"])
async def test_rehearsal_without_faults_needs_one_run(scheme: str, source: Path) -> None:
    before = snapshot(source)
    result = await rehearsed(write_profile(source, scheme))
    assert is_good(result)
    assert [run.exit_code for run in result.runs] == [0]
    assert (result.files, result.size) == (9, len(BIG) + 4 * len("<h1>0</h1>") + 4 * len("body {}"))
    assert result.seen.looks > 3
    assert snapshot(source) == before
    assert not state_directory().exists(), "a rehearsal has a journal of its own"


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {os.fspath(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in folder.rglob("*")}


#: Each kind of fault once; faults that may end a run are in separate groups.
GROUPS: dict[str, tuple[tuple[str, ...], list[int]]] = {
    "connections": (("cut@store:2", "reset@rename:3", "drop@times:4", "cut@data:200KB", "silence@line:31"), [0]),
    "refusals": (("refuse@connect", "truncate@data:100000", "capacity@1", "slow@5MB"), [0]),
    "failures": (("refuse@login", "full@100KB"), [6, 1, 0]),
    "killed": (("kill@connect", "kill@rename:2"), [137, 137, 0]),
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("scheme", ["ftp", pytest.param("sftp", marks=pytest.mark.full)])
async def test_visitor_sees_only_complete_files_despite_faults(group: str, scheme: str, source: Path) -> None:
    faults, codes = GROUPS[group]
    result = await rehearsed(write_profile(source, scheme), *faults)
    assert is_good(result)
    assert [run.exit_code for run in result.runs] == codes


async def test_rehearsal_from_nothing_starts_with_an_empty_server(source: Path) -> None:
    result = await rehearsed(write_profile(source, "ftp"), "kill@store:3", from_nothing=True)
    assert result.seen.showing == (0, 9)
    assert (result.is_whole, result.has_converged, len(result.runs)) == (True, True, 2)


# ---- Big files that go on where they broke off.

#: What breaks the upload off, and what the server does when it is continued. The first time is the probe.
RESUMED = {
    "zero-fill": ("cut@data:3MB", "zero-fill@restart:2"),
    "ignore-restart": ("kill@data:3MB", "ignore-restart@restart:2"),
    "truncate-late": ("kill@data:3MB", "truncate-late@restart:2"),
}


@pytest.mark.parametrize(
    "fault",
    ["ignore-restart", *(pytest.param(name, marks=pytest.mark.full) for name in ("zero-fill", "truncate-late"))],
)
@pytest.mark.parametrize("scheme", ["ftp", pytest.param("sftp", marks=pytest.mark.full)])
async def test_no_wrong_part_of_a_big_file_is_kept(fault: str, scheme: str, source: Path) -> None:
    (source / "big.bin").write_bytes(random.Random(14).randbytes(6_000_000))
    await trio.sleep(2.1)  # the times of a younger file prove nothing, so it is never continued; no call can set them
    result = await rehearsed(write_profile(source, scheme), *RESUMED[fault])
    assert is_good(result)
    assert len(result.runs) == (1 if fault == "zero-fill" else 2)


async def test_upload_that_was_never_continued_says_how_to_break_one_off(source: Path) -> None:
    result = await rehearsed(write_profile(source, "ftp"), "zero-fill@restart")
    why = "no upload was continued; break one off behind 2 MiB, for example with cut@data:3MB"
    assert f"fault  zero-fill@restart: NEVER HAPPENED: {why}" in list(report_lines(result))


# ---- A burst.

BURST = ["[publish]", 'mode = "burst"']
TRASH = ["[trash]", 'path = "old-files"', "inside-target = true"]


@pytest.mark.parametrize(
    ("fault", "more", "codes", "shown"),
    [
        ("kill@rank", TRASH, [137, 0], ["mixed", "new"]),
        ("forbid@rename:8", [], [1, 0], ["old", "new"]),
        pytest.param("kill@store:3", TRASH, [137, 0], ["old", "new"], marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("scheme", ["ftp", pytest.param("sftp", marks=pytest.mark.full)])
async def test_burst_ends_with_the_old_site_or_the_new_one(
    scheme: str, fault: str, more: list[str], codes: list[int], shown: list[str], source: Path
) -> None:
    programs = ['check = ["touch", "../checked"]', "[hooks]", 'after = ["touch", "../hooked"]']
    result = await rehearsed(write_profile(source, scheme, *BURST, *programs, *more), fault)
    assert is_good(result)
    assert [run.exit_code for run in result.runs] == codes
    assert [run.shows for run in result.runs] == shown
    assert not list(source.parent.glob("*ed")), "a program of the profile was run: it may change a real site"


async def test_mixture_that_a_run_leaves_is_reported(source: Path) -> None:
    publishes_one = (
        "import ftplib,os,pickle,sys;p=pickle.load(open(sys.argv[1],'rb'));c=ftplib.FTP();"
        "c.connect(p.target.host,p.target.port);c.login(p.target.user,os.environ[p.target.password.variable]);"
        "c.cwd(p.target.path);t='.actorsync-0123456789abcdef.tmp';"
        "c.storbinary('STOR '+t,open(p.source.path+'/0.html','rb'));c.rename(t,'0.html');c.quit()"
    )
    result = await rehearsed(write_profile(source, "ftp", *BURST), child=(sys.executable, "-c", publishes_one))
    assert (result.mixtures, result.exit_code) == ((1,), 1)
    lines = list(report_lines(result))
    assert "a MIXTURE of old and new files was left by run 1" in [line.strip() for line in lines]
    assert lines[-1] == "a MIXTURE left on the target, and NOT in sync after 1 run"


# ---- Incomplete files and failing runs are reported.


async def test_partial_file_is_reported(source: Path) -> None:
    result = await rehearsed(write_profile(source, "ftp"), "cut@data:100KB", child=NAIVE)
    assert {one.path for one in result.seen.broken} >= {"big.bin"}
    assert (result.is_whole, result.exit_code) == (False, 1)
    lines = list(report_lines(result))
    assert any(re.search(r"files? INCOMPLETE at some check: .*big\.bin", line) for line in lines), lines
    assert lines[-1].startswith("files INCOMPLETE at some check")


async def test_truncated_file_is_reported_even_if_the_run_succeeds(source: Path) -> None:
    result = await rehearsed(write_profile(source, "ftp"), "truncate@data:100KB", child=NAIVE)
    assert [run.exit_code for run in result.runs] == [0]
    assert (result.is_whole, result.has_converged, result.exit_code) == (False, False, 1)
    assert list(report_lines(result))[-1] == "files INCOMPLETE at some check, and NOT in sync after 1 run"


async def test_run_that_does_nothing_does_not_converge(source: Path) -> None:
    result = await rehearsed(write_profile(source, "ftp"), "cut@store:99", child=(sys.executable, "-c", "pass"))
    assert (result.is_whole, result.has_converged, result.exit_code) == (True, False, 1)
    lines = list(report_lines(result))
    assert "fault  cut@store:99: NEVER HAPPENED: store was reached 0 times in all" in lines
    assert lines[-1] == "every file complete at every check, but NOT in sync after 1 run; 1 fault never happened"


@pytest.mark.parametrize(("faults", "runs"), [((), 2), (("refuse@login*50",), 3)])
async def test_rehearsal_ends_after_repeated_failures(
    faults: Sequence[str], runs: int, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "MOST_RUNS", 3)
    logs_in = "import ftplib,pickle,sys;p=pickle.load(open(sys.argv[1],'rb')).target;c=ftplib.FTP();"
    logs_in += "c.connect(p.host,p.port)\ntry: c.login('x','y')\nexcept ftplib.Error: pass\nc.close();sys.exit(9)"
    result = await rehearsed(write_profile(source, "ftp"), *faults, child=(sys.executable, "-c", logs_in))
    assert [run.exit_code for run in result.runs] == [9] * runs
    assert result.exit_code == 1


# ---- The command.


def test_rehearse_prints_the_report(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    faults = ["--fault", "kill@rename:2", "--fault", "full@1GB"]
    assert run_command(["rehearse", os.fspath(write_profile(source, "ftp")), "--verbose", *faults]) == 0
    out, err = capfd.readouterr()
    run1, run2, *rest = [re.sub(r"[\d.]+ s\b", "N s", line) for line in out.splitlines()]
    assert run1 == "run 1: killed after N s"
    assert run2.startswith("run 2: exit code 0 after N s; in sync: ")
    assert re.match(r"fault  kill@rename:2: happened in run 1 \(RNTO .*\): the client is killed \(kill -9\)", rest[0])
    assert re.match(r"fault  full@1GB: NEVER HAPPENED: the server received only \d+\.\d KiB in all", rest[1])
    assert re.match(r"seen   a visitor checked the site \d+ times", rest[2])
    assert [line.strip() for line in rest[3:6]] == [
        "every file was complete at every check",
        "at the end, 9 of 9 files have the new version, 0 the old one",
        "old and new files were side by side for N s",
    ]
    assert re.match(r" +at most \d+ temporary files? at a time, none left", rest[6])
    assert rest[7:] == ["every file complete at every check, and in sync after 2 runs; 1 fault never happened"]
    assert err.startswith("rehearsing 9 files (300.1 KiB) against an embedded ftp:// server, with old versions ")
    assert err.splitlines()[0].endswith(" (needs up to 956.1 KiB)")
    assert "  2 | in sync: " in err


def test_rehearse_json_is_one_record(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["rehearse", os.fspath(write_profile(source, "sftp")), "--fault", "drop@store", "--json"]) == 0
    [line] = capfd.readouterr().out.splitlines()
    record = json.loads(line)
    assert (record["event"], record["exit_code"], record["whole"], record["converged"]) == ("rehearsed", 0, True, True)
    assert [run["exit_code"] for run in record["runs"]] == [0]
    assert re.search(r" to sftp://rehearsal@127\.0\.0\.1:\d+/htdocs/www, ", record["runs"][0]["said"][0])
    [fault] = record["faults"]
    assert (fault["fault"], fault["happened"], fault["runs"]) == ("drop@store", 1, [1])
    assert (record["seen"]["new"], record["seen"]["old"], record["seen"]["broken"]) == (9, 0, [])


def test_run_text_shows_the_first_failures() -> None:
    lines = (*(f"failed: {number}: no" for number in range(5)), "not in sync: 0 copied")
    assert list(run_text(Run(1, 1, 2.0, lines, (), "mixed"))) == [
        "run 1: exit code 1 after 2.0 s; not in sync: 0 copied",
        *(f"    failed: {number}: no" for number in range(3)),
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--fault", "cut@stor"], "cut@stor: there is no place 'stor'; did you mean store? (to list all faults: actor"),
        (["--fault", "melt@store"], "melt@store: there is no fault 'melt'; known: cut, reset, silence"),
        (["--into", "missing"], "actorsync: --into missing: is not a directory; create it or name another"),
        (["--into", "source"], "actorsync: --into source: is inside the source; name a directory outside it"),
        (["--set", "source.path=shop.toml"], "actorsync: shop.toml: source.path: cannot be read: Not a directory"),
        (["--set", "source.path=gone"], "actorsync: shop.toml: source.path: cannot be read: No such file"),
    ],
)
def test_invalid_rehearsal_is_one_line(
    arguments: Sequence[str],
    line: str,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(source.parent)
    assert run_command(["rehearse", os.fspath(write_profile(source, "ftp").name), *arguments]) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[source]\npath = "source"\n[target]\nurl = "mirror"\n',
            "target.url: no embedded server exists for this scheme",
        ),
        (
            '[source]\nurl = "sftp://h/x"\n[target]\nurl = "m"\n',
            "source.url: only a local directory can be rehearsed as source",
        ),
    ],
)
def test_rehearsal_requires_local_source_and_remote_target(
    text: str, line: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = source.parent / "shop.toml"
    profile.write_text(text)
    assert run_command(["rehearse", os.fspath(profile)]) == 2
    assert capsys.readouterr().err.startswith(f"actorsync: shop.toml: {line}")


def test_rehearsal_without_disk_space_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], into: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100_000))
    assert run_command(["rehearse", os.fspath(write_profile(source, "ftp"))]) == 2
    said = f"not enough disk space: {into} has only 97.7 KiB free, the rehearsal needs 956.1 KiB; use --into DIR"
    assert capsys.readouterr().err == f"actorsync: {said}\n"


def test_rehearsal_under_tls_without_pyopenssl_says_what_to_install(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "pyftpdlib.handlers", raising=False)
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    assert run_command(["rehearse", os.fspath(write_profile(source, "ftpes"))]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("actorsync: cannot start the embedded server: the embedded FTP server needs PyOpenSSL")
    assert line.endswith("pip install 'actorsync[testing]'")


def test_list_faults_prints_names_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["rehearse", "--list-faults"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^kill +the client is killed \(kill -9\)$", out, re.MULTILINE)
    assert re.search(r"^store +\S.* \(STOR; OPEN for writing\)$", out, re.MULTILINE)


def begun(profile: Path) -> subprocess.Popen[str]:
    """Start a rehearsal and return it while its first, slow run is in progress."""
    argv = [sys.executable, "-m", "actorsync", "rehearse", os.fspath(profile), "--verbose", "--fault", "slow@20KB"]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("  1 | mirroring"):
        assert process.poll() is None
    return process


def test_signal_removes_the_temporary_folder(source: Path, into: Path) -> None:
    with begun(write_profile(source, "ftp")) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(into.iterdir()) == []


def test_killed_rehearsal_ends_its_run(source: Path, into: Path) -> None:
    with begun(write_profile(source, "ftp")) as process:
        [run] = children_of(process.pid)
        process.kill()
        process.communicate(timeout=30)
    while Path(f"/proc/{run}/cmdline").exists() and b"rehearsal_child" in Path(f"/proc/{run}/cmdline").read_bytes():
        time.sleep(0.01)
    for folder in into.iterdir():  # the killed process could not remove it
        shutil.rmtree(folder)


def children_of(pid: int) -> list[str]:
    """Return the children that any thread of a process has started."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for file in files for child in file.read_text().split()]


async def test_rehearsal_never_contains_a_secret_of_the_profile(
    source: Path, into: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACTORSYNC_TARGET_PASSWORD", "CANARY-4711")
    path = write_profile(source, "sftp")
    looks: list[bytes] = []

    def look(event: object) -> None:
        if isinstance(event, Said):
            looks.append(b"".join(file.read_bytes() for file in into.rglob("*") if file.is_file()))
            looks.extend(Path(f"/proc/{child}/environ").read_bytes() for child in children_of(os.getpid()))

    await rehearse(Rehearsal(load_profile(path, needs_keys=False)), look)
    assert any(b"ACTORSYNC_REHEARSAL=" in look for look in looks), "that is where it would be"
    assert not any(b"CANARY" in look for look in looks)
    assert "CANARY" not in "".join(capfd.readouterr())


async def test_cancelled_rehearsal_ends_its_run(source: Path) -> None:
    profile = load_profile(write_profile(source, "sftp"), needs_keys=False)
    with trio.CancelScope() as scope:
        await rehearse(
            Rehearsal(profile, (parse_fault("silence@store"),)),
            lambda event: scope.cancel() if isinstance(event, Said) else None,
        )
    assert scope.cancelled_caught
