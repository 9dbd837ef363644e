"""How a tree in memory publishes, and takes that back: with a checkpoint between any two steps.

With inodes it has hard links, so the final name is never missing. Without them the old file is renamed aside, as on an
FTP server.
"""

from __future__ import annotations

import trio

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.memory.tree import File, MemoryTree, Node
from actorsync.endpoints.releases import Publication, Published
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry
from actorsync.planning.publishing.steps import BackStep, Seen, Step, step_back, step_to_publish

__all__ = ["publish", "put_back"]


async def publish(tree: MemoryTree, item: Publication) -> Published | OperationRefused:
    """Publish one file. One that is refused is left as it was."""
    await trio.lowlevel.checkpoint()
    tree.log.append(("publish", item.staged.path))
    try:
        return await _publish(tree, item)
    except OperationRefused as refused:
        return refused


async def put_back(tree: MemoryTree, item: Publication) -> Entry | OperationRefused | None:
    """Take one publication back. It is refused if another program has changed the file."""
    await trio.lowlevel.checkpoint()
    tree.log.append(("put_back", item.staged.path))
    try:
        return await _put_back(tree, item)
    except OperationRefused as refused:
        return refused


async def _publish(tree: MemoryTree, item: Publication) -> Published:
    staged, aside = item.staged, item.aside
    tree.check_trouble(staged.path)
    step = step_to_publish(_look(tree, item), staged.size, sets_aside=aside is not None)
    if step is Step.SET_ASIDE and aside is not None:
        (tree.link if tree.has_links else tree.rename)(staged.path, aside)
        await trio.lowlevel.checkpoint()
    if step is not Step.NONE:
        try:
            tree.rename(staged.temporary, staged.path)
        except OperationRefused:
            if step is Step.SET_ASIDE and aside is not None:
                tree.rename(aside, staged.path)
            raise
    node = tree.find(staged.path)
    if node is None:
        raise OperationRefused(f"{staged.path!r} was removed by another program", retry=True)
    return Published(tree.entry(staged.path, node), aside is not None and tree.find(aside) is not None)


async def _put_back(tree: MemoryTree, item: Publication) -> Entry | None:
    staged, aside = item.staged, item.aside
    tree.check_trouble(staged.path)
    step = step_back(_look(tree, item), staged.size)
    has_old = aside is not None and tree.find(aside) is not None
    if step is BackStep.DROP and aside is not None:
        tree.take(aside)
    if step is BackStep.TAKE_BACK:
        (tree.link if tree.has_links and has_old else tree.rename)(staged.path, staged.temporary)
        await trio.lowlevel.checkpoint()
    if step in {BackStep.TAKE_BACK, BackStep.RESTORE} and has_old and aside is not None:
        tree.rename(aside, staged.path)
    node = tree.find(staged.path)
    return tree.entry(staged.path, node) if isinstance(node, File) else None


def _look(tree: MemoryTree, item: Publication) -> Seen:
    staged = item.staged
    final, aside = tree.find(staged.path), None if item.aside is None else tree.find(item.aside)
    return Seen(
        _entry(tree, staged.temporary, tree.find(staged.temporary)),
        _entry(tree, staged.path, final),
        None if item.aside is None else _entry(tree, item.aside, aside),
        is_new=_is_staged(tree, staged, final),
        is_linked=final is not None and final is aside,
    )


def _entry(tree: MemoryTree, path: str, node: Node | None) -> Entry | None:
    return None if node is None else tree.entry(path, node)


def _is_staged(tree: MemoryTree, staged: Staged, node: Node | None) -> bool:
    time = None if staged.mtime_ns is None else tree.rounded(staged.mtime_ns)
    return isinstance(node, File) and len(node.data) == staged.size and time in {None, node.mtime_ns}
