"""Texts of profiles for tests, and functions that load them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from actorsync.errors import ProfileError
from actorsync.profile import (
    Profile,
    load_profile,
)
from actorsync.profile.known_keys import keys as every_key
from actorsync.profile.template import is_described

__all__ = ["CANARY", "DESCRIBED", "INLINE", "KEYS", "MINIMAL", "loaded", "refused", "toml", "with_url"]

CANARY = "CANARY-4711"


MINIMAL = """
[source]
path = "public"
[target]
url = "ftp://deploy@ftp.example.com:2121/www"
password = { env = "SHOP_PASSWORD" }
"""


KEYS = every_key()

#: The keys that are described one by one; login keys of [source] are described with those of [target].
DESCRIBED = [key for key in KEYS if is_described(key)]


def loaded(path: Path, text: str = MINIMAL, overrides: list[str] | None = None) -> Profile:
    path.write_text(textwrap.dedent(text))
    return load_profile(path, overrides or [])


def refused(path: Path, text: str = MINIMAL, overrides: list[str] | None = None) -> str:
    """Return the line of the error, without the name of the file that it starts with."""
    with pytest.raises(ProfileError) as caught:
        loaded(path, text, overrides)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    assert CANARY not in line
    return line.removeprefix(f"{path}: ")


def with_url(url: str, password: str = "") -> str:
    return f'[source]\npath = "public"\n[target]\nurl = "{url}"\n{password}\n'


INLINE = MINIMAL.replace('{ env = "SHOP_PASSWORD" }', f'"{CANARY}"')


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(one):08x}" for one in value) + '"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(one)}' for key, one in value.items())}}}"
        case _:
            return repr(value)
