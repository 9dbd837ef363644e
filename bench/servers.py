"""The servers for measurements: how to find, configure and start each.

Debian's packages of vsftpd, ProFTPD and Pure-FTPd conflict, so they can also be unpacked to one folder
(``$ACTORSYNC_SERVERS``, see docs/performance.md).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import attrs

from bench import configurations
from bench.credentials import PASSWORD, PORT, USER, Credentials

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SERVERS", "USUAL", "Language", "Place", "Server", "environment"]

Language = Literal["ftp", "ftpes", "sftp", "shell"]
"""The protocol that a server and a peer share. With ``shell``, the peer runs its own program there over SSH."""


@attrs.frozen
class Place:
    """The program, address and folders of one running server."""

    program: str
    address: str
    home: Path
    """The folder that the user sees: as the root, or as the home directory with a shell."""
    own: Path
    """The folder for the server's own files."""
    credentials: Credentials

    @property
    def config(self) -> Path:
        return self.own / "config"

    @property
    def modules(self) -> Path:
        return Path(self.program).parents[1] / "lib/proftpd"

    def configuration(self, server: Server) -> str:
        return server.config.format(place=self, port=PORT, user=USER, password=PASSWORD)


@attrs.frozen
class Server:
    """How to find a server, get its version and start it. ``config`` is a file with placeholders for a `Place`."""

    install: str
    speaks: tuple[Language, ...]
    config: str
    version: tuple[str, ...]
    command: Callable[[Place], list[str]]
    program: str = ""
    """Empty for a Python module."""
    module: str = ""
    """A file that is also required, below the ``lib`` next to the program's ``sbin``."""

    def find(self) -> str | None:
        """Return the path of the program, unpacked or installed, or None."""
        if not self.program:
            return sys.executable
        unpacked = _unpacked() / "usr/sbin" / self.program
        found = str(unpacked) if unpacked.exists() else shutil.which(self.program, path="/usr/sbin:/usr/local/sbin")
        return found if found and (Path(found).parents[1] / "lib" / self.module).exists() else None

    def find_version(self) -> str | None:
        """Return the version, or None when the server is not installed or does not run."""
        if not (program := self.find()):
            return None
        # vsftpd writes its version to descriptor 0
        asked = ["sh", "-c", 'exec "$@" 0>&1 2>&1', "sh", program, *self.version]
        answer = subprocess.run(asked, check=False, capture_output=True, text=True, env=environment())
        found = re.search(r"\d+(\.\d+)+\w*", answer.stdout)
        return found[0] if found and "shared libraries" not in answer.stdout else None


def _unpacked() -> Path:
    return Path(os.environ.get("ACTORSYNC_SERVERS", "~/.cache/actorsync-servers")).expanduser()


def environment() -> dict[str, str]:
    """Return the environment in which an unpacked server finds its libraries."""
    libraries = ":".join(str(folder) for folder in _unpacked().glob("usr/lib/*-linux-gnu"))
    return {**os.environ, "LD_LIBRARY_PATH": libraries}


def _vsftpd(place: Place) -> list[str]:
    return [place.program, str(place.config)]


def _proftpd(place: Place) -> list[str]:
    return [place.program, "-n", "-c", str(place.config)]


def _pure_ftpd(place: Place) -> list[str]:
    return [
        *(place.program, "-S", f"{place.address},{PORT}", "-A", "-E", "-H", "-l", "unix"),
        *("-c", "200", "-C", "200", "-I", "15", "-k", "100"),
    ]


def _pure_ftpd_tls(place: Place) -> list[str]:
    """Require TLS for login and data (3). Pure-FTPd cannot require that data connections resume a session."""
    return [*_pure_ftpd(place), "-Y", "3", "-2", str(place.credentials.certificate)]


def _sshd(place: Place) -> list[str]:
    return [place.program, "-D", "-e", "-f", str(place.config)]


def _script(place: Place) -> list[str]:
    return [place.program, str(place.config)]


_PYFTPDLIB_VERSION: Final = "import pyftpdlib; print(pyftpdlib.__ver__)"

SERVERS: Final[dict[str, Server]] = {
    "vsftpd": Server("vsftpd", ("ftp",), configurations.VSFTPD, ("-v",), _vsftpd, "vsftpd"),
    "proftpd": Server("proftpd-core", ("ftp",), configurations.PROFTPD, ("-v",), _proftpd, "proftpd"),
    "pure-ftpd": Server("pure-ftpd", ("ftp",), "", ("-h",), _pure_ftpd, "pure-ftpd"),
    "pyftpdlib": Server(
        "pip install pyftpdlib", ("ftp",), configurations.PYFTPDLIB, ("-c", _PYFTPDLIB_VERSION), _script
    ),
    "openssh": Server("apt install openssh-server", ("sftp", "shell"), configurations.OPENSSH, ("-V",), _sshd, "sshd"),
    "asyncssh": Server(
        "pip install asyncssh",
        ("sftp",),
        configurations.ASYNCSSH,
        ("-c", "import asyncssh; print(asyncssh.__version__)"),
        _script,
    ),
    "vsftpd-tls": Server("vsftpd", ("ftpes",), configurations.VSFTPD_TLS, ("-v",), _vsftpd, "vsftpd"),
    "proftpd-tls": Server(
        "proftpd-mod-crypto",
        ("ftpes",),
        configurations.PROFTPD_TLS,
        ("-v",),
        _proftpd,
        "proftpd",
        module="proftpd/mod_tls.so",
    ),
    "pure-ftpd-tls": Server("pure-ftpd", ("ftpes",), "", ("-h",), _pure_ftpd_tls, "pure-ftpd"),
    "pyftpdlib-tls": Server(
        "pip install pyftpdlib PyOpenSSL",
        ("ftpes",),
        configurations.PYFTPDLIB_TLS,
        ("-c", f"import OpenSSL; {_PYFTPDLIB_VERSION}"),
        _script,
    ),
}

USUAL: Final = ("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib", "openssh")
"""The servers of a call without ``--server``. The others would take more than an hour over a slow line."""
