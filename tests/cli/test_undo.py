"""The commands ``undo``, ``history`` and ``trash``: a site is put back as it was, and the trash is emptied."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.cli.undo import words_of
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer
from tests.support.cli_profile import tree

MORE = '[sync]\ndelete = true\n[audit]\nlistings = 1000\n[trash]\npath = "../.trash"\n'
OLD = {"page.php": b"old page", "d/gone": b"gone", "same": b"same"}
NEW = {"page.php": b"a new page", "d/e/added": b"added", "same": b"same"}


def put(source: Path, files: dict[str, bytes]) -> None:
    """Make the source hold exactly these files; what is the same is not touched."""
    for path in sorted(source.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif files.get(str(path.relative_to(source))) != path.read_bytes():
            path.unlink()
    for name, data in files.items():
        path = source / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (1_700_000_000 + len(data), 1_700_000_000 + len(data)))


@pytest.fixture(params=["local", "ftp", "sftp", "ftp in a burst", "sftp in a burst"])
def target(request: pytest.FixtureRequest, server_folder: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folder that a server has, and a profile that mirrors to ``www`` in it."""
    root, source = server_folder / "root", tmp_path / "source"
    server_kind, _, is_burst = request.param.partition(" ")
    more = MORE + ('[publish]\nmode = "burst"\n' if is_burst else "")
    root.mkdir()
    put(source, OLD)
    if server_kind == "local":
        yield root, f'[source]\npath = "{source}"\n[target]\nurl = "{root}/www"\n{more}'
    else:
        kind = EmbeddedFtpServer if server_kind == "ftp" else EmbeddedSftpServer
        with kind(root) as server:
            yield root, server.profile(source, "www", more)


@pytest.fixture
def act(
    target: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    profile = tmp_path / "shop.toml"
    profile.write_text(target[1])
    profile.chmod(0o600)

    def run(command: str, *more: str) -> tuple[int, str, str]:
        code = run_command([*command.split(), str(profile), *more])
        return (code, *capsys.readouterr())

    return run


def test_site_is_put_back_and_stays_so(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    www = target[0] / "www"
    assert act("run")[0] == 0
    put(tmp_path / "source", NEW)
    assert act("run")[0] == 0
    assert tree(www) == NEW
    assert sorted(tree(target[0] / ".trash").values()) == [b"gone", b"old page"]
    assert not [name for name in tree(target[0] / ".trash") if name.endswith(".php")], "no server executes it there"

    code, out, err = act("undo", "--yes")
    assert (code, err) == (0, "")
    assert "put the old version back: page.php" in out
    assert "paths stay undone until their sources change; to take the undo back: actorsync undo" in out
    assert tree(www) == OLD
    code, _, err = act("run")
    assert code == 0
    assert "in sync: nothing to do (3 files)" in err
    assert "4 paths undone" in err
    assert tree(www) == OLD
    assert "4 paths stay undone" in act("status")[1]

    assert act("undo", "--yes")[0] == 0
    assert tree(www) == NEW
    assert act("run")[0] == 0
    assert tree(www) == NEW

    records = [json.loads(line) for line in act("history", "--json")[1].splitlines()]
    assert [record["changes_to_undo"] for record in records[:4]] == [0, 4, 0, 0]
    files = [json.loads(line) for line in act("trash list", "--json")[1].splitlines()]
    assert {(record["path"], record["because"]) for record in files} == {
        ("page.php", "replaced"),
        ("d/gone", "removed"),
    }
    assert act("trash empty", "--older-than", "1d")[1].startswith("0 files of 0 runs deleted")
    assert act("trash empty")[1].startswith("2 files of")
    assert tree(target[0] / ".trash") == {}
    assert not [path for path in (target[0] / ".trash").iterdir() if path.is_dir()]
    assert "the trash is empty" in act("trash list")[1]


@pytest.mark.parametrize("target", ["local"], indirect=True)
def test_path_that_was_changed_since_keeps_an_undo_from_beginning(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    www = target[0] / "www"
    act("run")
    put(tmp_path / "source", NEW)
    act("run")
    (www / "page.php").write_bytes(b"edited on the server")
    before = tree(target[0])
    code, out, err = act("undo", "--yes")
    assert code == 4
    assert "1 path in the way:\n  page.php: it is not as the run left it\n" in out
    assert err.splitlines()[-1].startswith("actorsync: 1 path is not as run 2 left it, and nothing was undone")
    assert tree(target[0]) == before
    assert act("undo", "2", "d", "--yes")[0] == 0
    assert tree(www) == OLD | {"page.php": b"edited on the server"}


@pytest.mark.parametrize("target", ["local"], indirect=True)
def test_mistakes_with_an_undo_are_one_line_each(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]]
) -> None:
    assert act("undo")[2].startswith("actorsync: no run can be undone: the trash has nothing of this profile;")
    assert act("run")[0] == 0
    wrong = {
        "undo 7": "run 7 cannot be undone: the trash has nothing of it; see: actorsync history",
        "undo nowhere": "run 1 has changed nothing at 'nowhere'; see: actorsync trash list",
        "undo ../etc": "../etc is not a path on the target; write it relative to the target",
        "trash empty 9": "the trash has nothing of run 9; see: actorsync trash list",
        "trash empty 1 page": "page is not the number of a run; to see the numbers: actorsync trash list",
        "trash empty --older-than soon": '"soon" is not a duration',
    }
    for typed, line in wrong.items():
        command = typed.split(" empty")[0] + " empty" if typed.startswith("trash") else "undo"
        code, out, err = act(command, *typed.removeprefix(command).split())
        assert (code, out) == (2, "")
        assert line in err.splitlines()[-1]


@pytest.mark.parametrize("target", ["ftp", "sftp"], indirect=True)
def test_old_files_get_names_back_that_are_not_ascii(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    old = {"é page": b"old page", "ü gone": b"gone", "same": b"same"}
    for files in (old, {"é page": b"a new page", "same": b"same"}):
        put(tmp_path / "source", files)
        assert act("run")[0] == 0
    code, _, err = act("undo", "--yes")
    assert (code, err) == (0, "")
    assert tree(target[0] / "www") == old


@pytest.mark.parametrize("target", ["local"], indirect=True)
def test_undo_and_empty_trash_refuse_while_a_release_is_not_ended(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    state, then = Path(os.environ["XDG_STATE_HOME"]), tmp_path / "then"
    profile = tmp_path / "shop.toml"
    assert act("run")[0] == 0
    put(tmp_path / "source", NEW)
    copied = json.dumps(["cp", "-r", str(state), str(then)])
    profile.write_text(f'{target[1]}[publish]\nmode = "burst"\ncheck = {copied}\n')
    assert act("run")[0] == 0
    shutil.rmtree(state)
    then.rename(state)  # the journal as a run leaves it that is killed during the check
    before = tree(target[0])
    for command in ("undo --yes", "trash empty", "trash empty 2"):
        first, *more = command.replace("trash empty", "trash_empty").split()
        code, _, err = act(first.replace("_", " "), *more)
        assert code == 4
        assert err == (
            "actorsync: nothing was changed: a release was broken off, and the target has a part of it; "
            "finish it first, with actorsync run\n"
        )
    assert tree(target[0]) == before
    assert act("run")[0] == 0
    assert act("undo", "2", "--yes")[0] == 0
    assert tree(target[0] / "www")["page.php"] == OLD["page.php"]


def test_directory_that_became_a_file_is_undone_and_done_again(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    same = {f"same {number}": b"same" for number in range(4)}  # so that a guard allows the removals
    old, new = {"d/e/file": b"in a directory"} | same, {"d": b"a file"} | same
    put(tmp_path / "source", old)
    assert act("run")[0] == 0
    (tmp_path / "source" / "d" / "e" / "file").unlink()  # so that `put` can remove its directories
    put(tmp_path / "source", same)
    put(tmp_path / "source", new)
    assert act("run")[0] == 0
    for expected in (old, new):
        code, _, err = act("undo", "--yes")
        assert (code, err) == (0, "")
        assert tree(target[0] / "www") == expected


@pytest.mark.parametrize("target", ["local"], indirect=True)
def test_old_files_in_a_trash_that_the_profile_does_not_name_are_reached_with_set(
    target: tuple[Path, str], act: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for files in (OLD, NEW):
        put(tmp_path / "source", files)
        assert act("run")[0] == 0
    (tmp_path / "shop.toml").write_text(target[1].replace('[trash]\npath = "../.trash"\n', ""))
    for command, *more in (("undo", "--yes"), ("trash empty",)):
        code, _, err = act(command, *more)
        assert code == 2
        assert err == (
            "actorsync: the old files of run 2 are in '../.trash', and trash.path does not name that; "
            "add --set trash.path=../.trash\n"
        )
    assert act("undo", "--yes", "--set", "trash.path=../.trash")[0] == 0
    assert tree(target[0] / "www") == OLD


def test_number_is_a_run_and_what_is_before_it_a_profile() -> None:
    default = Path("actorsync.toml")
    assert words_of([]) == (default, None, ())
    assert words_of(["12"]) == (default, 12, ())
    assert words_of(["12", "a/", "./3"]) == (default, 12, ("a", "3"))
    assert words_of(["shop.toml", "a"]) == (Path("shop.toml"), None, ("a",))
    assert words_of(["shop.toml", "12", "."]) == (Path("shop.toml"), 12, ("",))
