"""A small source and its profile, for tests of commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.root import ROOT

__all__ = ["CANARY", "start", "tree", "write_profile"]

CANARY = "CANARY-4711"


def write_profile(source: Path, url: str, *more: str) -> str:
    is_ftp = url.startswith("ftp:")
    path = source.parent / "profile.toml"
    path.write_text(
        "\n".join(
            [
                "[source]",
                f'path = "{source}"',
                "[target]",
                f'url = "{url}"',
                'password = { env = "TEST_PASSWORD" }' if is_ftp else "",
                "[sync]",
                "delete = true",
                *more,
            ]
        )
    )
    return str(path)


def tree(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def start(*arguments: str, stdin: int = subprocess.DEVNULL, is_session: bool = False) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "actorsync", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, cwd=ROOT, start_new_session=is_session)
