"""Whole runs with real SFTP servers that behave unlike OpenSSH: Erlang's ssh, a server on npm's ssh2, dropbear."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.model.event import Warned
from actorsync.model.operation import Copy, Done
from tests.support.mirror import Run, contents, mirror, temporaries, times
from tests.support.scenarios import write
from tests.support.servers.ftp import home
from tests.support.servers.other_ssh_servers import DROPBEAR, ERLANG, NPM, OTHERS, OtherServer, serving_other

pytestmark = pytest.mark.full

WARNINGS = {ERLANG: ["one file at a time"], NPM: ["in another order"], DROPBEAR: []}


@pytest.fixture(scope="module", params=OTHERS)
def server(request: pytest.FixtureRequest) -> Iterator[OtherServer]:
    with home() as folder, serving_other(request.param, folder) as started:
        yield started


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def warned(run: Run) -> list[str]:
    return [event.text for event in run.of(Warned)]


async def test_tree_arrives_by_content_and_changes_follow(server: OtherServer, source: Path, tmp_path: Path) -> None:
    rng = random.Random(12)
    for number in range(300):
        write(source / f"d{number % 7}" / f"{number}", rng.randbytes(rng.choice([0, 10, 900, 900, 5_000, 40_000])))
    write(source / "big", rng.randbytes(700_000))
    root = server.fresh_folder("www")

    async def run() -> Run:
        run = await mirror(source, server.endpoint("www"), tmp_path / "journal", connections=3, settled=True)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(root) == contents(source)
        assert times(root) == times(source)
        return run

    texts = warned(await run())
    assert len(texts) == len(WARNINGS[server.target.name])
    assert all(part in text for part, text in zip(WARNINGS[server.target.name], texts, strict=True))
    write(source / "d0/0", b"changed")
    (source / "d1/1").unlink()
    (source / "d2/2").rename(source / "d2/renamed")
    assert (await run()).report.reconnects == 0, "a later run knows the server"
    assert not (await run()).of(Done)


async def test_tree_is_pulled_by_content(server: OtherServer, tmp_path: Path) -> None:
    folder, local = server.fresh_folder("pulled"), tmp_path / "local"
    local.mkdir()
    rng = random.Random(13)
    for number in range(150):
        write(folder / f"d{number % 5}" / f"{number}", rng.randbytes(rng.choice([0, 900, 5_000, 200_000])))
    server.target.adopt()
    run = await mirror(server.endpoint("pulled"), LocalEndpoint(local), None, settled=True)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(local) == contents(folder)


async def test_names_that_the_server_takes_for_one_do_not_replace_each_other(
    server: OtherServer, source: Path, tmp_path: Path
) -> None:
    names = [b"menu-\xe8", b"menu-\xe9", "menu-é".encode(), b"plain"]
    for name in names:
        write(source / os.fsdecode(name), name)
        write(source / os.fsdecode(b"folder " + name) / "inside", name)
    root = server.fresh_folder("names")
    run = await mirror(source, server.endpoint("names"), tmp_path / "journal", settled=True, seconds=120)
    stored = contents(root)
    wrong = {path for path in stored if stored[path] != contents(source).get(path)}
    sent = {done.operation.path for done in run.of(Done) if isinstance(done.operation, Copy)}
    assert not wrong
    assert sent == {path for path in stored if stored[path] is not None}
    assert {"plain", "menu-é", "folder menu-é/inside"} <= sent
    assert not temporaries(root)
    assert (run.report.exit_code == 0) == (set(stored) == set(contents(source)))
