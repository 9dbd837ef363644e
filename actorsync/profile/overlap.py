"""Two places that are the same directory, or of which one is in the other."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING

from actorsync.profile.values.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["overlap"]


def overlap(source: Place, target: Place, what: str = "the source") -> str | None:
    """Return why ``target`` overlaps ``source``, or None. On this machine, links and mounts are resolved.

    ``what`` is how the reason names ``source``.
    """
    if (source.scheme, source.host, source.port, source.user, source.options.values, source.ways.jump) != (
        target.scheme,
        target.host,
        target.port,
        target.user,
        target.options.values,
        target.ways.jump,
    ):
        return None  # one server with two names cannot be recognised
    one, other = source.path, target.path
    is_same: Callable[[str, str], bool] = operator.eq if source.is_remote else _is_same
    if not source.is_remote:
        one, other = os.path.realpath(one), os.path.realpath(other)
    elif one.startswith("/") != other.startswith("/"):
        return None  # it depends on the login directory
    if is_same(one, other):
        return f"is the same directory as {what}; use another one"
    if any(is_same(above, other) for above in _above(one)):
        return f"contains {what}; use a directory that does not"
    if any(is_same(one, above) for above in _above(other)):
        return f"is inside {what}; use a directory outside it"
    return None


def _above(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _is_same(one: str, other: str) -> bool:
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:  # one of them does not exist yet, so they differ
        return False
