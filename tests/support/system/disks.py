"""Disks for a server to run out of: small ones, and ones that nobody may write to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["read_only", "small_disk"]


@contextmanager
def small_disk(folder: Path, size: str = "256k", *, uid: int | None = None, files: int | None = None) -> Iterator[Path]:
    """Have a disk of that size at ``folder``, which is made where it is missing; ``files`` is how many it can hold."""
    folder.mkdir(exist_ok=True)
    options = f"size={size},mode=755"
    options += f",uid={uid},gid={uid}" if uid is not None else ""
    options += f",nr_inodes={files + 1}" if files is not None else ""  # the folder is one
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CI"):
            raise
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody change anything below ``folder`` for a while, not even root."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
