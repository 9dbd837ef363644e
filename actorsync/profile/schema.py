"""What a profile says, as frozen classes. Each field is a key (in kebab-case); its metadata is how it is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from actorsync.planning.selection import Selection
from actorsync.profile.files import read_regular
from actorsync.profile.secret import (
    CommandSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    Secret,
    SecretSource,
    line_fault,
)
from actorsync.profile.target import Target, parse_target
from actorsync.profile.units import MaxDelete, parse_duration, shown

__all__ = ["IgnoreFile", "Links", "Profile", "Shutdown", "Site", "Source", "Sync", "TargetTable"]

Links = Literal["skip", "follow", "error"]
_MAX_CONNECTIONS = 64
_MAX_BYTES = 1_048_576


@attrs.frozen
class Site:
    """The profile as a place: how errors name it, and what its relative paths are relative to."""

    name: str
    base: Path


Reader = Callable[[Any, Site], Any]
"""Makes a field's value of a TOML value; raises ``ValueError`` with the reason and the way out."""


@attrs.frozen
class IgnoreFile:
    """A file of gitignore lines, as it was when the profile was loaded."""

    path: Path
    lines: tuple[str, ...] = attrs.field(repr=False)


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; write it in quotes: {example}")  # noqa: TRY004
    return value


def _path(value: object, site: Site) -> Path:
    text = _text(value, '"./public"')
    if not text or "\0" in text:
        raise ValueError("is not a path: it is empty, or has a NUL in it")
    return Path(os.path.abspath(site.base / os.path.expanduser(text)))


def _whole(low: int, high: int | None = None) -> Reader:
    bounds = f"from {low} to {high}" if high else f"of at least {low}"

    def read(value: object, _: Site) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low or (high and value > high):
            raise ValueError(f"{shown(value)} is not a whole number {bounds}")
        return value

    return read


def _switch(value: object, _: Site) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false (without quotes)")  # noqa: TRY004
    return value


def _duration(value: object, _: Site) -> float:
    return parse_duration(_text(value, '"30s"'))


def _max_delete(value: object, _: Site) -> MaxDelete:
    return MaxDelete.parse(value)


def _links(value: object, _: Site) -> str:
    if value not in get_args(Links):
        raise ValueError(f"{shown(value)} is none of {', '.join(shown(one) for one in get_args(Links))}")
    return str(value)


def _texts(value: object, example: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{shown(value)} is not a list of texts; write it like {example}")
    return tuple(value)


def _patterns(value: object, _: Site) -> tuple[str, ...]:
    return Selection(exclude=_texts(value, '[".git/", "*.tmp"]')).exclude


def _extensions(value: object, _: Site) -> tuple[str, ...]:
    extensions = _texts(value, '[".bak"]')
    for one in extensions:
        if not one.strip(".") or "/" in one:
            raise ValueError(f'{shown(one)} is not the end of a file name; write it like ".bak"')
    return extensions


def _ignore_file(value: object, site: Site) -> IgnoreFile:
    path = _path(value, site)
    try:
        text = read_regular(path, _MAX_BYTES)[0].decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; make the file, or leave the key out") from None
    lines = tuple(line.removesuffix("\r") for line in text.split("\n"))
    return IgnoreFile(path, Selection(exclude=lines).exclude)


def _url(value: object, site: Site) -> Target:
    if not isinstance(value, str):
        raise ValueError('is not text; write it in quotes: "ftp://user@host/dir"')  # noqa: TRY004
    return parse_target(value, site.base)


_PASSWORD_FORMS = ("env", "file", "command", "keyring")


def _password(value: object, site: Site) -> SecretSource:
    """Where the password comes from. No error quotes the value: it may be the password, in the wrong place."""
    where = f"{site.name}: target.password"
    if isinstance(value, str):
        if fault := "is empty" if not value else line_fault(value):
            raise ValueError(fault)
        return Secret(value)
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _PASSWORD_FORMS:
        raise ValueError(
            'must be one of { env = "NAME" }, { file = "..." }, { command = ["..."] }, { keyring = "..." }'
        )
    form, argument = next(iter(value.items()))
    if form == "command":
        if not isinstance(argument, list) or not argument or not all(_is_name(one) for one in argument):
            raise ValueError('command must be a list of texts, without a shell: { command = ["pass", "shop"] }')
        return CommandSecret(tuple(argument), site.base, where=where)
    if not _is_name(argument):
        raise ValueError(f'{form} must be text: {{ {form} = "..." }}')
    if form == "env":
        return EnvSecret(argument, where=where)
    if form == "file":
        return FileSecret(_path(argument, site), where=where)
    return KeyringSecret(argument, where=where)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _key(reader: Reader, example: str = "", *, is_text: bool = False) -> dict[str, Any]:
    """A field's metadata; ``example`` is shown when a required key is missing, ``is_text`` is for overrides."""
    return {"reader": reader, "example": example, "is_text": is_text}


@attrs.frozen
class Source:
    """The directory that is mirrored; ``path`` is absolute."""

    path: Path = attrs.field(metadata=_key(_path, 'path = "./public"', is_text=True))


@attrs.frozen
class TargetTable:
    """The table ``[target]`` as it is written; ``Profile.target`` is the two of them put together."""

    url: Target = attrs.field(metadata=_key(_url, 'url = "ftp://user@host/dir"', is_text=True))
    password: SecretSource | None = attrs.field(default=None, metadata=_key(_password))


@attrs.frozen
class Sync:
    """What is mirrored, and how. Durations are in seconds; ``every`` is None for a run that is done once."""

    connections: int = attrs.field(default=4, metadata=_key(_whole(1, _MAX_CONNECTIONS)))
    every: float | None = attrs.field(default=None, metadata=_key(_duration, is_text=True))
    delete: bool = attrs.field(default=False, metadata=_key(_switch))
    max_delete: MaxDelete = attrs.field(default=MaxDelete(50, is_percent=True), metadata=_key(_max_delete))
    exclude: tuple[str, ...] = attrs.field(default=(), metadata=_key(_patterns))
    include: tuple[str, ...] = attrs.field(default=(), metadata=_key(_patterns))
    exclude_from: IgnoreFile | None = attrs.field(default=None, metadata=_key(_ignore_file, is_text=True))
    exclude_extensions: tuple[str, ...] = attrs.field(default=(), metadata=_key(_extensions))
    max_depth: int | None = attrs.field(default=None, metadata=_key(_whole(1)))
    links: Links = attrs.field(default="skip", metadata=_key(_links, is_text=True))

    def selection(self) -> Selection:
        """What takes part in the run. The lines of ``exclude_from`` come first, so ``exclude`` can take them back."""
        lines = self.exclude_from.lines if self.exclude_from else ()
        return Selection((*lines, *self.exclude), self.include, self.exclude_extensions, self.max_depth)


@attrs.frozen
class Shutdown:
    """How long, in seconds, each way of stopping may take before the next harder one."""

    drain: float = attrs.field(default=30.0, metadata=_key(_duration, is_text=True))
    cancel: float = attrs.field(default=5.0, metadata=_key(_duration, is_text=True))


@attrs.frozen
class Profile:
    """A profile that can be used: every value checked, every path absolute, the password not yet looked up."""

    path: Path
    source: Source
    target: Target
    sync: Sync
    shutdown: Shutdown

    @property
    def identity(self) -> str:
        """Names the pair of source and target: the same for as long as neither moves, 16 hexadecimal digits."""
        target = self.target
        place = os.path.realpath(target.path) if target.scheme == "file" else target.path
        parts = (os.path.realpath(self.source.path), target.scheme, target.user, target.host, str(target.port), place)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
