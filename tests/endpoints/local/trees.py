"""Helpers for the tests of local trees."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.errors import OperationRefused
from actorsync.model.entry import Kind, Listing
from actorsync.testing.conformance.contents import MemoryContent

__all__ = ["BIG", "RACE", "as_nobody", "content_of", "kinds", "put", "staged"]

BIG = 400_000  # more than a file that is read whole when it is opened


RACE = 1.5  # seconds


def kinds(listing: Listing) -> dict[str, Kind]:
    assert listing.problem is None, listing.problem
    return {entry.path: entry.kind for entry in listing.entries}


def content_of(root: Path) -> dict[str, object]:
    """Return the targets of links and the contents of files below ``root``, by path."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in root.rglob("*")
    }


def put(path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(b"content")


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Become an ordinary user who owns a directory, for the length of the block."""
    with tempfile.TemporaryDirectory() as name:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(name, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


async def staged(session: Session, path: str, temporary: str, data: bytes = b"content") -> Staged | OperationRefused:
    result, _ = await session.stage(Upload(path, temporary, MemoryContent(data)))
    return result
