"""The digest of a file's content: BLAKE2b, 32 bytes."""

from __future__ import annotations

import hashlib

from actorsync.endpoints.contract import Content, ReadSession, Source
from actorsync.endpoints.wrappers.base import ContentWrapper
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry

__all__ = ["HashingContent", "digest_in", "digest_of", "hash_of_beginning"]


def _new_hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32)


class HashingContent(ContentWrapper):
    """Content whose digest is computed while it is read."""

    __slots__ = ("_hash",)

    def __init__(self, real: Content, beginning: hashlib.blake2b | None = None) -> None:
        """Without ``beginning``, nothing was read before; else it is from `hash_of_beginning`."""
        super().__init__(real)
        self._hash = beginning or _new_hash()

    def fileno(self) -> None:
        """Return None: every byte passes through `read`."""

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece, and add it to the digest."""
        data = await self._real.read(max_bytes)
        self._hash.update(data)
        return data

    def digest(self) -> bytes:
        """Return the digest of everything read so far."""
        return self._hash.digest()


async def hash_of_beginning(source: Source, entry: Entry, length: int) -> hashlib.blake2b | None:
    """Read the first ``length`` bytes of exactly this version of a file. Return their hash, to go on with.

    Return None when they cannot be read, or the file is another version by now.
    """
    read, left = _new_hash(), length
    try:
        async with source.open_session() as session, session.open(entry.path) as content:
            while left and (data := await content.read(min(left, 1 << 20))):
                read.update(data)
                left -= len(data)
            is_same = content.entry == entry and await content.is_unchanged()
    except OperationRefused:
        return None
    return read if is_same and not left else None


async def digest_of(source: Source, path: str) -> tuple[Entry, bytes] | None:
    """Read one file of ``source``, and return its entry as read with the digest of its content.

    Return None when the file cannot be read to its end, or changed while it was read.
    """
    async with source.open_session() as session:
        return await digest_in(session, path)


async def digest_in(session: ReadSession, path: str) -> tuple[Entry, bytes] | None:
    """Read one file over a session that is open. Otherwise as `digest_of`."""
    digest = _new_hash()
    try:
        async with session.open(path) as content:
            while data := await content.read(1 << 20):
                digest.update(data)
            return (content.entry, digest.digest()) if await content.is_unchanged() else None
    except OperationRefused:
        return None
