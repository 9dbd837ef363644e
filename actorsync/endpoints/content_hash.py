"""Hashes of files that a server computes itself: an optional part of the contract of a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from actorsync.classes import frozen
from actorsync.endpoints.contract import ReadSession
from actorsync.model.entry import Entry

__all__ = ["Algorithm", "ContentHash", "ContentHashing", "content_hashes"]

Algorithm: TypeAlias = Literal["sha256", "sha512"]
"""Hashes that are as good as the content. For others, SHA-1 and MD5 among them, two files of one hash can be made."""


@frozen
class ContentHash:
    """The hash of the whole content of a file; ``algorithm`` is the name that `hashlib` has for it."""

    algorithm: Algorithm
    digest: bytes


@runtime_checkable
class ContentHashing(Protocol):
    """Optional for a session: the server reads a file itself, and returns its hash."""

    async def hash_files(self, entries: Sequence[Entry]) -> Sequence[ContentHash | None]:
        """Return the hash of each file, which has the size of its entry; None for a file whose hash is not known.

        A reply that may be about another file, or about a part of the file, counts as none.
        """


async def content_hashes(session: ReadSession, entries: Sequence[Entry]) -> Sequence[ContentHash | None]:
    """Call `ContentHashing.hash_files`; return None for each file where the session does not have it."""
    return await session.hash_files(entries) if isinstance(session, ContentHashing) else [None] * len(entries)
