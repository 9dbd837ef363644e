"""A profile that mirrors a directory to an embedded server, as text and as a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["profile_text", "write_private"]


def profile_text(source: Path, url: str, target: dict[str, str], more: str = "") -> str:
    """Return a profile. ``target`` holds the keys of ``[target]`` other than ``url``; ``more`` is TOML to append."""
    keys = {"url": url, **target}
    tables = [
        ["[source]", f"path = {_quoted(os.path.abspath(source))}"],
        ["[target]", *(f"{key} = {_quoted(value)}" for key, value in keys.items())],
    ]
    text = "\n\n".join("\n".join(lines) for lines in tables) + "\n"
    return f"{text}\n{more.strip()}\n" if more else text


def write_private(path: Path, text: str) -> Path:
    """Write a file with mode 0600, which a profile with a password must have, and return its path."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
    return path


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
