"""Links that are followed: where a path really leads, and what must not be read by way of a link."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs

from actorsync.endpoints.local.openat import shown
from actorsync.errors import OperationRefused
from actorsync.model.entry import join
from actorsync.model.row import ListingRows, decode

__all__ = ["KeepsBack", "resolved", "without_kept_back"]

#: Returns whether a path without links is never sent, so that no link may lead to it.
KeepsBack = Callable[[str], bool]


def resolved(root: str, path: str, keeps_back: KeepsBack | None) -> str:
    """Return a path below ``root`` with its links resolved.

    Raises `OperationRefused` if it leads out of the root, or by way of a link to what is kept back.
    """
    real, prefix = os.path.realpath(os.path.join(root, path)), root.rstrip("/") + "/"
    if real == root:
        return ""
    if not real.startswith(prefix):
        raise OperationRefused(f"{shown(path)} leads out of the root")
    below = real.removeprefix(prefix)
    if below != path and keeps_back is not None and keeps_back(below):
        raise OperationRefused(f"{shown(path)} leads to {shown(below)}, which is never sent; remove the link")
    return below


def without_kept_back(listed: ListingRows, real: str, keeps_back: KeepsBack | None) -> ListingRows:
    """Hide what is kept back, in a directory that links lead to; ``real`` is its path without links."""
    if keeps_back is None or real == listed.directory:
        return listed
    hidden = {row[0] for row in listed.rows if keeps_back(join(real, decode(row[0])))}
    rows = [row for row in listed.rows if row[0] not in hidden]
    return attrs.evolve(listed, rows=rows, hidden=frozenset(map(decode, hidden)))
