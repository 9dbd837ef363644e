"""Mirrors from anywhere to anywhere: servers to a directory, and servers to servers."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.model.event import Connected
from tests.support.any_side import LOCAL, OLD, Side, Sides, fill, put
from tests.support.mirror import Run, contents, mirror, temporaries, times

PYFTPDLIB, PROFTPD, ASYNCSSH, OPENSSH = "pyftpdlib", "proftpd", "asyncssh", "openssh"
PULLS = [(name, LOCAL) for name in (PYFTPDLIB, PROFTPD, ASYNCSSH, OPENSSH, "vsftpd", "pure-ftpd")]
#: Each of the four is both, once with its own kind and once with the other.
BETWEEN = [(PYFTPDLIB, PROFTPD), (PROFTPD, OPENSSH), (OPENSSH, ASYNCSSH), (ASYNCSSH, PYFTPDLIB)]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with Sides.made() as made:
        yield made


def equal(source: Side, target: Side) -> None:
    assert contents(target.root) == contents(source.root)
    assert times(target.root) == times(source.root)
    assert temporaries(target.root) == []


@pytest.mark.parametrize(("kind", "other"), [*PULLS, *BETWEEN])
async def test_a_mirror_from_its_beginning(sides: Sides, kind: str, other: str, tmp_path: Path) -> None:
    source, target = sides.side(kind), sides.side(other)
    fill(source, random.Random(kind + other))

    async def run() -> Run:
        made = await mirror(source.endpoint(), target.endpoint(), tmp_path)
        assert (made.report.exit_code, made.failures) == (0, {}), made.report
        equal(source, target)
        return made

    first = await run()
    assert first.report.copied == 15
    nothing = await run()
    assert (nothing.report.copied, nothing.report.removed, nothing.report.directories_made) == (0, 0, 0)
    assert not nothing.of(Connected), "what is known of the target need not be looked at"

    put(source, "d0/0", b"longer", time=OLD + 1)
    put(source, "d1/deep/er/1", b"2", time=OLD + 1)
    os.utime(source.root / "d2/2", (OLD, OLD + 2))  # touched
    put(source, "new/folder/file", b"new")
    shutil.rmtree(source.root / "gone")
    (source.root / "moved/away").rename(source.root / "moved there")
    (source.root / "empty").rmdir()
    put(source, "empty", b"a file now")
    source.adopt()
    changed = await run()
    assert changed.report.copied == 6
    assert changed.report.removed == 4, "gone/file, gone, moved/away, and empty"
    assert (await run()).report.copied == 0
