"""Small disks and read-only folders, for tests in which a server cannot write."""

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
    """Mount a disk of that size at ``folder``, and make the folder if it is missing. ``files`` limits the entries."""
    folder.mkdir(exist_ok=True)
    options = f"size={size},mode=755"
    options += f",uid={uid},gid={uid}" if uid is not None else ""
    options += f",nr_inodes={files + 1}" if files is not None else ""  # the root directory takes one inode
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CI"):
            raise
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make ``folder`` read-only during a ``with`` block, also for root."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
