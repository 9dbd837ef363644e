"""Publishing on this machine, and the way back. Every function blocks.

The old file gets its second name as a hard link, and the new one replaces it: the final name is never missing. Where
the file system has no hard links, the old file is renamed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.local.move import link, look
from actorsync.endpoints.local.openat import Walk, entry_of, shown, temporary_beside
from actorsync.endpoints.local.tree import Tree
from actorsync.endpoints.releases import Publication, Published
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.planning.publishing.steps import BackStep, Seen, Step, step_back, step_to_publish

__all__ = ["free_space", "publish", "put_back"]


def publish(tree: Tree, items: Sequence[Publication]) -> list[Published | OperationRefused]:
    """Publish staged files, with one fsync for each directory at the end."""
    return tree.batch("publish", items, _paths, partial(_publish, tree))


def put_back(tree: Tree, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
    """Take publications back, with one fsync for each directory at the end."""
    return tree.batch("take back", items, _paths, partial(_put_back, tree))


def free_space(root: str) -> int | None:
    """Return the bytes that this user may still write below ``root``; None if the file system does not tell."""
    try:
        status = os.statvfs(root)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def _paths(item: Publication) -> Sequence[str]:
    return [item.staged.path, *([] if item.aside is None else [item.aside])]


class _Files:
    """The three names of one publication, each in an open directory."""

    def __init__(self, walk: Walk, other: Walk, item: Publication) -> None:
        staged = item.staged
        self.item = item
        self.directory, self.final = walk.parent(staged.path)
        self.temporary = temporary_beside(staged.path, staged.temporary)
        self.aside_directory, self.aside = (-1, "") if item.aside is None else other.parent(item.aside)

    def look(self) -> Seen:
        """Look at all three."""
        staged = self.item.staged
        temporary, final = look(self.directory, self.temporary), look(self.directory, self.final)
        aside = look(self.aside_directory, self.aside) if self.aside else None
        shown_final = self.entry(final)
        return Seen(
            None if temporary is None else entry_of(staged.temporary, temporary),
            shown_final,
            None if aside is None or self.item.aside is None else entry_of(self.item.aside, aside),
            is_new=_is_staged(shown_final, staged),
            is_linked=final is not None and aside is not None and os.path.samestat(final, aside),
        )

    def entry(self, status: os.stat_result | None) -> Entry | None:
        """Return the entry of the final name with this status."""
        return None if status is None else entry_of(self.item.staged.path, status)

    def set_aside(self) -> bool:
        """Add the second name to the old file; return False if it was renamed instead."""
        if link(self.directory, self.final, self.aside_directory, self.aside):
            return True
        os.rename(self.final, self.aside, src_dir_fd=self.directory, dst_dir_fd=self.aside_directory)
        return False

    def rename_new(self) -> None:
        """Rename the temporary to the final name."""
        os.rename(self.temporary, self.final, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def restore(self) -> None:
        """Rename the old file to the final name, over what has it."""
        os.rename(self.aside, self.final, src_dir_fd=self.aside_directory, dst_dir_fd=self.directory)

    def drop(self) -> None:
        """Remove the name aside, where the old file has its final name as well."""
        os.unlink(self.aside, dir_fd=self.aside_directory)

    def take_back(self, *, has_old: bool) -> None:
        """Rename the new file to its temporary name. With an old file, the final name stays until that one has it."""
        if not has_old or not link(self.directory, self.final, self.directory, self.temporary):
            os.rename(self.final, self.temporary, src_dir_fd=self.directory, dst_dir_fd=self.directory)


def _publish(tree: Tree, walk: Walk, item: Publication) -> Published:
    staged = item.staged
    with tree.walk() as other:
        files = _Files(walk, other, item)
        seen = files.look()
        step = step_to_publish(seen, staged.size, sets_aside=item.aside is not None)
        if step is not Step.NONE:
            with tree.names.claimed(files.directory, staged.path):
                _rename(files, step)
        now = files.look()
        if now.final is None or not now.is_new:
            raise OperationRefused(f"{shown(staged.path)} was replaced by another program after the rename", retry=True)
        return Published(now.final, item.aside is not None and now.aside is not None)


def _is_staged(found: Entry | None, staged: Staged) -> bool:
    if found is None or (found.kind, found.size) != (Kind.FILE, staged.size):
        return False
    return staged.mtime_ns in {None, found.mtime_ns}


def _rename(files: _Files, step: Step) -> None:
    """Set the old file aside if that is the step, and rename the new one. If that fails, all is as it was."""
    is_linked = files.set_aside() if step is Step.SET_ASIDE else False
    try:
        files.rename_new()
    except OSError:
        if is_linked:
            files.drop()
        elif step is Step.SET_ASIDE:
            files.restore()
        raise


def _put_back(tree: Tree, walk: Walk, item: Publication) -> Entry | None:
    with tree.walk() as other:
        files = _Files(walk, other, item)
        seen = files.look()
        step = step_back(seen, item.staged.size)
        if step is BackStep.TAKE_BACK:
            files.take_back(has_old=seen.aside is not None)
        if step in {BackStep.TAKE_BACK, BackStep.RESTORE} and seen.aside is not None:
            files.restore()
        if step is BackStep.DROP:
            files.drop()
        final = files.look().final
        return final if final is not None and final.kind is not Kind.DIRECTORY else None
