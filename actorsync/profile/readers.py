"""How a value of TOML becomes a value of ours: one reader for each kind of key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from actorsync.planning.selection import Selection
from actorsync.profile.files import read_regular
from actorsync.profile.place import Place
from actorsync.profile.units import MaxDelete, parse_duration, parse_fingerprint, parse_rate, shown
from actorsync.profile.url import parse_place

__all__ = [
    "MOST_CONNECTIONS",
    "IgnoreFile",
    "Reader",
    "Site",
    "Told",
    "choice_reader",
    "read_certificate",
    "read_connections",
    "read_duration",
    "read_extensions",
    "read_host_key",
    "read_ignore_file",
    "read_max_delete",
    "read_path",
    "read_patterns",
    "read_rate",
    "read_switch",
    "read_url",
    "takes",
    "whole_reader",
]

MOST_CONNECTIONS = 64
_MAX_BYTES = 1_048_576
_CERTIFICATE = re.compile(r"[0-9a-f]{64}")


@attrs.frozen
class Site:
    """The profile as a place: how errors name it, and what its relative paths are relative to.

    ``table`` is the one that is being read.
    """

    name: str
    base: Path
    table: str = "target"


Reader = Callable[[Any, Site], Any]
"""Makes a field's value of a TOML value; raises ``ValueError`` with the reason and the way out."""

T = TypeVar("T")


@attrs.frozen(eq=False)
class Told(Generic[T]):
    """A reader that says what it takes: ``takes`` is for the reference, in Markdown."""

    takes: str
    read: Callable[[Any, Site], T]

    def __call__(self, value: Any, site: Site) -> T:
        """Read a value."""
        return self.read(value, site)


def takes(words: str) -> Callable[[Callable[[Any, Site], T]], Told[T]]:
    """Have a reader say what it takes."""
    return lambda read: Told(words, read)


@attrs.frozen
class IgnoreFile:
    """A file of gitignore lines, as it was when the profile was loaded."""

    path: Path
    lines: tuple[str, ...] = attrs.field(repr=False)


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; write it in quotes: {example}")  # noqa: TRY004
    return value


@takes("text")
def read_path(value: object, site: Site) -> Path:
    """An absolute path: ``~`` is the home directory, and what is relative is relative to the profile."""
    text = _text(value, '"./public"')
    if not text or "\0" in text:
        raise ValueError("is not a path: it is empty, or has a NUL in it")
    return Path(os.path.abspath(site.base / os.path.expanduser(text)))


def whole_reader(low: int, high: int | None = None) -> Reader:
    """Give the reader of a whole number within bounds."""
    bounds = f"from {low} to {high}" if high else f"of at least {low}"

    @takes(f"whole number {bounds}")
    def read(value: object, _: Site) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low or (high and value > high):
            raise ValueError(f"{shown(value)} is not a whole number {bounds}")
        return value

    return read


@takes(f'whole number from 1 to {MOST_CONNECTIONS}, or `"auto"`')
def read_connections(value: object, site: Site) -> int | str:
    """A number of connections, or "auto"."""
    try:
        return "auto" if value == "auto" else int(whole_reader(1, MOST_CONNECTIONS)(value, site))
    except ValueError as error:
        raise ValueError(f'{error}, or "auto"') from None


def choice_reader(choices: tuple[str, ...]) -> Reader:
    """Give the reader of one of ``choices``."""
    quoted = [f'`"{choice}"`' for choice in choices]

    @takes(f"{', '.join(quoted[:-1])} or {quoted[-1]}")
    def read(value: object, _: Site) -> str:
        if value not in choices:
            raise ValueError(f"{shown(value)} is none of {', '.join(shown(one) for one in choices)}")
        return str(value)

    return read


@takes("`true` or `false`")
def read_switch(value: object, _: Site) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false (without quotes)")  # noqa: TRY004
    return value


@takes("[duration](#durations)")
def read_duration(value: object, _: Site) -> float:
    """Seconds."""
    return parse_duration(_text(value, '"30s"'))


@takes("rate")
def read_rate(value: object, _: Site) -> float | None:
    """Bytes a second."""
    return parse_rate(_text(value, '"2M"'))


@takes("share or count")
def read_max_delete(value: object, _: Site) -> MaxDelete:
    """A share or a count."""
    return MaxDelete.parse(value)


@takes("text")
def read_host_key(value: object, _: Site) -> str:
    """The fingerprint of an SSH host key."""
    return parse_fingerprint(_text(value, '"SHA256:..."'))


@takes("text")
def read_certificate(value: object, _: Site) -> str:
    """The SHA-256 of a certificate: 64 lower-case hexadecimal digits, however they are written."""
    text = _text(value, '"3F:A9:..."')
    digits = text.replace(":", "").lower()
    if not _CERTIFICATE.fullmatch(digits):
        raise ValueError(
            f"{shown(text)} is not the SHA-256 fingerprint of a certificate; write 64 hexadecimal digits, "
            "with or without colons, as openssl x509 -fingerprint -sha256 shows it"
        )
    return digits


def _texts(value: object, example: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{shown(value)} is not a list of texts; write it like {example}")
    return tuple(value)


@takes("list of patterns")
def read_patterns(value: object, _: Site) -> tuple[str, ...]:
    """Patterns in gitignore syntax."""
    return Selection(exclude=_texts(value, '[".git/", "*.tmp"]')).exclude


@takes("list of texts")
def read_extensions(value: object, _: Site) -> tuple[str, ...]:
    """Ends of file names."""
    extensions = _texts(value, '[".bak"]')
    for one in extensions:
        if not one.strip(".") or "/" in one:
            raise ValueError(f'{shown(one)} is not the end of a file name; write it like ".bak"')
    return extensions


@takes("text")
def read_ignore_file(value: object, site: Site) -> IgnoreFile:
    """The patterns in a file, by its path."""
    path = read_path(value, site)
    try:
        text = read_regular(path, _MAX_BYTES)[0].decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; make the file, or leave the key out") from None
    lines = tuple(line.removesuffix("\r") for line in text.split("\n"))
    return IgnoreFile(path, Selection(exclude=lines).exclude)


@takes("text")
def read_url(value: object, site: Site) -> Place:
    """A URL, or a directory."""
    if not isinstance(value, str):
        raise ValueError('is not text; write it in quotes: "sftp://user@host/dir"')  # noqa: TRY004
    return parse_place(value, site.base, site.table)
