"""Readers: functions that turn a TOML value into the value of a field, one for each type of key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.shared.home import expand_home
from actorsync.planning.modes import Modes, read_modes
from actorsync.planning.removal_guard import Deletion
from actorsync.planning.selection import Selection
from actorsync.profile.secrets.files import read_regular
from actorsync.profile.values.place import Place, ProxyPlace
from actorsync.profile.values.units import MaxDelete, parse_duration, parse_fingerprint, parse_rate, shown
from actorsync.profile.values.url import parse_place, parse_proxy

__all__ = [
    "MOST_CONNECTIONS",
    "IgnoreFile",
    "Reader",
    "Site",
    "TypedReader",
    "choice_reader",
    "read_certificate",
    "read_connections",
    "read_delete",
    "read_duration",
    "read_extensions",
    "read_host_key",
    "read_ignore_file",
    "read_max_delete",
    "read_mode_rule",
    "read_path",
    "read_patterns",
    "read_proxy",
    "read_rate",
    "read_switch",
    "read_texts",
    "read_url",
    "takes",
    "whole_reader",
]

MOST_CONNECTIONS = 64
_MAX_BYTES = 1_048_576
_CERTIFICATE = re.compile(r"[0-9a-f]{64}")


@frozen
class Site:
    """The profile that is being read: its name in errors, and the directory that its relative paths refer to.

    ``table`` is the current table, and ``target`` the name of its target where there are several.
    """

    name: str
    base: Path
    table: str = "target"
    target: str = ""

    def where(self, key: str) -> str:
        """Return how errors name a key of the current table."""
        table = f"{self.table}.{self.target}" if self.target else self.table
        return f"{self.name}: {table}.{key}"


Reader = Callable[[Any, Site], Any]
"""Returns a field's value for a TOML value; raises `ValueError` with the reason and what to do."""

T = TypeVar("T")


@frozen(eq=False)
class TypedReader(Generic[T]):
    """A reader with the type of its key: ``takes`` is that type in Markdown, for the reference."""

    takes: str
    read: Callable[[Any, Site], T]

    def __call__(self, value: Any, site: Site) -> T:
        """Read a value."""
        return self.read(value, site)


def takes(words: str) -> Callable[[Callable[[Any, Site], T]], TypedReader[T]]:
    """Return a decorator that gives a reader the type of its key."""
    return lambda read: TypedReader(words, read)


@frozen
class IgnoreFile:
    """A file of gitignore patterns, as it was when the profile was loaded."""

    path: Path
    lines: tuple[str, ...] = attrs.field(repr=False)


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; write it in quotes: {example}")  # noqa: TRY004
    return value


@takes("string")
def read_path(value: object, site: Site) -> Path:
    """Return an absolute path. ``~`` is the home directory; relative paths are relative to the profile."""
    text = _text(value, '"./public"')
    if not text or "\0" in text:
        raise ValueError("is not a path: it is empty or contains a NUL")
    if "://" in text:
        raise ValueError("is a URL, and a path on this machine is needed; a server has the key url")
    return Path(os.path.abspath(site.base / expand_home(text)))


def whole_reader(low: int, high: int | None = None) -> Reader:
    """Return a reader of whole numbers within bounds."""
    bounds = f"from {low} to {high}" if high else f"of at least {low}"

    @takes(f"whole number {bounds}")
    def read(value: object, _: Site) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low or (high and value > high):
            raise ValueError(f"{shown(value)} is not a whole number {bounds}")
        return value

    return read


@takes(f'whole number from 1 to {MOST_CONNECTIONS}, or `"auto"`')
def read_connections(value: object, site: Site) -> int | str:
    """Return a number of connections, or "auto"."""
    try:
        return "auto" if value == "auto" else int(whole_reader(1, MOST_CONNECTIONS)(value, site))
    except ValueError as error:
        raise ValueError(f'{error}, or "auto"') from None


def choice_reader(choices: tuple[str, ...]) -> Reader:
    """Return a reader of one of ``choices``."""
    quoted = [f'`"{choice}"`' for choice in choices]

    @takes(f"{', '.join(quoted[:-1])} or {quoted[-1]}")
    def read(value: object, _: Site) -> str:
        if value not in choices:
            raise ValueError(f"{shown(value)} is not one of {', '.join(shown(one) for one in choices)}")
        return str(value)

    return read


@takes('`"source"`, `"keep"`, or two modes in octal: `"0644/0755"`')
def read_mode_rule(value: object, _: Site) -> Modes:
    """Return a rule for permissions."""
    text = _text(value, '"source"')
    try:
        return read_modes(text)
    except ValueError as error:
        raise ValueError(f"{shown(value)} {error}") from None


@takes("boolean")
def read_switch(value: object, _: Site) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not true or false; write it without quotes")  # noqa: TRY004
    return value


@takes('boolean, or `"everything"`')
def read_delete(value: object, _: Site) -> Deletion:
    """Return which removals are allowed."""
    if value == "everything":
        return "everything"
    if not isinstance(value, bool):
        reason = 'is not true or false; write it without quotes, or write "everything"'
        raise ValueError(f"{shown(value)} {reason}")  # noqa: TRY004
    return value


@takes("[duration](#durations)")
def read_duration(value: object, _: Site) -> float:
    """Return a duration in seconds."""
    return parse_duration(_text(value, '"30s"'))


@takes("rate")
def read_rate(value: object, _: Site) -> float | None:
    """Return a rate in bytes per second, None for "off"."""
    return parse_rate(_text(value, '"2M"'))


@takes("percentage or count")
def read_max_delete(value: object, _: Site) -> MaxDelete:
    """Return a percentage or a count."""
    return MaxDelete.parse(value)


@takes("string")
def read_host_key(value: object, _: Site) -> str:
    """Return the fingerprint of an SSH host key."""
    return parse_fingerprint(_text(value, '"SHA256:..."'))


@takes("string")
def read_certificate(value: object, _: Site) -> str:
    """Return the SHA-256 of a certificate as 64 lower-case hexadecimal digits without colons."""
    text = _text(value, '"3F:A9:..."')
    digits = text.replace(":", "").lower()
    if not _CERTIFICATE.fullmatch(digits):
        raise ValueError(
            f"{shown(text)} is not the SHA-256 fingerprint of a certificate; write 64 hexadecimal digits, "
            "with or without colons, as openssl x509 -fingerprint -sha256 shows it"
        )
    return digits


def read_texts(value: object, example: str) -> tuple[str, ...]:
    """Return a list of strings, written like ``example``."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{shown(value)} is not a list of strings; write it like {example}")
    return tuple(value)


@takes("list of patterns")
def read_patterns(value: object, _: Site) -> tuple[str, ...]:
    """Return patterns in gitignore syntax."""
    return Selection(exclude=read_texts(value, '[".git/", "*.tmp"]')).exclude


@takes("list of strings")
def read_extensions(value: object, _: Site) -> tuple[str, ...]:
    """Return file extensions."""
    extensions = read_texts(value, '[".bak"]')
    for one in extensions:
        if not one.strip(".") or "/" in one:
            raise ValueError(f'{shown(one)} is not a file extension; write it like ".bak"')
    return extensions


@takes("string")
def read_ignore_file(value: object, site: Site) -> IgnoreFile:
    """Return the patterns in a file, given its path."""
    path = read_path(value, site)
    try:
        text = read_regular(path, _MAX_BYTES)[0].decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; create the file or remove the key") from None
    lines = tuple(line.removesuffix("\r") for line in text.split("\n"))
    return IgnoreFile(path, Selection(exclude=lines).exclude)


@takes("string")
def read_url(value: object, site: Site) -> Place:
    """Return the place of a URL or a directory."""
    if not isinstance(value, str):
        several = "; each of several targets is a table [[target]]" if isinstance(value, list) else ""
        raise ValueError(f'is not text; write it in quotes: "sftp://user@host/dir"{several}')  # noqa: TRY004
    return parse_place(value, site.base, site.table)


@takes("string")
def read_proxy(value: object, site: Site) -> ProxyPlace:
    """Return the proxy of a URL. Errors do not quote the value, which may contain a password."""
    if not isinstance(value, str):
        raise ValueError('is not text; write it in quotes: "socks5://host:1080"')  # noqa: TRY004
    return parse_proxy(value, site.table)
