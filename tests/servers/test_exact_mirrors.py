"""Exact mirrors on every kind of target: what actorsync did not put there goes, and links are never followed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from actorsync.endpoints import Endpoint, Location
from actorsync.endpoints.fsspec.endpoint import open_fsspec
from actorsync.endpoints.ftp.wire.connection import Knowledge
from actorsync.planning.selection import Selection
from tests.support.mirror import mirror
from tests.support.servers.any_side import HIDING, LOCAL, Side, Sides, put

#: pyftpdlib is the one that follows links in its listings. FTP with and without MLSD, SFTP, a disk, and fsspec.
KINDS = ("pyftpdlib", "vsftpd", "proftpd", "pure-ftpd", "asyncssh", "openssh", LOCAL, "fsspec", *HIDING)


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with Sides.made() as made:
        yield made


def tree(root: Path) -> set[str]:
    """Return every path below a directory, without following links."""
    return {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, folders, files in os.walk(root)
        for name in (*folders, *files)
    }


def target_of(sides: Sides, kind: str) -> tuple[Side, Callable[[], Endpoint]]:
    side = sides.side(LOCAL if kind == "fsspec" else kind)
    if kind == "fsspec":
        return side, lambda: open_fsspec(Location(scheme="fsspec+file", path=str(side.root)))
    if side.server is not None and side.server.is_ftp:
        return side, lambda: side.endpoint(knowledge=Knowledge(finds_links=True))
    return side, side.endpoint


@pytest.mark.parametrize("kind", KINDS)
async def test_exact_mirror_removes_links_and_never_what_they_lead_to(sides: Sides, kind: str, tmp_path: Path) -> None:
    source = sides.side(LOCAL)
    for path in ("page", "d/page", "d/e/page", "was a link/page"):
        put(source, path, b"new")
    target, endpoint = target_of(sides, kind)
    outside = target.root.parent / f"{target.root.name} outside"
    put(attrs.evolve(target, root=outside), "precious/data", b"of somebody else")
    for path in ("stray", "d/stray", "old/deep/er/stray", "uploads/photo", "old with a log/keep.log"):
        put(target, path, b"theirs")
    (target.root / "old/empty").mkdir()
    beside = f"../{outside.name}"  # not an absolute path: the root of some servers is not that of this machine
    (target.root / "link").symlink_to(beside)
    (target.root / "old/link").symlink_to(f"../{beside}/precious")
    (target.root / "was a link").symlink_to(beside)
    if (
        kind not in HIDING
    ):  # which shows the size of the link, and then that of the file: it counts as changed, and stays
        (target.root / "link to a file").symlink_to(f"{beside}/precious/data")
    if kind != "hiding-proftpd":  # which does not show it at all
        (target.root / "dangling").symlink_to("nowhere")
    if "pure-ftpd" not in kind:  # which removes no pipe
        os.mkfifo(target.root / "pipe")
    target.adopt()
    attrs.evolve(target, root=outside).adopt()
    selection = Selection(exclude=["/uploads/", "*.log"])

    left_out = (kind in HIDING) + (kind == "hiding-proftpd") + ("pure-ftpd" in kind)

    for expected in (13 - left_out, 0):
        run = await mirror(source.root, endpoint(), tmp_path, delete="everything", selection=selection, connections=1)
        assert tree(outside) == {"precious", "precious/data"}
        assert (run.report.exit_code, run.failures) == (0, {})
        assert tree(target.root) == tree(source.root) | {
            "uploads",
            "uploads/photo",
            "old with a log",
            "old with a log/keep.log",
        }
        assert run.report.removed == expected
