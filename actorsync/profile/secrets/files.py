"""Reading the files of a profile, and making error messages fit on one line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["PLAN_BEGINNING", "one_line", "read_regular", "regular_status", "toml_fault"]

#: How the file of a saved plan begins: not a profile, though it may be named in the place of one.
PLAN_BEGINNING: Final = b'{\n "actorsync-plan"'

#: What to do about an error of TOML, by the beginning of its text.
_TOML_WAYS_OUT: Final = {
    "Invalid value": 'text is written in quotes: key = "value"',
    "Expected '=' after a key": 'write it like key = "value"',
    "Invalid statement": 'a profile has tables such as [source], and in them lines such as key = "value"',
    "Unescaped '\\'": "write / in a path, or put the text into single quotes",
    "Cannot overwrite a value": "the key is there twice; remove one of them",
    "Illegal character": "close the quotes on the same line",
    "Expected newline or end of document": "put the whole text into quotes",
    "Unclosed array": "close it with ], and write commas between its items",
}


def toml_fault(error: ValueError, raw: bytes) -> str:
    """Return what is wrong with a text that is not valid TOML, and what to do.

    No value is quoted: it may be a secret.
    """
    text = re.sub(r"Cannot declare \(([^)]*)\) twice", _twice, str(error))
    way_out = next((way for start, way in _TOML_WAYS_OUT.items() if text.startswith(start)), "")
    if way_out and (place := re.search(r"at line (\d+)", text)):
        lines = raw.decode("utf-8-sig").splitlines()
        value = lines[min(int(place[1]), len(lines)) - 1].partition("=")[2].strip()
        if value.lower() in {"true", "false", "yes", "no", "on", "off"}:
            way_out = "write true or false"
        elif value[:1] in {"\u201c", "\u201d", "\u201e", "\u2018", "\u2019"}:
            way_out = "use straight quotes"
        elif re.match(r"\s*\[\[target\]\]", lines[min(int(place[1]), len(lines)) - 1]):
            way_out = "with several targets, each of them is a table [[target]], also the first"
    return f"{text}; {way_out}" if way_out else text


def _twice(found: re.Match[str]) -> str:
    name = ".".join(re.findall(r"'([^']*)'", found[1]))
    way_out = "join the two, or write each of several targets as [[target]]" if name == "target" else "join the two"
    return f"[{name}] is there twice, {way_out}"


def read_regular(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the content of a regular file of at most ``limit`` bytes, and its status at that time.

    Raises `OSError` for anything else. Never blocks, not even for a FIFO without a writer.
    """
    with _opened(path) as (descriptor, status):
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"Longer than {limit} bytes")
        return os.read(descriptor, limit), status


def regular_status(path: Path) -> os.stat_result:
    """Return the status of a readable regular file. Raises `OSError` for anything else."""
    with _opened(path) as (_, status):
        return status


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, os.stat_result]]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        yield descriptor, status
    finally:
        os.close(descriptor)


def one_line(text: str) -> str:
    """Return ``text`` with line breaks and other unprintable characters escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
