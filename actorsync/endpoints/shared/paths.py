"""Paths on a target: where its root is, and the names that stand beside a temporary.

The names beside a temporary follow from its own name, so the journal's entry for the temporary is enough to find them.
"""

from __future__ import annotations

from actorsync.model.entry import join, name_of, parent_of
from actorsync.planning.temporary_names import aside_name, trial_name

__all__ = ["absolute_root", "aside_of", "sftp_url_path", "trial_beside"]


def absolute_root(start: str | None, path: str) -> str:
    """Return the root as an absolute path without a slash at its end; ``""`` is the server's own root.

    ``start`` is the login directory, to which a relative ``path`` is relative; None when the server does not report it.
    """
    full = path if path.startswith("/") else f"{start or '/'}/{path}"
    return "".join(f"/{part}" for part in full.split("/") if part)


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
