"""The schemes that docs/endpoints.md names, on real servers."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint
from actorsync.errors import GuardRefused, LoginRefused
from actorsync.model.report import Report
from actorsync.profile import load_profile
from actorsync.runs.runner import run_once
from actorsync.testing import check_endpoint
from tests.support.servers.storage import NAMES, Storage, storage

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning"),  # by the library of Azure
]

_folders = iter(range(1_000_000))
#: Where servers differ. The stores of this folder pass the whole suite in `make test`.
_CHECKS = [
    *("commit_replaces", "commit_twice", "big_file", "content_of_unknown_size_arrives", "reading_can_be_stopped"),
    *("move", "move_replaces_nothing", "remove", "changed_file_is_not_removed", "sweep"),
    *("listing_of_no_directory_is_a_problem", "abandon_after_cancelling"),
]


@pytest.fixture(scope="module", params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[Storage]:
    with storage(request.param) as running:
        yield running


async def fresh(server: Storage) -> FsspecEndpoint:
    """Return an endpoint for a directory of its own."""
    endpoint = server.endpoint(f"d{next(_folders)}")
    async with endpoint.open_session() as session:
        await session.make_directories(["", "d"] if server.is_bucket else [""])
    return endpoint


@pytest.mark.parametrize("check", _CHECKS)
async def test_server_passes_the_suite(server: Storage, check: str) -> None:
    await check_endpoint(lambda: fresh(server), only=check, keeps_times=False, keeps_directories=not server.is_bucket)


# Names, in whole runs.

KEPT = [
    *("%41.txt", "A.txt", "%2F.txt", "100%", "a", "+", "a+b", "&", "a b", " lead", "~", "(x)", "'q'", "[a]"),
    *("{x}", "=", "@", "%25", "\ufffd", "日" * 80, "x" * 200),
    *(unicodedata.normalize("NFC", "Zürich"), unicodedata.normalize("NFD", "über"), "😀"),
]
#: Names that not every server keeps, and the servers that do.
SOME: dict[str, set[str]] = {
    "#": {"mod-dav", "moto", "samba", "wsgidav"},
    "a#b": {"mod-dav", "moto", "samba", "wsgidav"},
    "?": {"mod-dav", "moto"},
    "a?b": {"mod-dav", "moto"},
    ";": {"mod-dav", "moto", "azurite", "samba"},
    "a;b": {"mod-dav", "moto", "azurite", "samba"},
    "a\\b": {"mod-dav", "moto", "wsgidav"},
    "a:b": {"mod-dav", "moto", "azurite", "wsgidav"},
    "*": {"mod-dav", "moto", "azurite", "wsgidav"},
    '"': {"mod-dav", "moto", "azurite", "wsgidav"},
    "<t>": {"mod-dav", "moto", "azurite", "wsgidav"},
    "|": {"mod-dav", "moto", "azurite", "wsgidav"},
    "a\tb": {"mod-dav", "moto"},
    "trail ": {"mod-dav", "moto", "wsgidav"},
    "dot.": {"mod-dav", "moto", "azurite", "wsgidav"},
    "CON": {"mod-dav", "moto", "azurite", "wsgidav"},
    "menu-\udce8": set(),
}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def run(profile: Path) -> Report:
    # Files whose time proves nothing are compared again after three seconds, here of a fast clock.
    return trio.run(run_once, load_profile(profile), clock=MockClock(rate=30))


def test_each_name_arrives_exactly_or_fails_alone(
    server: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushed twice, changed, and pulled back. Directories of such names are made and removed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    server.set_secrets(monkeypatch)
    public, back = tmp_path / "public", tmp_path / "back"
    lost = {name for name, servers in SOME.items() if server.name not in servers}
    for name in [*KEPT, *SOME]:
        for path in (public / name, public / "dirs" / name / "in"):
            if path.parent == public or name in SOME or name in KEPT[:6]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(os.fsencode(path))
    (public / "files").mkdir()
    (public / "files" / "plain").touch()
    sync = "[sync]\ndelete = true\nmax-delete = '100%'\n"
    push, pull = tmp_path / "push.toml", tmp_path / "pull.toml"
    push.write_text(f'[source]\npath = "public"\n{server.table("target", "www")}{sync}')
    pull.write_text(f'{server.table("source", "www")}[target]\nurl = "back"\n{sync}')

    def kept() -> dict[str, bytes]:
        return {path: data for path, data in tree(public).items() if lost.isdisjoint(path.split("/"))}

    first, second = run(push), run(push)
    assert {path for path, _ in first.failures} >= set(tree(public)) - set(kept())
    assert first.copied == len(kept())
    assert (second.copied, second.removed) == (0, 0)
    assert len(second.failures) == len(first.failures)
    assert run(pull).exit_code == 0
    assert tree(back) == kept()

    for name in lost:
        (public / name).unlink()
    shutil.rmtree(public / "dirs")
    (public / "a b").write_text("changed")
    (public / "a+b").rename(public / "files" / "a+c")
    third = run(push)
    assert (third.exit_code, third.failures) == (0, ())
    assert run(pull).exit_code == 0
    assert tree(back) == tree(public)
    assert (run(push).copied, run(pull).copied) == (0, 0)
    assert [path.name for path in back.iterdir() if path.is_dir()] == ["files"]


# Roots and logins.


async def test_mistyped_root_of_a_source_is_refused(server: Storage) -> None:
    with pytest.raises(GuardRefused, match="cannot be listed: the root does not exist"):
        await server.endpoint("typo", "source").identify()


@pytest.mark.parametrize("server", ["wsgidav", "mod-dav", "samba"], indirect=True)  # the others accept any key
async def test_wrong_password_is_a_rejected_login(server: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.servers.storage.PASSWORD", "wrong")
    with pytest.raises(LoginRefused):
        async with server.endpoint().open_session():
            pass


@pytest.mark.parametrize("server", ["samba"], indirect=True)
async def test_missing_share_is_named(server: Storage) -> None:
    async with attrs.evolve(server, path="missing").endpoint("www").open_session() as session:
        (refused,) = await session.make_directories([""])
    reason = "the server has no such share; check the first part of the path in the URL"
    assert str(refused) == f"cannot make directory '': {reason}"
