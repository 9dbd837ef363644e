"""The system calls of a program that change files, in order, traced with ``strace``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.support.root import ROOT

__all__ = ["Call", "Traced", "trace"]

#: Calls that change a disk or sync it. Writes to standard output are among them.
_CALLS: Final = (
    "openat,write,pwrite64,writev,sendfile,copy_file_range,ftruncate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
_LINE: Final = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>)?(.*)", re.DOTALL)
_ARGUMENT: Final = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(\d+|AT_FDCWD)<((?:[^<>\\]|\\.)*)>|([^,]+))')


@attrs.frozen
class Call:
    """One system call that succeeded. ``paths`` are its paths, absolute."""

    name: str
    paths: Sequence[str]
    data: bytes
    offset: int
    flags: str
    began: int
    ended: int

    @property
    def moment(self) -> int:
        """When the call takes effect: written data may be on the disk at its start, synced data is at its end."""
        return self.began if self.name in {"write", "pwrite64"} else self.ended


@attrs.frozen
class Traced:
    """The exit code and output of a program, and its calls in the order in which they take effect."""

    code: int
    out: str
    errors: str
    calls: Sequence[Call]


def trace(words: Sequence[str | Path], log: Path) -> Traced:
    """Run a program to its end. Skips the test where strace does not work."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; run .ci/install-servers")
    options = ["-f", "-y", "-qq", "-xx", "-s", str(1 << 20), "-e", "signal=none", "-e", f"trace={_CALLS}"]
    done = subprocess.run(
        ["strace", *options, "-o", log, *words],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    calls = sorted(_calls_in(log.read_text()), key=lambda call: call.moment)
    if not calls:
        pytest.skip(f"strace does not work here: {done.stderr}")
    return Traced(done.returncode, done.stdout, done.stderr, calls)


def _calls_in(text: str) -> Iterator[Call]:
    begun: dict[str, tuple[int, str]] = {}
    for moment, line in enumerate(text.splitlines()):
        found = _LINE.fullmatch(line)
        assert found, line
        process, resumed, rest = found.groups()
        began = moment
        if resumed:
            began, start = begun.pop(process)
            rest = start + rest
        if rest.endswith("<unfinished ...>"):
            begun[process] = (began, rest.removesuffix("<unfinished ...>"))
        elif (call := _parsed(rest, began, moment)) is not None:
            yield call


def _parsed(text: str, began: int, ended: int) -> Call | None:
    name, _, rest = text.partition("(")
    arguments, _, result = rest.rpartition(" = ")
    if not result or result.startswith(("-1", "?")):
        return None
    paths: list[str] = []
    data, numbers, flags, directory = b"", [], "", ""
    for string, _, described, other in _ARGUMENT.findall(arguments.rstrip().removesuffix(")")):
        if described:
            directory = _bytes(described).decode("utf-8", "surrogateescape")
            if name not in {"openat", "renameat", "renameat2", "unlinkat", "mkdirat"}:
                paths.append(directory)
        elif string and name in {"write", "pwrite64"}:
            data = _bytes(string)
        elif string:
            path = _bytes(string).decode("utf-8", "surrogateescape")
            paths.append(os.path.normpath(os.path.join(directory, path)))
        elif other.strip().isdigit():
            numbers.append(int(other))
        else:
            flags += other
    return Call(name, paths, data, numbers[-1] if numbers else 0, flags, began, ended)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
