"""The files of the status page, by the path at which they are served.

They are read once, into a table: a request only ever names a row of it, and never becomes a path.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from actorsync.classes import frozen

__all__ = ["File", "page_files"]

#: The files that are served, by the end of their name.
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_FIRST: Final = "index.html"


@frozen
class File:
    """A file: its media type and its content."""

    kind: str
    content: bytes


def page_files(directory: Traversable | None = None) -> dict[str, File]:
    """Return the files of the page by path: ``index.html`` is at ``/``, the others are below ``/page/``."""
    directory = directory or resources.files("actorsync.observe") / "page"
    files: dict[str, File] = {}
    for entry in directory.iterdir():
        kind = _KINDS.get(f".{entry.name.rpartition('.')[2]}")
        if kind is not None and entry.is_file():
            files["/" if entry.name == _FIRST else f"/page/{entry.name}"] = File(kind, entry.read_bytes())
    return files
