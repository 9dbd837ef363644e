"""A file that is moved on this machine: what another program saves under its name meanwhile is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Relocation
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.model.entry import Entry, Kind
from tests.support.system import seccomp


def move_in_child(root: Path) -> int:
    """Fork a child that moves the file ``old`` to ``new``, and waits for its supervisor before; return its pid."""
    found = os.stat(root / "old")
    entry = Entry("old", Kind.FILE, found.st_size, found.st_mtime_ns)

    async def move() -> None:
        async with LocalEndpoint(root).open_session() as session:
            await session.move([Relocation(entry, "new")])

    if pid := os.fork():
        return pid
    try:
        seccomp.install()
        trio.run(move)
    finally:
        os._exit(0)


@pytest.mark.parametrize("saved_at", range(1, 4))
def test_a_version_that_is_saved_over_the_old_name_at_any_system_call_of_a_move_is_kept(
    tmp_path: Path, saved_at: int
) -> None:
    if (reason := seccomp.why_not()) is not None:
        pytest.skip(reason)
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_bytes(b"as listed")
    calls: list[str] = []

    def save(_: int, path: str) -> None:
        if os.path.basename(path) in {"old", "new"}:
            calls.append(path)
            if len(calls) == saved_at:
                (tmp_path / "beside").write_bytes(b"saved meanwhile")
                (tmp_path / "beside").replace(root / "old")

    seccomp.supervise(move_in_child(root), None, save)
    assert calls, "no call about either name"
    expected = {b"saved meanwhile"} if len(calls) >= saved_at else {b"as listed"}
    assert expected <= {it.read_bytes() for it in root.iterdir()}, calls
