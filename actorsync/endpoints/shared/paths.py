"""Paths on a target: where its root is, and the names that stand beside a temporary.

The names beside a temporary follow from its own name, so the journal's entry for the temporary is enough to find them.
"""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.model.entry import join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.name_folding import loosest_key
from actorsync.planning.temporary_names import aside_name, trial_name

__all__ = [
    "absolute_root",
    "aside_of",
    "below",
    "is_above",
    "leads_out",
    "sftp_url_path",
    "trial_beside",
    "why_not_inside",
]

_NO_NAMES = frozenset({"", ".", ".."})


def absolute_root(start: str | None, path: str) -> str:
    """Return the root as an absolute path without a slash at its end; ``""`` is the server's own root.

    ``start`` is the login directory, to which a relative ``path`` is relative; None when the server does not report it.
    """
    full = path if path.startswith("/") else f"{start or '/'}/{path}"
    return "".join(f"/{part}" for part in full.split("/") if part)


def leads_out(path: str) -> bool:
    """Return whether a path begins with ``..``, and so means something beside or above the root."""
    return path.startswith("../") or path == ".."


def is_above(path: str) -> bool:
    """Return whether a path is the root, or a directory above it, which no verb makes, moves or removes."""
    return not path or (leads_out(path) and name_of(path) == "..")


def below(root: str, path: str) -> str:
    """Return the absolute path of ``path``; ``root`` is absolute, and ``""`` is the root directory itself.

    Each ``..`` at the beginning takes away a name of the root: a link in it is not followed up again.
    """
    if not leads_out(path):
        return f"{root}/{path}" if path else root or "/"
    names = path.split("/")
    ups = _ups(names)
    return "/".join([*root.split("/")[:-ups], *names[ups:]]) or "/"


def why_not_inside(path: str, outside: str, root: str) -> str | None:
    """Return why a path must not be used, or None: it is normalized, and below the root or in ``outside``.

    ``outside`` is the one directory that may lie outside of the root (``../.trash``); ``""`` if there is none. All
    below the first name of it may be used, so that it can be made, and looked for by other spellings.
    """
    names = path.split("/") if path else []
    if _NO_NAMES.isdisjoint(names):
        return None
    ups = _ups(names)
    allowed = outside.split("/") if outside else []
    if not ups or ups != _ups(allowed) or not _NO_NAMES.isdisjoint(names[ups:]):
        return "it is not a path below the root"
    if names[ups:] and loosest_key(names[ups]) != loosest_key(allowed[ups]):
        return "it is not a path below the root"
    if root.count("/") < ups or not root.strip("/"):
        return f"the root has no directory above it for {display(outside)!r}; choose a path below the root"
    return None


def _ups(names: Sequence[str]) -> int:
    """Return how many ``..`` stand at the beginning."""
    return next((number for number, name in enumerate(names) if name != ".."), len(names))


def sftp_url_path(path: str) -> str:
    """Return what follows the slash after the host in an ``sftp`` URL, as curl, lftp and WinSCP write it.

    An absolute ``path`` follows the host as it is, and one relative to the login directory begins with ``~/``. Two
    slashes mark what would be read otherwise: the server's own root, and names that begin with ``~``.
    """
    if not path.startswith("/"):
        return f"~/{path}" if path else ""
    return path if path == "/" or path.startswith("/~") else path[1:]


def aside_of(temporary: str) -> str:
    """Return the path of the old file that is set aside while ``temporary`` takes its name."""
    return join(parent_of(temporary), aside_name(name_of(temporary)))


def trial_beside(temporary: str) -> str:
    """Return the path of the small probe file that is written when the server rejects ``temporary``."""
    return join(parent_of(temporary), trial_name(name_of(temporary)))
