"""Permissions over SFTP: to a model of a server, and in whole runs from and to the embedded one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.contract import Endpoint, Session, Staged, Upload
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import OperationRefused
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Event, Warned
from actorsync.model.report import Report
from actorsync.planning.modes import KEEP, Modes
from actorsync.planning.selection import Selection
from actorsync.policy import Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.protocols.sftp.replies import Status
from actorsync.supervisor import supervise
from actorsync.testing.conformance.contents import MemoryContent
from tests.support.servers.evil_sftp import refusal
from tests.support.servers.sftp_tree import ROOT, Node, SftpTree
from tests.support.servers.sftp_tree_wire import session_with
from tests.support.servers.ssh_servers import embedded_server
from tests.support.servers.ssh_target import endpoint_for

TREE = {"page": 0o600, "run.sh": 0o755, "shared": 0o664}
POLICY = Policy(Selection(), MaxDelete.parse("100%"), delete=True, connections=2)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


async def put(session: Session, path: str, mode: int | None, *, keeps_mode: bool = False) -> Entry:
    upload = Upload(path, f".actorsync-{path}.tmp", MemoryContent(b"content"), mode=mode, keeps_mode=keeps_mode)
    staged, _ = await session.stage(upload)
    assert isinstance(staged, Staged)
    (entry,) = await session.commit([staged])
    assert isinstance(entry, Entry)
    return entry


# One session.


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664])
async def test_mode_travels_with_the_open_and_is_completed_before_the_rename(
    mode: int, autojump_clock: MockClock
) -> None:
    tree = SftpTree()
    async with session_with(tree) as (session, _):
        assert (await put(session, "f", mode)).mode == mode
        assert not session.warnings()
    assert [(call.verb, call.mode) for call in tree.calls if call.mode is not None] == [
        ("OPEN", mode),
        ("FSETSTAT", mode),
    ]
    assert tree.verbs().count("LSTAT") == 3, "the guard against links, the size, and the final name: as without a mode"


async def test_no_mode_is_left_to_the_server(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    async with session_with(tree) as (session, _):
        assert (await put(session, "f", None)).mode == 0o644
    assert not [call for call in tree.calls if call.mode is not None]


async def test_replaced_file_hands_its_mode_on(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.nodes[f"{ROOT}/f"] = Node(stat.S_IFREG, b"old", mode=0o4604)
    async with session_with(tree) as (session, _):
        assert (await put(session, "f", 0o640, keeps_mode=True)).mode == 0o604
        assert (await put(session, "new", 0o640, keeps_mode=True)).mode == 0o640
    opened = [call.mode for call in tree.calls if call.verb == "OPEN"]
    assert opened == [0o604, 0o640]


async def test_set_modes_looks_first_and_sets_what_differs(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.mkdir(f"{ROOT}/d")
    tree.nodes[f"{ROOT}/d"].mode = 0o2775
    tree.write(f"{ROOT}/d/f", b"x")
    tree.write(f"{ROOT}/same", b"x")
    tree.link(f"{ROOT}/link", f"{ROOT}/same")
    wanted = [
        Entry("d", Kind.DIRECTORY, mode=0o750),
        Entry("d/f", Kind.FILE, mode=0o755),
        Entry("same", Kind.FILE, mode=0o644),
        Entry("link", Kind.FILE, mode=0o777),
        Entry("gone", Kind.FILE, mode=0o777),
        Entry("../f", Kind.FILE, mode=0o777),
    ]
    async with session_with(tree) as (session, _):
        *done, link, gone, outside = await session.set_modes(wanted)
        assert not session.warnings()
    assert [it.mode for it in done if isinstance(it, Entry)] == [0o750, 0o755, 0o644]
    assert [type(it) for it in (link, gone, outside)] == [OperationRefused] * 3
    told = {call.path: call.mode for call in tree.calls if call.verb == "SETSTAT"}
    assert told == {f"{ROOT}/d": 0o2750, f"{ROOT}/d/f": 0o755}, "setgid of a directory stays; nothing else is touched"


@pytest.mark.parametrize(
    ("reply", "warning"),
    [
        (Status(8), "the server refuses to set times and permissions, so "),
        (Status(0), "permissions are not set as sync.modes says (first: f: the server ignores it); "),
    ],
)
async def test_mode_that_the_server_does_not_set_is_one_warning(
    reply: Status, warning: str, autojump_clock: MockClock
) -> None:
    tree = SftpTree(umask=0o077, instead=lambda call: reply if call.verb in {"FSETSTAT", "SETSTAT"} else None)
    async with session_with(tree) as (session, _):
        assert (await put(session, "f", 0o644)).mode == 0o600
        (entry,) = await session.set_modes([Entry("f", Kind.FILE, mode=0o640)])
        assert isinstance(entry, Entry)
        assert entry.mode == 0o600
        (shown,) = session.warnings()
    assert shown.startswith(warning)


# Whole runs.


def filled(folder: Path) -> Path:
    folder.mkdir()
    (folder / "d").mkdir()
    for name, mode in TREE.items():
        (folder / "d" / name).write_text(name)
        (folder / "d" / name).chmod(mode)
    (folder / "d").chmod(0o750)
    return folder


def modes_in(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o7777 for path in folder.rglob("*")}


EXPECTED = {"d": 0o750} | {f"d/{name}": mode for name, mode in TREE.items()}


@attrs.define
class Runs:
    """Runs of one pair of trees with one journal."""

    source: Endpoint
    target: Endpoint
    events: list[Event] = attrs.Factory(list)
    journal: Journal = attrs.Factory(open_memory_journal)

    async def once(self, policy: Policy = POLICY) -> Report:
        self.events.clear()
        options = RunOptions(policy, observers=[self.events.append])
        report = await supervise(self.source, self.target, self.journal, options)
        assert report.exit_code == 0, report
        return report


async def test_push_keeps_modes_and_a_chmod_is_no_upload(tmp_path: Path) -> None:
    source = filled(tmp_path / "source")
    (tmp_path / "root").mkdir()
    with embedded_server(tmp_path / "root", tmp_path) as (server, target):
        runs = Runs(LocalEndpoint(source), endpoint_for(target))
        await runs.once()
        assert modes_in(tmp_path / "root") == EXPECTED
        (source / "d" / "page").chmod(0o644)
        (source / "d").chmod(0o555)
        begun = len(server.commands)
        report = await runs.once()
        assert (report.copied, report.modes_set) == (0, 2)
        assert not [it for it in server.commands[begun:] if it.verb == "WRITE"]
        assert modes_in(tmp_path / "root") == EXPECTED | {"d/page": 0o644, "d": 0o755}
        assert (await runs.once()).modes_set == 0


async def test_pull_keeps_modes_and_never_widens_them(tmp_path: Path) -> None:
    """A file that only its owner may read stays one, and setuid is not taken from a server."""
    root = filled(tmp_path / "root")
    (root / "d" / "run.sh").chmod(0o6755)
    (tmp_path / "target").mkdir()
    with embedded_server(root, tmp_path) as (_, target):
        runs = Runs(endpoint_for(target), LocalEndpoint(tmp_path / "target"))
        await runs.once()
        assert modes_in(tmp_path / "target") == EXPECTED
        (root / "d" / "page").chmod(0o640)
        report = await runs.once()
        assert (report.copied, report.modes_set) == (0, 1)
        assert modes_in(tmp_path / "target") == EXPECTED | {"d/page": 0o640}


async def test_keep_and_fixed_modes_on_a_server(tmp_path: Path) -> None:
    source = filled(tmp_path / "source")
    (tmp_path / "root").mkdir()
    with embedded_server(tmp_path / "root", tmp_path) as (_, target):
        runs = Runs(LocalEndpoint(source), endpoint_for(target))
        await runs.once(attrs.evolve(POLICY, modes=Modes("fixed", 0o640, 0o711)))
        assert modes_in(tmp_path / "root") == {"d": 0o711} | {f"d/{name}": 0o640 for name in TREE}
        (tmp_path / "root" / "d" / "page").chmod(0o604)
        (source / "d" / "page").write_text("other")
        assert (await runs.once(attrs.evolve(POLICY, modes=KEEP))).copied == 1
        assert modes_in(tmp_path / "root")["d/page"] == 0o604


async def test_server_that_refuses_modes_is_one_warning_and_no_failure(tmp_path: Path) -> None:
    source = filled(tmp_path / "source")
    (tmp_path / "root").mkdir()
    refused = refusal("SETSTAT", "FSETSTAT", code=3)
    with embedded_server(tmp_path / "root", tmp_path, instead=refused) as (_, target):
        runs = Runs(LocalEndpoint(source), endpoint_for(target))
        await runs.once()
        warnings = [it.text for it in runs.events if isinstance(it, Warned)]
        # One connection may report the directory, before an upload shows that every setting is refused.
        assert warnings
        assert len(set(warnings)) == len(warnings) <= 2
        assert all("permissions" in text for text in warnings)
        assert modes_in(tmp_path / "root")["d/page"] == 0o600, "what the file is made with is never wider"
        (source / "d" / "run.sh").chmod(0o700)
        await runs.once()
        assert [it for it in runs.events if isinstance(it, Warned)]
        assert (await runs.once()).modes_set == 0, "a mode that is refused is not asked for in every run"
