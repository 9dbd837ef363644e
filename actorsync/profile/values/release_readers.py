"""Readers of the values that only the tables of a release have: programs, sizes, ranks, paths on the target."""

from __future__ import annotations

import posixpath

from actorsync.classes import frozen
from actorsync.planning.publishing.ranks import Ranks
from actorsync.profile.values.readers import Site, read_texts, takes
from actorsync.profile.values.units import parse_size, shown

__all__ = ["Maintenance", "read_argv", "read_maintenance", "read_order", "read_resume", "read_size", "read_trash_path"]


@frozen
class Maintenance:
    """A file that is on the target while a release is published: its path there."""

    put: str


@takes("list of strings")
def read_argv(value: object, _: Site) -> tuple[str, ...]:
    """Return a program and its arguments. No shell reads them."""
    arguments = read_texts(value, '["curl", "--fail", "https://example.com/"]')
    if not arguments or not arguments[0]:
        raise ValueError('names no program; write it like ["curl", "--fail", "https://example.com/"]')
    if any("\0" in argument for argument in arguments):
        raise ValueError("holds a NUL, which no argument can; remove it")
    return arguments


@takes("list of lists of patterns")
def read_order(value: object, _: Site) -> Ranks:
    """Return the ranks of files. An empty list gives all files the same rank."""
    if not isinstance(value, list):
        raise ValueError(  # noqa: TRY004
            f'{shown(value)} is not a list of lists of patterns; write it like [["*.html"], ["index.html", "sw.js"]]'
        )
    return Ranks.of_patterns([read_texts(one, '[["*.html"], ["index.html", "sw.js"]]') for one in value])


@takes('table like `{ put = ".maintenance", while = "commit" }`')
def read_maintenance(value: object, _: Site) -> Maintenance:
    """Return the file that is on the target while a release is published."""
    example = '{ put = ".maintenance", while = "commit" }'
    if not isinstance(value, dict) or not isinstance(value.get("put"), str) or value.keys() - {"put", "while"}:
        raise ValueError(f"{shown(value)} names no file; write it like {example}")
    if value.get("while", "commit") != "commit":
        raise ValueError(f"{shown(value['while'])} is no time for it; write it like {example}")
    path = value["put"]
    if not path or "\0" in path or path != posixpath.normpath(path) or path.startswith(("/", "..")) or path == ".":
        raise ValueError(f"{shown(path)} is not a path below the target, without . and ..; write it like {example}")
    return Maintenance(path)


@takes("size")
def read_size(value: object, _: Site) -> int:
    """Return a number of bytes."""
    if not isinstance(value, str):
        raise ValueError(f'{shown(value)} is not a size; write it in quotes: "512M"')  # noqa: TRY004
    return parse_size(value)


@takes("size, or `false`")
def read_resume(value: object, site: Site) -> int | None:
    """Return a number of bytes; None for False."""
    if value is False:
        return None
    if value is True:
        raise ValueError('true is not a size; write it in quotes: "64M", or write false')
    return read_size(value, site)


@takes("string")
def read_trash_path(value: object, _: Site) -> str:
    """Return a path relative to the target: below it, or beside it with ``../`` at its beginning."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f'{shown(value)} is not a path; write it like "../.trash"')
    path = posixpath.normpath(value)
    if path.startswith("/") or path in {".", ".."} or path.endswith("/.."):
        raise ValueError(f'{shown(value)} is not a path relative to the target; write it like "../.trash"')
    return path
