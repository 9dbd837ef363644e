"""What each verb of a session changes in a tree in memory, in one step. An item that cannot be done is refused."""

from __future__ import annotations

from actorsync.endpoints.contract import Relocation, Staged
from actorsync.endpoints.memory.tree import Directory, File, MemoryTree, Special, walk
from actorsync.endpoints.shared.paths import is_above
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.planning.name_folding import NewSpelling, taken

__all__ = ["commit", "make", "move", "remove", "respell", "room", "set_mode", "sweep"]


def room(tree: MemoryTree) -> int | None:
    """Return how many more bytes fit; None without a ``capacity``. A file with two names counts once."""
    nodes = (node for root in ("", "..") for _, node in walk(tree.find(root)))
    files = {id(node): node for node in nodes if isinstance(node, File)}
    return None if tree.capacity is None else tree.capacity - sum(len(node.data) for node in files.values())


def make(tree: MemoryTree, path: str) -> Entry:
    """Make one directory."""
    tree.check_trouble(path)
    _require_itself(tree, path)
    return tree.make(path)


def _require_itself(tree: MemoryTree, path: str) -> None:
    """Refuse a path that the tree has under another spelling."""
    if (other := tree.shown_as(path)) != path:
        raise taken(other)


def commit(tree: MemoryTree, staged: Staged) -> Entry:
    """Rename a temporary to its final name, unless an earlier call did."""
    if parent_of(staged.temporary) != parent_of(staged.path):
        raise ValueError(f"{staged.temporary!r} is not in the directory of {staged.path!r}")
    node, final = tree.find(staged.temporary), tree.find(staged.path)
    time = None if staged.mtime_ns is None else tree.rounded(staged.mtime_ns)
    committed = isinstance(final, File) and (len(final.data), final.mtime_ns) == (staged.size, time)
    _require_itself(tree, staged.path)
    if node is None and final is not None and committed:  # by an earlier call
        return tree.entry(staged.path, final)
    if not isinstance(node, File) or len(node.data) != staged.size:
        raise OperationRefused(f"the temporary of {staged.path!r} is gone, or was changed", retry=True)
    tree.rename(staged.temporary, staged.path)
    return tree.entry(staged.path, node)


def move(tree: MemoryTree, item: Relocation) -> Entry:
    """Rename an unchanged file to a free name, unless an earlier call did.

    As on a server, the check and the rename are two steps, and the rename goes by names: what has a name by then moves.
    It never replaces anything.
    """
    tree.check_trouble(item.path)
    node, there = tree.find(item.entry.path), tree.find(item.path)
    if node is None and there is not None and _is_as(item.entry, tree.entry(item.path, there)):
        return tree.entry(item.path, there)  # by an earlier call
    if node is None:
        raise OperationRefused(f"{item.entry.path!r} is gone")
    if not _is_as(item.entry, tree.entry(item.entry.path, node)):
        raise OperationRefused(f"{item.entry.path!r} was changed by another program: not moved")
    if there is not None:
        raise OperationRefused(f"cannot move to {item.path!r}: the name is taken")
    tree.in_between()
    node = tree.find(item.entry.path)
    if node is None:
        raise OperationRefused(f"{item.entry.path!r} is gone")
    if tree.find(item.path) is not None:
        raise OperationRefused(f"cannot move to {item.path!r}: the name is taken")
    tree.rename(item.entry.path, item.path)
    return tree.entry(item.path, node)


def set_mode(tree: MemoryTree, entry: Entry) -> Entry:
    """Set the mode of an unchanged entry."""
    tree.check_trouble(entry.path)
    node = tree.find(entry.path)
    is_as_expected = node is not None and tree.entry(entry.path, node).kind is entry.kind
    if isinstance(node, Special) or node is None or not is_as_expected or entry.mode is None:
        raise OperationRefused(f"{entry.path!r} was changed by another program: its mode is not set")
    node.mode = entry.mode
    tree.touch(node, node.mtime_ns)
    return tree.entry(entry.path, node)


def respell(tree: MemoryTree, item: NewSpelling) -> Entry:
    """Change the spelling of a name, where the tree takes both spellings for one."""
    old = item.entry.path
    tree.check_trouble(item.path)
    there = tree.find(item.path)
    if there is None or tree.shown_as(item.path) not in {old, item.path}:
        raise OperationRefused("the target tells both spellings of its name apart")
    if tree.find(old) is not there:
        raise OperationRefused("both spellings of its name exist on the target")
    tree.put(item.path, tree.take(old))
    return tree.entry(item.path, there)


def remove(tree: MemoryTree, entry: Entry) -> bool:
    """Remove an unchanged file or an empty directory."""
    if is_above(entry.path):
        raise OperationRefused("the root is never removed")
    tree.check_trouble(entry.path)
    node = tree.find(entry.path)
    if node is not None and tree.shown_as(entry.path) != entry.path:
        return True  # what has another spelling is not this entry, which is gone
    if node is None:
        if tree.find("") is None:
            raise OperationRefused("the root does not exist")
        return True
    found = tree.entry(entry.path, node)
    if found.kind is not entry.kind or (entry.kind is Kind.FILE and not _is_as(entry, found)):
        raise OperationRefused(f"{entry.path!r} was changed by another program: not removed")
    if isinstance(node, Directory) and node.children:
        return False
    tree.take(entry.path)
    return True


def sweep(tree: MemoryTree, temporary: str) -> bool:
    """Remove a temporary in any state."""
    node = tree.find(temporary)
    if isinstance(node, Directory):
        raise OperationRefused(f"{temporary!r} is a directory")
    if node is not None:
        tree.take(temporary)
    return True


def _is_as(entry: Entry, found: Entry) -> bool:
    """Return whether a file matches its entry, as far as the entry has facts."""
    return (found.kind, found.size) == (entry.kind, entry.size) and entry.mtime_ns in {None, found.mtime_ns}
