"""The profile that mirrors a directory to an embedded server, as text and as a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["profile_text", "write_private"]


def profile_text(source: Path, url: str, target: dict[str, str], more: str = "") -> str:
    """Give a profile: ``target`` has the keys of ``[target]`` besides the URL, ``more`` are more tables."""
    keys = {"url": url, **target}
    tables = [
        ["[source]", f"path = {_quoted(os.path.abspath(source))}"],
        ["[target]", *(f"{key} = {_quoted(value)}" for key, value in keys.items())],
    ]
    text = "\n\n".join("\n".join(lines) for lines in tables) + "\n"
    return f"{text}\n{more.strip()}\n" if more else text


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner may read, as a profile with a password in it has to be."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
    return path


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
