"""Uploads into a tree in memory: a temporary is written in a few pieces, from its beginning or from where it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.memory.store import MemoryStore
from actorsync.endpoints.memory.tree import Directory, File
from actorsync.endpoints.resuming import read_whole
from actorsync.errors import OperationRefused, TargetFull

__all__ = ["may_continue", "sweep", "where_to_continue", "write"]

#: The piece size for content of unknown size.
_UNSIZED: Final = 64 * 1024


async def write(store: MemoryStore, upload: Upload, ahead: Callable[[], bool]) -> Staged:
    """Write the temporary of ``upload``, with a checkpoint before each piece. Raises `OperationRefused`."""
    await trio.lowlevel.checkpoint()
    store.log.append(("stage", upload.temporary))
    store.check_trouble(upload.path)
    node = _begun(store, upload) if upload.start else _begin(store, upload)
    try:
        await _fill(store, node, upload)
    except OperationRefused:
        if store.find(upload.temporary) is node:
            store.take(upload.temporary)
        raise
    ahead()
    return Staged(upload.path, upload.temporary, upload.sent, node.mtime_ns)


def may_continue(store: MemoryStore, temporary: str) -> int:
    """Return where content is to be opened to continue an upload: before the block that is compared, or 0."""
    node = store.find(temporary)
    if not store.can_resume or not isinstance(node, File):
        return 0
    return max(0, len(node.data) - store.overlap - store.block)


async def where_to_continue(store: MemoryStore, upload: Upload) -> int:
    """Return where ``upload`` goes on in its temporary: behind the block that was compared, or 0."""
    node, content = store.find(upload.temporary), upload.content
    if not store.can_resume or not isinstance(node, File) or not content.start:
        return 0
    start = content.start + store.block
    if content.size is None or not start <= len(node.data) <= content.size:
        return 0
    return start if await read_whole(content, store.block) == node.data[content.start : start] else 0


def sweep(store: MemoryStore, temporary: str) -> bool:
    """Remove a temporary, if it is there. Raises `OperationRefused` for a directory."""
    node = store.find(temporary)
    if isinstance(node, Directory):
        raise OperationRefused(f"{temporary!r} is a directory")
    if node is not None:
        store.take(temporary)
    return True


def _begin(store: MemoryStore, upload: Upload) -> File:
    if store.find(upload.temporary) is not None:
        raise OperationRefused(f"{upload.temporary!r} exists already")
    node = store.new_file()
    if upload.mode is not None:
        node.mode = upload.mode
    if upload.keeps_mode and isinstance(old := store.find(upload.path), File):
        node.mode = old.mode
    store.put(upload.temporary, node)
    return node


def _begun(store: MemoryStore, upload: Upload) -> File:
    node = store.find(upload.temporary)
    if not isinstance(node, File) or len(node.data) < upload.start:
        raise OperationRefused(f"{upload.temporary!r} does not have {upload.start} bytes", retry=True)
    node.data = node.data[: upload.start]
    return node


async def _fill(store: MemoryStore, node: File, upload: Upload) -> None:
    source, size, upload.sent = upload.content.entry, upload.size, upload.start
    while piece := await upload.content.read(_UNSIZED if size is None else size // store.pieces + 1):
        await trio.lowlevel.checkpoint()
        if not store.has_room(len(piece)):
            raise TargetFull("there is no room left")
        node.data += piece
        store.touch(node)
        upload.sent += len(piece)
    await trio.lowlevel.checkpoint()
    if upload.sent != upload.due:
        raise OperationRefused(f"{source.path!r} changed while it was read", retry=True)
    if store.find(upload.temporary) is not node:
        raise OperationRefused(f"{upload.temporary!r} was removed meanwhile", retry=True)
    store.touch(node, source.mtime_ns)
