"""Files that hold a secret: who may have access to them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

__all__ = ["is_exposed", "is_mounted_secret"]

#: Where Docker, Podman, Kubernetes and systemd mount secrets.
_MOUNTS: Final = ("/run/secrets", "/var/run/secrets", "/run/credentials")


def is_exposed(path: Path, status: os.stat_result) -> bool:
    """Return whether a file with a secret is open to users other than its owner, and the user should change that.

    A secret that was mounted for this process is not exposed, see `is_mounted_secret`.
    """
    return bool(status.st_mode & 0o077) and not is_mounted_secret(path, status)


def is_mounted_secret(path: Path, status: os.stat_result) -> bool:
    """Return whether a file was put there for this process by what started it, which chose the mode and the owner.

    Docker mounts secrets with mode 0444, Kubernetes with 0644 behind symbolic links, systemd with 0440. The user
    cannot change these modes: the mount decides who sees the file. Two things are required:

    * The file is on a read-only mount, or in a directory for mounted secrets (``/run/secrets``, or the one of systemd
      in ``$CREDENTIALS_DIRECTORY``), after symbolic links are resolved.
    * Nobody but its owner may write to it.
    """
    if stat.S_IMODE(status.st_mode) & 0o022:
        return False
    resolved = os.path.realpath(path)
    mounts = [*_MOUNTS, os.environ.get("CREDENTIALS_DIRECTORY", "")]
    if any(os.path.isabs(mount) and _is_inside(resolved, os.path.realpath(mount)) for mount in mounts):
        return True
    try:
        return bool(os.statvfs(resolved).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_inside(path: str, directory: str) -> bool:
    return directory != "/" and path.startswith(f"{directory}/")
