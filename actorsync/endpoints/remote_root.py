"""Where the tree is on a server, whichever protocol leads there."""

from __future__ import annotations

__all__ = ["absolute_root"]


def absolute_root(start: str | None, path: str) -> str:
    """Give the root as an absolute path without a slash at its end; ``""`` is the server's own root.

    ``start`` is where the login leads, and what a relative ``path`` is relative to; None when the server does not say.
    """
    full = path if path.startswith("/") else f"{start or '/'}/{path}"
    return "".join(f"/{part}" for part in full.split("/") if part)
