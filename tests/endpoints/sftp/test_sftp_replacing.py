"""Whole runs to a model of a server that replaces atomically or in two steps, with cuts anywhere, in virtual time."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from actorsync.model.event import Event
from actorsync.model.operation import Failed
from actorsync.protocols.sftp.replies import Reply, Status
from tests.support.servers.sftp_tree import EXTENSIONS, POSIX_RENAME, ROOT, Call, SftpTree
from tests.support.servers.sftp_tree_wire import TreeEndpoint
from tests.support.world.memory_mirror import LANES, Mirror


@pytest.mark.parametrize("cut", range(0, 60, 3))
@pytest.mark.parametrize("replaces", [True, False])
async def test_m033_m050_replacement_keeps_a_complete_version_when_the_connection_is_lost(
    replaces: bool, cut: int, autojump_clock: MockClock
) -> None:
    mirror = Mirror()
    tree = SftpTree(extensions=EXTENSIONS if replaces else {name: "" for name in EXTENSIONS if name != POSIX_RENAME})
    budget = [1 << 20]
    target = TreeEndpoint(tree, lanes=LANES, budget=budget)
    mirror.fill(7)
    assert (await mirror.run(target)).exit_code == 0
    for number in range(7):
        mirror.source.write(f"d/{number}", b"a new version")

    def whole(call: Call) -> None:
        for number in range(7):
            there = tree.files().get(f"{ROOT}/d/{number}")
            old = b"%d" % number * 9
            aside = [path for path, data in tree.files().items() if ".actorsync+" in path and data == old]
            assert there in {old, b"a new version"} or aside, f"{call} took the only copy"

    tree.after = whole
    budget[0] = cut
    report = await mirror.run(target)
    assert (report.exit_code, report.failed) == (0, 0)
    assert tree.files() == {f"{ROOT}/{path}": data for path, data in mirror.source.files().items()}
    assert mirror.journal.pending() == []


async def test_m033_old_version_is_restored_when_its_replacement_is_given_up(autojump_clock: MockClock) -> None:
    """The connection is lost at each rename while the old version is set aside. The sweep restores that version."""
    mirror = Mirror()
    tree = SftpTree(extensions={})
    target = TreeEndpoint(tree, lanes=1)
    mirror.source.write("f", b"old")
    mirror.source.write("g", b"other")
    assert (await mirror.run(target)).exit_code == 0
    mirror.source.write("f", b"the new one")

    def lose(call: Call) -> Reply | None:
        """Lose the connection once the old version is set aside, and then at every rename of the new version."""
        if call.verb == "RENAME" and (".actorsync+" in call.path or f"{ROOT}/f" not in tree.files()):
            target.channels[-1].requests.lose("reset")
            return Status(4)
        return None

    tree.instead = lose
    tree.after = lambda call: (
        target.channels[-1].requests.lose("reset") if call.verb == "RENAME" and ".actorsync+" in call.new else None
    )

    def observe(event: Event) -> None:
        if isinstance(event, Failed):
            tree.instead = lambda call: None  # from here on the server works normally

    report = await mirror.run(target, observe=observe)
    assert (report.exit_code, report.failed) == (1, 1)
    assert tree.files() == {f"{ROOT}/f": b"old", f"{ROOT}/g": b"other"}


async def test_m049_server_that_folds_case_keeps_the_first_of_two_names(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    tree = SftpTree(folds=True)
    target = TreeEndpoint(tree, lanes=LANES)
    for path in ("A", "a", "d/other", "D/Other", "d/own", "D/OWN 2"):
        mirror.source.write(path, path.encode())
    for _ in range(2):
        report = await mirror.run(target)
        assert (report.exit_code, report.failed) == (1, 4), "one file, and one directory with its contents"
        assert sum("takes both names for one" in why for _, why in report.failures) == 2
        lost = {path for path, _ in report.failures}
        kept = {"A", "a", "d/other", "D/Other", "d/own", "D/OWN 2"} - lost
        assert sorted(tree.files().values()) == sorted(path.encode() for path in kept), "each once, and complete"
    for path in sorted(lost, reverse=True):
        mirror.source.delete(path)
    assert (await mirror.run(target)).exit_code == 0
    assert sorted(tree.files().values()) == sorted(path.encode() for path in kept)
