"""Uploads into a tree in memory: a temporary is written in a few pieces, from its beginning or from where it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.memory.tree import File, MemoryTree
from actorsync.endpoints.resuming import read_whole
from actorsync.errors import OperationRefused, TargetFull

__all__ = ["may_continue", "where_to_continue", "write"]

#: The piece size for content of unknown size.
_UNSIZED: Final = 64 * 1024


async def write(tree: MemoryTree, upload: Upload, ahead: Callable[[], bool], has_room: Callable[[int], bool]) -> Staged:
    """Write the temporary of ``upload``, with a checkpoint before each piece. Raises `OperationRefused`."""
    await trio.lowlevel.checkpoint()
    tree.log.append(("stage", upload.temporary))
    tree.check_trouble(upload.path)
    node = _begun(tree, upload) if upload.start else _begin(tree, upload)
    try:
        await _fill(tree, node, upload, has_room)
    except OperationRefused:
        if tree.find(upload.temporary) is node:
            tree.take(upload.temporary)
        raise
    ahead()
    return Staged(upload.path, upload.temporary, upload.sent, node.mtime_ns)


def may_continue(tree: MemoryTree, temporary: str) -> int:
    """Return where content is to be opened to continue an upload: before the block that is compared, or 0."""
    node = tree.find(temporary)
    if not tree.can_resume or not isinstance(node, File):
        return 0
    return max(0, len(node.data) - tree.overlap - tree.block)


async def where_to_continue(tree: MemoryTree, upload: Upload) -> int:
    """Return where ``upload`` goes on in its temporary: behind the block that was compared, or 0."""
    node, content = tree.find(upload.temporary), upload.content
    if not tree.can_resume or not isinstance(node, File) or not content.start:
        return 0
    start = content.start + tree.block
    if content.size is None or not start <= len(node.data) <= content.size:
        return 0
    return start if await read_whole(content, tree.block) == node.data[content.start : start] else 0


def _begin(tree: MemoryTree, upload: Upload) -> File:
    if tree.find(upload.temporary) is not None:
        raise OperationRefused(f"{upload.temporary!r} exists already")
    node = tree.new_file()
    if upload.mode is not None:
        node.mode = upload.mode
    if upload.keeps_mode and isinstance(old := tree.find(upload.path), File):
        node.mode = old.mode
    tree.put(upload.temporary, node)
    return node


def _begun(tree: MemoryTree, upload: Upload) -> File:
    node = tree.find(upload.temporary)
    if not isinstance(node, File) or len(node.data) < upload.start:
        raise OperationRefused(f"{upload.temporary!r} does not have {upload.start} bytes", retry=True)
    node.data = node.data[: upload.start]
    return node


async def _fill(tree: MemoryTree, node: File, upload: Upload, has_room: Callable[[int], bool]) -> None:
    source, size, upload.sent = upload.content.entry, upload.size, upload.start
    while piece := await upload.content.read(_UNSIZED if size is None else size // tree.pieces + 1):
        await trio.lowlevel.checkpoint()
        if not has_room(len(piece)):
            raise TargetFull("there is no room left")
        node.data += piece
        tree.touch(node)
        upload.sent += len(piece)
    await trio.lowlevel.checkpoint()
    if upload.sent != upload.due:
        raise OperationRefused(f"{source.path!r} changed while it was read", retry=True)
    if tree.find(upload.temporary) is not node:
        raise OperationRefused(f"{upload.temporary!r} was removed meanwhile", retry=True)
    tree.touch(node, source.mtime_ns)
