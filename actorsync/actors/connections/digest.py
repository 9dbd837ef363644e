"""The digest of a file's content."""

from __future__ import annotations

import hashlib

from actorsync.endpoints.contract import Source
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry

__all__ = ["digest_of"]


async def digest_of(source: Source, path: str) -> tuple[Entry, bytes] | None:
    """Read one file of ``source``, and return its entry as read with the digest of its content.

    Return None when the file cannot be read to its end, or changed while it was read.
    """
    digest = hashlib.blake2b(digest_size=32)
    try:
        async with source.open_session() as session, session.open(path) as content:
            while data := await content.read(1 << 20):
                digest.update(data)
            return (content.entry, digest.digest()) if await content.is_unchanged() else None
    except OperationRefused:
        return None
