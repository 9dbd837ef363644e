"""The suite for endpoints, and whole runs, on an SFTP server that behaves unlike OpenSSH in one way each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from actorsync.model.event import Warned
from actorsync.model.operation import Copy, Done
from actorsync.testing.conformance.place import Check, Place
from actorsync.testing.conformance.suite import CHECK_FUNCTIONS
from actorsync.testing.servers.sftp import EmbeddedSftpServer
from tests.support.mirror import Run, contents, mirror, times
from tests.support.scenarios import write
from tests.support.servers.ftp import home
from tests.support.servers.ssh_servers import embedded_server, fresh_folder
from tests.support.servers.ssh_target import SshTarget, endpoint_for

EXTENSIONS = frozenset({"posix-rename@openssh.com", "fsync@openssh.com", "statvfs@openssh.com", "limits@openssh.com"})
VARIANTS: dict[str, dict[str, Any]] = {
    "unknown version": {"version": "Files_1.0"},
    "no extensions": {"version": "Files_1.0", "without": EXTENSIONS},
    "any order by file": {"version": "Files_1.0", "order": "by file"},
    "any order": {"version": "Files_1.0", "order": "none"},
    "few handles": {"version": "Files_1.0", "max_handles": 3},
    "mixed up handles": {"version": "Erlang/4.15", "mixes_up_handles": True},
    "mixed up handles and no extensions": {"version": "Erlang/4.15", "mixes_up_handles": True, "without": EXTENSIONS},
}
#: The variants that the suite runs on. The others differ from these, or from the usual server, in one thing only.
IN_SUITE = ("any order", "few handles", "mixed up handles and no extensions")


@attrs.frozen
class Variant:
    """A running server, and its settings."""

    server: EmbeddedSftpServer
    target: SshTarget


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda name: name.replace(" ", "_"))
def variant(request: pytest.FixtureRequest) -> Iterator[Variant]:
    with home() as folder:
        root = folder / "root"
        root.mkdir()
        with embedded_server(root, folder, **VARIANTS[request.param]) as (server, target):
            yield Variant(server, target)


@pytest.mark.full
@pytest.mark.parametrize("check", CHECK_FUNCTIONS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("variant", IN_SUITE, indirect=True, ids=lambda name: name.replace(" ", "_"))
async def test_sftp_endpoint_passes_the_suite_on_an_odd_server(variant: Variant, check: Check) -> None:
    fresh_folder(variant.target, check.__name__)
    endpoint = endpoint_for(variant.target, check.__name__)
    if variant.server.mixes_up_handles:  # a check expects no lost connection, as in a later run
        endpoint.traits.recall({"lanes": f"1 @ SSH-2.0-{variant.server.version}"})
    await check(Place(endpoint))


def warned(run: Run) -> list[str]:
    return [event.text for event in run.of(Warned)]


async def test_tree_arrives_and_changes_follow_on_an_odd_server(variant: Variant, tmp_path: Path) -> None:
    root, source = fresh_folder(variant.target, "whole"), tmp_path / "source"
    for number in range(90):
        write(source / f"d{number % 4}" / f"{number}", b"%d" % number * (number * 40))
    write(source / "big", b"0123456789" * 40_000)

    async def run() -> Run:
        target = endpoint_for(variant.target, "whole")
        run = await mirror(source, target, tmp_path / "journal", connections=2, settled=True)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(root) == contents(source)
        assert times(root) == times(source)
        return run

    await run()
    write(source / "d0/4", b"changed")
    (source / "d1/5").unlink()
    (source / "d2/6").rename(source / "d2/renamed")
    await run()
    assert not (await run()).of(Done)


async def test_mixed_up_handles_lead_to_one_file_at_a_time_and_a_warning_once(tmp_path: Path) -> None:
    """A later run knows it from the journal: it loses no connection over it."""
    source = tmp_path / "source"
    for number in range(120):
        write(source / f"{number}", b"%d" % number * 30)
    with home() as folder:
        (folder / "root").mkdir()
        with embedded_server(folder / "root", folder, version="Erlang/4.15", mixes_up_handles=True) as (server, target):
            first = await mirror(source, endpoint_for(target), tmp_path / "journal", connections=1, settled=True)
            assert (first.report.exit_code, first.report.reconnects) == (0, 1)
            assert contents(server.root) == contents(source)
            (text,) = warned(first)
            assert "one file at a time" in text
            for number in range(120):
                write(source / f"{number}", b"new %d" % number)
            second = await mirror(source, endpoint_for(target), tmp_path / "journal", connections=1, settled=True)
            assert (second.report.exit_code, second.report.reconnects) == (0, 0)
            assert contents(server.root) == contents(source)
            assert warned(second) == [text]


async def test_limit_of_open_files_is_found_without_a_failed_file_and_remembered(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(100):
        write(source / f"{number}", b"x" * number)
    with home() as folder:
        (folder / "root").mkdir()
        with embedded_server(folder / "root", folder, version="Files_1.0", max_handles=5) as (server, target):
            first = await mirror(source, endpoint_for(target), tmp_path / "journal", connections=1, settled=True)
            assert (first.report.exit_code, first.report.reconnects) == (0, 0)
            sent = [done.operation.path for done in first.of(Done) if isinstance(done.operation, Copy)]
            assert len(sent) == len(set(sent)) == 100
            for number in range(100):
                write(source / f"{number}", b"new %d" % number)
            server.commands.clear()
            second = await mirror(source, endpoint_for(target), tmp_path / "journal", connections=1, settled=True)
            assert second.report.exit_code == 0
            assert sum(command.verb == "CREATE" for command in server.commands) == 100, "no OPEN was refused"
            assert "only 5 files" in warned(second)[0]
