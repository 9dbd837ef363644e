"""The tables of a profile as they are written in its file, before their keys are read."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from actorsync.classes import frozen
from actorsync.endpoints.shared.private_files import is_exposed, is_mounted_secret
from actorsync.errors import ProfileError
from actorsync.profile.known_keys import KEYS, SECTIONS, kebab, with_name
from actorsync.profile.secrets.files import PLAN_BEGINNING, one_line, read_regular, toml_fault
from actorsync.profile.secrets.secret import looks_secret

__all__ = ["Document", "plain_secrets", "read_document", "refuse"]

_MAX_BYTES = 1_048_576


@frozen
class Document:
    """The tables of a profile by name, without ``[target]``; and the tables of its targets, at least one."""

    tables: dict[str, Any]
    targets: tuple[dict[str, Any], ...]

    def of_target(self, number: int) -> dict[str, Any]:
        """Return the tables of a profile with one target alone: a copy of the tables, but not of their values."""
        copies = {name: dict(self.tables[name]) for name in SECTIONS if name != "target"}
        return {**self.tables, **copies, "target": dict(self.targets[number])}


def refuse(file: str, key: str, reason: str) -> NoReturn:
    """Raise a one-line error. Line breaks and control characters in names and values are escaped."""
    line = f"{file}: {key}: {reason}" if key else f"{file}: {reason}"
    raise ProfileError(one_line(line)) from None


def read_document(path: Path) -> Document:
    """Return the tables of the file. Every table that can have keys is there. Raises `ProfileError`."""
    file = str(path)
    try:
        raw, status = read_regular(path, _MAX_BYTES)
    except FileNotFoundError:
        if ":/" in file:
            refuse(file, "", "is a URL, not a profile; run: actorsync init, and set target.url in the new profile")
        refuse(file, "", "no such file; create one with: actorsync init")
    except OSError as error:
        if os.path.isdir(path):
            refuse(file, "", "is a directory, not a profile; run: actorsync init, and set source.path there")
        refuse(file, "", f"cannot be read: {error.strerror}; name a profile that can be read")
    if raw.startswith(PLAN_BEGINNING):
        refuse(file, "", f"is a saved plan, not a profile; run: actorsync apply PROFILE {file}")
    try:
        tables = tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        refuse(file, "", f"is not UTF-8 text (byte {error.start}); save it as UTF-8")
    except RecursionError:
        refuse(file, "", "is not valid TOML: nested too deeply")
    except ValueError as error:  # TOMLDecodeError is one, and a number of thousands of digits raises a bare one
        refuse(file, "", f"is not valid TOML: {toml_fault(error, raw)}")
    targets = tables.pop("target", {})
    if isinstance(targets, dict):
        for name, value in targets.items():
            if isinstance(value, dict) and "url" in value:
                way_out = f"write it as [[target]], with name = {name!r}".replace("'", '"')
                refuse(file, f"target.{name}", f"a target is no table in another one; {way_out}")
        targets = [targets]
    if not isinstance(targets, list) or not targets or not all(isinstance(table, dict) for table in targets):
        refuse(file, "target", "is not a table; write it as [target], or as [[target]] for each of several")
    for section in SECTIONS:
        if section != "target" and not isinstance(tables.setdefault(section, {}), dict):
            refuse(file, section, f"is not a table; write it as [{section}]")
    document = Document(tables, tuple(targets))
    for number in range(len(targets)):
        _check_secrets(path, document.of_target(number), status)
    return document


def plain_secrets(options: object) -> Sequence[str]:
    """Return the names of the options that hold a secret in clear text."""
    table = options if isinstance(options, dict) else {}
    return [name for name, value in table.items() if isinstance(value, str) and looks_secret(name)]


def _check_secrets(path: Path, tables: dict[str, Any], status: os.stat_result) -> None:
    """Reject secrets in a file that others can access."""
    name = tables["target"].get("name")
    for known, field in KEYS.items():
        table, noun = tables[known.partition(".")[0]], kebab(field.name)
        key = with_name(known, name) if isinstance(name, str) else known
        if field.metadata["is_secret"] and isinstance(table.get(noun), str):
            _check_private(path, key, noun, status)
        if field.name == "options":
            for name in plain_secrets(table.get("options")):
                _check_private(path, f"{key}.{name}", name, status)


def _check_private(path: Path, key: str, noun: str, status: os.stat_result) -> None:
    """Reject a secret in a profile that other users can access, as ssh does with keys.

    A profile that is itself a mounted secret may belong to root, and be reached through a symbolic link.
    """
    instead = f'use {noun} = {{ env = "..." }}'
    if is_mounted_secret(path, status):
        return
    if is_exposed(path, status):
        mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
        way_out = f"run: chmod 600 {path}, or {instead}"
        refuse(str(path), key, f"the profile contains a {noun}, and other users can access it ({mode}); {way_out}")
    if status.st_uid != os.geteuid():
        refuse(str(path), key, f"the profile contains a {noun}, and another user owns it; {instead}")
    if path.is_symlink():
        refuse(str(path), key, f"the profile contains a {noun}, and it is a symbolic link; use the path of its target")
