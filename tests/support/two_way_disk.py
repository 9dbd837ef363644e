"""A folder on this machine that a test changes as users do, and that a server may serve."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import attrs

from actorsync.model.entry import Kind
from actorsync.planning.temporary_names import is_own

__all__ = ["DiskTree"]


@attrs.frozen
class DiskTree:
    """The folder ``root``. What is made in it may be changed by a server that runs as another user."""

    root: Path

    def find(self, path: str) -> object | None:
        """Return what is there; None for nothing."""
        place = self.root / path
        return place if os.path.lexists(place) else None

    def mkdir(self, path: str) -> None:
        """Make a directory and its parents."""
        place = self.root / path
        if place != self.root and not place.exists():
            self.mkdir(str(place.parent.relative_to(self.root)))
            place.mkdir()
            place.chmod(0o777)

    def write(self, path: str, data: bytes, mtime_ns: int | None = None) -> None:
        """Write a file in place."""
        place = self.root / path
        self.mkdir(str(place.parent.relative_to(self.root)))
        place.write_bytes(data)
        place.chmod(0o666)
        if mtime_ns is not None:
            os.utime(place, ns=(mtime_ns, mtime_ns))

    def delete(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        place = self.root / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()

    def rename(self, old: str, new: str) -> None:
        """Rename an entry."""
        (self.root / old).rename(self.root / new)

    def put_special(self, path: str, kind: Kind) -> None:
        """Put something there that is left out."""
        (self.root / path).symlink_to("nowhere")

    def shown(self) -> dict[str, str | None]:
        """Return what is there by path, without what is left out: the content of a file, None for a directory."""
        found: dict[str, str | None] = {}
        for place in sorted(self.root.rglob("*")):
            path = str(place.relative_to(self.root))
            if not (place.is_symlink() or is_own(path)):
                found[path] = None if place.is_dir() else place.read_text()
        return found
