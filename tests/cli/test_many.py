"""Several mirrors in one process: their output, their exit code, and how they are stopped."""

from __future__ import annotations

import json
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.errors import JournalLocked
from actorsync.model.report import Report
from actorsync.policy import RunOptions
from actorsync.profile import Profile
from actorsync.runs.runner import run_once
from actorsync.service import running
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import CANARY, start, tree

Ran = tuple[int, list[str], list[str]]
Run = Callable[..., Ran]

TOOK = re.compile(r" in [0-9.]+ s$")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command: the exit code, the lines on standard output and on standard error."""

    def call(*words: str | Path) -> Ran:
        capsys.readouterr()
        code = run_command([str(word) for word in words])
        out, errors = capsys.readouterr()
        return code, out.splitlines(), [TOOK.sub("", line) for line in errors.splitlines()]

    return call


def write(folder: Path, name: str, *more: str, url: str = "", source: str = "") -> Path:
    """Write a profile ``name.toml`` and, without ``source``, a source of its own with one file."""
    if not source:
        source = f"{name}-source"
        (folder / source).mkdir()
        (folder / source / "a.txt").write_text(name)
    path = folder / f"{name}.toml"
    keys = ["[source]", f'path = "{source}"', "[target]", f'url = "{url or f"{name}-target"}"', *more]
    path.write_text("\n".join(keys))
    path.chmod(0o600)
    return path


def several(folder: Path, *names: str) -> Path:
    """Write a profile with several targets, each a directory of its name."""
    path = write(folder, "shop")
    targets = [f'[[target]]\nname = "{name}"\nurl = "{name}"' for name in names]
    path.write_text("\n".join(['[source]\npath = "shop-source"', *targets]))
    return path


def test_lines_begin_with_the_name_and_the_last_ones_say_how_each_ended(tmp_path: Path, run: Run) -> None:
    code, out, errors = run("run", several(tmp_path, "berlin", "tokyo"))
    assert (code, out) == (0, [])
    assert sorted(errors[:4]) == [
        "berlin: in sync: 1 copied (4 B), 0 removed, 0 failed",
        f"berlin: mirroring {tmp_path}/shop-source to {tmp_path}/berlin, 4 connections",
        "tokyo: in sync: 1 copied (4 B), 0 removed, 0 failed",
        f"tokyo: mirroring {tmp_path}/shop-source to {tmp_path}/tokyo, 4 connections",
    ]
    assert errors[4:] == ["berlin  in sync", "tokyo   in sync"]
    assert tree(tmp_path / "berlin") == tree(tmp_path / "tokyo") == {"a.txt": b"shop"}


def test_only_one_of_several_is_shown_like_a_mirror_alone(tmp_path: Path, run: Run) -> None:
    profile = several(tmp_path, "berlin", "tokyo")
    code, _, errors = run("run", "--only", "tokyo", profile)
    assert code == 0
    assert errors == [
        f"mirroring {tmp_path}/shop-source to {tmp_path}/tokyo, 4 connections",
        "in sync: 1 copied (4 B), 0 removed, 0 failed",
    ]
    assert not (tmp_path / "berlin").exists()


def test_profiles_of_a_directory_are_mirrored_and_one_that_cannot_be_used_is_one_line(tmp_path: Path, run: Run) -> None:
    write(tmp_path, "blog")
    write(tmp_path, "shop")
    write(tmp_path, "wrong", "[sync]", "nope = 1")
    code, out, errors = run("run", "-q", "--all", tmp_path)
    assert (code, out) == (2, [])
    assert [line.split(": ")[:3] for line in errors] == [["actorsync", "wrong", f"{tmp_path}/wrong.toml"]]
    assert tree(tmp_path / "blog-target") == {"a.txt": b"blog"}
    assert tree(tmp_path / "shop-target") == {"a.txt": b"shop"}


@pytest.mark.parametrize(("soft", "hard", "code"), [(20, 30, 2), (20, 4096, 0)])
def test_mirrors_that_need_more_open_files_than_allowed_are_refused_in_one_line(
    soft: int, hard: int, code: int, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    names = ("berlin", "oslo", "tokyo")
    ended, _, errors = run("run", "-q", several(tmp_path, *names))
    assert ended == code
    if code:
        (line,) = errors
        assert line.startswith(
            "actorsync: 3 mirrors at the same time need at least 42 open files, and this process may have 30; allow"
        )
        assert limits == [(soft, hard)]
        assert not (tmp_path / "oslo").exists()
    else:
        assert limits[-1] == (hard, hard)


def test_source_that_is_missing_and_a_lock_leave_the_others(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, lost, locked = write(tmp_path, "good"), write(tmp_path, "lost", source="nowhere"), write(tmp_path, "locked")

    async def once(profile: Profile, options: RunOptions, *, is_rebuilding: bool) -> Report:
        if profile.path == locked:
            raise JournalLocked("another run")
        return await run_once(profile, options, is_rebuilding=is_rebuilding)

    monkeypatch.setattr(running, "run_once", once)
    code, _, errors = run("run", lost, good, locked)
    assert code == 2
    assert "actorsync: locked: another run" in errors
    assert [line.split()[:2] for line in errors[-3:]] == [["lost", "not"], ["good", "in"], ["locked", "not"]]
    assert errors[-3].startswith("lost    not begun: ")
    assert errors[-1] == "locked  not begun: another run"
    assert tree(tmp_path / "good-target") == {"a.txt": b"good"}


def test_bug_in_one_leaves_the_others_and_is_told_at_the_end(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = write(tmp_path, "good"), write(tmp_path, "bad")

    async def once(profile: Profile, options: RunOptions, *, is_rebuilding: bool) -> Report:
        if profile.path == bad:
            raise ZeroDivisionError("a bug")
        return await run_once(profile, options, is_rebuilding=is_rebuilding)

    monkeypatch.setattr(running, "run_once", once)
    code, _, errors = run("run", "-q", bad, good)
    assert code == 7
    assert "ZeroDivisionError: a bug" in errors
    assert tree(tmp_path / "good-target") == {"a.txt": b"good"}


def test_json_records_have_the_name_of_the_mirror(tmp_path: Path, run: Run) -> None:
    write(tmp_path, "wrong", "[sync]", "nope = 1")
    good, other = write(tmp_path, "good"), write(tmp_path, "other")
    code, out, _ = run("run", "--json", good, other, tmp_path / "wrong.toml")
    records = [json.loads(line) for line in out]
    assert code == 2
    assert {record["mirror"] for record in records} == {"good", "other", "wrong"}
    assert {record["mirror"] for record in records if record["event"] == "stopped"} == {"good", "other"}
    ended = [record for record in records if record["event"] == "ended"]
    assert [(it["mirror"], it["result"], it["exit_code"]) for it in ended] == [
        ("wrong", "not begun", 2),
        ("good", "in sync", 0),
        ("other", "in sync", 0),
    ]


def test_json_records_of_one_mirror_have_no_name(tmp_path: Path, run: Run) -> None:
    _, out, _ = run("run", "--json", write(tmp_path, "good"))
    assert [line for line in out if "mirror" in json.loads(line) or json.loads(line)["event"] == "ended"] == []


def test_log_file_has_the_names(tmp_path: Path, run: Run) -> None:
    assert run("run", "-q", "--log-file", tmp_path / "log", several(tmp_path, "berlin", "tokyo")) == (0, [], [])
    lines = [line[20:] for line in (tmp_path / "log").read_text().splitlines()]
    assert {"berlin: + a.txt", "tokyo: + a.txt", "berlin  in sync", "tokyo   in sync"} <= set(lines)


def test_files_that_any_of_the_profiles_needs_are_sent_by_none(tmp_path: Path, run: Run) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "secret.txt").write_text(CANARY)
    (tmp_path / "keys" / "secret.txt").chmod(0o600)
    (tmp_path / "index.html").write_text("index")
    target = tmp_path.parent / f"{tmp_path.name}-target"
    everything = write(tmp_path, "everything", url=str(target), source=".")
    password = 'password = { file = "keys/secret.txt" }'
    other = write(tmp_path, "other", password, url="ftp://u@127.0.0.1:9/", source="keys")
    wrong = write(tmp_path, "wrong", "[sync]", "nope = 1", source="keys")
    _, out, _ = run("plan", everything, wrong)
    assert "+ keys/secret.txt" in out  # no profile of this process names it
    _, out, _ = run("plan", everything, other, wrong)
    assert "+ index.html" in out
    assert not {"+ keys/secret.txt", "+ other.toml", "+ wrong.toml", "+ everything.toml"} & set(out)


def test_plan_status_and_check_show_each_under_its_name(tmp_path: Path, run: Run) -> None:
    profile = several(tmp_path, "berlin", "tokyo")
    assert run("plan", profile)[:2] == (
        0,
        ["berlin:", "+ a.txt", "1 file to copy (4 B)", "", "tokyo:", "+ a.txt", "1 file to copy (4 B)"],
    )
    assert run("status", profile) == (0, ["berlin:", "no runs yet", "", "tokyo:", "no runs yet"], [])
    code, out, _ = run("check", profile)
    assert code == 0
    assert [line for line in out if line.endswith(":")] == ["berlin:", "tokyo:"]
    assert sum(line.startswith("ready: ") for line in out) == 2
    assert run("plan", "--exit-code", profile)[0] == 9
    code, _, errors = run("plan", "--save", tmp_path / "plan", profile)
    assert (code, errors) == (2, ["actorsync: there are several targets: berlin, tokyo; choose one: --only berlin"])
    assert run("plan", "--save", tmp_path / "plan", "--only", "tokyo", profile)[0] == 0
    assert run("apply", "-q", "--only", "tokyo", profile, tmp_path / "plan")[0] == 0
    assert tree(tmp_path / "tokyo") == {"a.txt": b"shop"}
    assert not (tmp_path / "berlin").exists()


@pytest.mark.parametrize("command", ["undo", "history", "trash list", "trash empty", "trust", "rehearse"])
def test_command_for_one_target_names_those_that_there_are(command: str, tmp_path: Path, run: Run) -> None:
    words = command.split()
    code, _, errors = run(*words, several(tmp_path, "berlin", "tokyo"))
    assert code == 2
    assert errors[-1].endswith("add --only NAME, with one of berlin, tokyo")
    assert "no target is named oslo" in run(*words, "--only", "oslo", tmp_path / "shop.toml")[2][-1]
    assert "add --only" not in "".join(run(*words, "--only", "tokyo", tmp_path / "shop.toml")[2])


@pytest.mark.parametrize(("signals", "code"), [(1, 3), (2, 130)])
def test_ctrl_c_stops_all_of_them(
    signals: int, code: int, tmp_path: Path, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PASSWORD", CANARY)
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root", password=CANARY, throttle=1 << 20) as server:
        secret = 'password = { env = "TEST_PASSWORD" }'
        profiles = [write(tmp_path, name, secret, url=f"{server.url}/{name}") for name in ("one", "two")]
        for name in ("one", "two"):
            (tmp_path / f"{name}-source" / "big").write_bytes(bytes(8 << 20))
        with start("run", *map(str, profiles)) as process:
            deadline = time.monotonic() + 20
            while server.bytes_received < 1 << 20:
                assert time.monotonic() < deadline, "the uploads do not begin"
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            if signals == 1:
                server.throttle = None
            else:
                time.sleep(0.2)
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
        lines = errors.decode().splitlines()
        assert process.returncode == code, lines
        assert sum("finishing transfers in progress" in line for line in lines) == 1
        assert "Traceback" not in errors.decode()
        if signals == 1:  # after the second signal, the process may exit before its last lines are written
            assert [line.split(": ")[0] for line in lines[-2:]] == ["one  stopped early", "two  stopped early"]
        for path, content in tree(server.root).items():
            name, _, file = path.partition("/")
            if not file.startswith(".actorsync-"):  # the time that a cancel has may be too short to remove it
                assert content == (tmp_path / f"{name}-source" / file).read_bytes()


def test_mirror_that_ends_leaves_one_that_is_repeated(tmp_path: Path) -> None:
    once, often = write(tmp_path, "once"), write(tmp_path, "often", "[sync]", 'every = "1s"')
    with start("run", "-v", str(once), str(often)) as process:
        deadline = time.monotonic() + 20
        while not (tmp_path / "once-target" / "a.txt").exists() or not (tmp_path / "often-target" / "a.txt").exists():
            assert time.monotonic() < deadline, "no pass ends"
            time.sleep(0.02)
        (tmp_path / "often-source" / "b.txt").write_text("later")
        while not (tmp_path / "often-target" / "b.txt").exists():
            assert time.monotonic() < deadline, "there is no second pass"
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in {0, 3}, errors  # 3 if the stop came before the end of the second pass
    assert [line.split()[2] for line in errors.decode().splitlines()[-2:]] == ["often", "once"][::-1]
