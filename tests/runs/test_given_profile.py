"""Profiles that a program gives as arguments, with values of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import actorsync
from actorsync.errors import ProfileError


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a.txt").write_text("a")
    (tmp_path / "public" / "b.tmp").write_text("b")
    (tmp_path / "www").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACTORSYNC_SYNC_CONNECTIONS", "nonsense")  # no variable takes part
    return tmp_path


def test_run_without_a_file_mirrors_with_keys_as_arguments(trees: Path) -> None:
    report = actorsync.run(source="public", target="./www", exclude=["*.tmp"], max_delete="10%", delete=True)
    assert report.exit_code == 0
    assert {path.name: path.read_text() for path in (trees / "www").iterdir()} == {"a.txt": "a"}


def test_profile_made_in_a_program_has_the_journal_of_a_file_with_the_same_places(
    trees: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTORSYNC_SYNC_CONNECTIONS")
    (trees / "shop.toml").write_text('[source]\npath = "public"\n[target]\nurl = "./www"\n')
    made = actorsync.make_profile(trees / "public", target="./www")
    assert made.identity == actorsync.load_profile("shop.toml", {"sync.connections": 2}).identity


def test_tables_take_the_keys_of_a_server_in_the_spelling_of_python(trees: Path) -> None:
    (trees / "key").write_text("")
    (trees / "key").chmod(0o600)
    target = {"url": "sftp://me@example.com/www", "key_file": trees / "key", "agent": False}
    made = actorsync.make_profile("public", target, connections=3, exclude_extensions=(".tmp",))
    assert (made.target.host, made.target.key_file, made.target.agent) == ("example.com", trees / "key", False)
    assert (made.sync.connections, made.sync.exclude_extensions) == (3, (".tmp",))


def test_tables_beside_sync_are_arguments(trees: Path) -> None:
    made = actorsync.make_profile("public", "./www", delete=True, audit={"repair": "fix"}, shutdown={"drain": "2s"})
    assert (made.sync.delete, made.audit.repair, made.audit.listings, made.shutdown.drain) == (True, "fix", 50, 2.0)
    with pytest.raises(ProfileError, match=r"<program>: sync\.audit: unknown key; it is a table"):
        actorsync.make_profile("public", "./www", audit=False)


def test_source_on_a_server_is_known_by_its_url(trees: Path) -> None:
    made = actorsync.make_profile({"url": "ftp://me@h/x", "password": "true"}, "./www")
    assert made.source.is_remote
    assert made.look_up().source.password is not None
    assert "true" not in repr(made.source.password)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"delte": True}, "<program>: sync.delte: unknown key; did you mean sync.delete?"),
        ({"delete": None}, "<program>: sync.delete: None is no value; leave the key out"),
        ({"delete": 1}, "<program>: sync.delete: 1 is not true or false"),
        ({"connections": object()}, "<program>: sync.connections: "),
        ({"exclude": "x"}, "<program>: sync.exclude: "),
    ],
)
def test_key_that_cannot_be_used_is_one_line(keys: dict[str, Any], line: str, trees: Path) -> None:
    with pytest.raises(ProfileError) as raised:
        actorsync.run(source="public", target="./www", **keys)
    assert str(raised.value).startswith(line)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "give a profile, or source= and target="),
        ({"source": "public"}, "give a profile, or source= and target="),
        ({"profile": "shop.toml", "target": "./www", "delete": True}, "a profile is given as well: target, delete"),
        ({"source": "public", "target": "./www", "overrides": {"sync.delete": True}}, "overrides= is for a profile"),
    ],
)
@pytest.mark.parametrize("call", [actorsync.run, actorsync.plan], ids=["run", "plan"])
def test_arguments_that_contradict_each_other_raise_type_error(
    call: Any, arguments: dict[str, Any], reason: str, trees: Path
) -> None:
    with pytest.raises(TypeError, match=reason):
        call(**arguments)


def test_overrides_as_texts_say_how_to_write_them(trees: Path) -> None:
    texts: Any = ["sync.delete=true"]
    with pytest.raises(TypeError, match=r'overrides= takes a mapping: \{"sync.delete": True\}'):
        actorsync.run(trees / "shop.toml", overrides=texts)


def test_overrides_take_values_of_python(trees: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTORSYNC_SYNC_CONNECTIONS")
    (trees / "shop.toml").write_text('[source]\npath = "public"\n[target]\nurl = "./www"\n')
    values = {"sync.delete": True, "sync.exclude": ["*.tmp"], "sync.every": "10s", "sync.connections": "2"}
    loaded = actorsync.load_profile("shop.toml", values).sync
    assert (loaded.delete, loaded.exclude, loaded.every, loaded.connections) == (True, ("*.tmp",), 10.0, 2)


async def test_open_sync_takes_source_and_target(trees: Path) -> None:
    async with actorsync.open_sync(source="public", target="./www") as sync:
        pass
    assert sync.report.copied == 2
    with pytest.raises(TypeError, match="overrides="):
        async with actorsync.open_sync(actorsync.make_profile("public", "./www"), overrides={"sync.delete": True}):
            pass
