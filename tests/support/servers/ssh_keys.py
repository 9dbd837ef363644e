"""SSH keys for tests, which asyncssh makes in a millisecond, and an agent that holds them."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

__all__ = ["Key", "agent", "make_key"]


@attrs.frozen
class Key:
    """A private key in a file with mode 0600."""

    path: Path
    public_line: str
    fingerprint: str


def make_key(path: Path | None = None, *, algorithm: str = "ssh-ed25519") -> Key:
    """Make a new key in ``path``. Without a path, return one key that all such calls share."""
    return _write(path, algorithm) if path is not None else _shared()


@functools.cache
def _shared() -> Key:
    folder = tempfile.mkdtemp(prefix="actorsync-key-")
    return _write(Path(folder) / "key", "ssh-ed25519")


def _write(path: Path, algorithm: str) -> Key:
    import asyncssh  # slow to import, and most tests do not need it

    key = asyncssh.generate_private_key(algorithm)
    path.touch(0o600)
    path.write_bytes(key.export_private_key())
    return Key(path, key.export_public_key().decode(), key.get_fingerprint())


@contextmanager
def agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """Run an ssh-agent that holds ``keys``; yield its socket, the value for ``SSH_AUTH_SOCK``."""
    socket = folder / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # printed when the socket exists
        environment = {"SSH_AUTH_SOCK": str(socket)}
        for key in keys:
            subprocess.run(["ssh-add", str(key)], env=environment, check=True, capture_output=True)
        yield socket
    finally:
        process.terminate()
        process.communicate()
