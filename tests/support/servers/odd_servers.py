"""Real FTP servers that do not take commands in a row: Twisted, aioftp, and the npm packages ftp-srv and ftpd.

Each is a small program in ``tests/support/servers/odd``, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import FtpTarget
from tests.support.servers.debian_servers import PASSWORD, USER, free_port

__all__ = ["NAMES", "odd_server"]

#: The program of each server, and the package that it needs.
_PROGRAMS = {
    "twisted": ("twisted_ftp.py", "twisted"),
    "aioftp": ("aioftp_server.py", "aioftp"),
    "ftp-srv": ("ftp_srv.js", "ftp-srv"),
    "npm-ftpd": ("npm_ftpd.js", "ftpd"),
}
NAMES: tuple[str, ...] = tuple(_PROGRAMS)

_START = 30.0


@contextmanager
def odd_server(name: str, folder: Path) -> Iterator[FtpTarget]:
    """Serve an empty ``folder/root``. Where the server cannot run, skip the test, or fail it in CI."""
    script, package = _PROGRAMS[name]
    unpacked = Path(os.environ.get("ACTORSYNC_SERVERS") or Path.home() / ".cache" / "actorsync-servers")
    modules = unpacked / "node" / "node_modules"
    interpreter = shutil.which("node") if script.endswith(".js") else sys.executable
    is_there = (modules / package).is_dir() if script.endswith(".js") else importlib.util.find_spec(package) is not None
    if interpreter is None or not is_there:
        reason = f"{package} is not installed; run .ci/install-servers, and install the extra `servers`"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so no test may be skipped)")
        pytest.skip(reason)
    root = folder / "root"
    root.mkdir()
    target = FtpTarget(name, "127.0.0.1", free_port(), USER, PASSWORD, root)
    program = Path(__file__).with_name("odd") / script
    with open(folder / "output", "ab") as log:
        process = subprocess.Popen(
            [interpreter, str(program), str(root), str(target.port), USER],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "NODE_PATH": str(modules), "PASSWORD": PASSWORD},
        )
    try:
        _wait_until_it_greets(target, process, folder / "output")
        yield target
    finally:
        process.kill()
        process.wait()


def _wait_until_it_greets(target: FtpTarget, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            with socket.create_connection((target.host, target.port), timeout=5) as connection:
                if connection.recv(3) == b"220":
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{target.name} did not start:\n{output.read_text(errors='replace')}")
        time.sleep(0.02)
