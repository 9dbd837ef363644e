"""Embedded servers as pytest fixtures. To enable them, write this line to the ``conftest.py`` of your tests::

    pytest_plugins = ["actorsync.testing.fixtures"]

* ``ftp_server``, ``ftpes_server``, ``ftps_server``, ``sftp_server``: a server over an empty folder, new for each test.
* ``make_ftp_server``, ``make_sftp_server``: make servers with other settings, such as ``max_connections``, ``faults``.
* ``actorsync_state``: the folder for journals during a test. Every server uses it, so that tests leave your own
  journals alone.

This module is not an entry point of pytest. pytest would load it in every project where actorsync is installed, and
slow down tests that do not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from actorsync.testing.servers.certificates import self_signed_certificate
from actorsync.testing.servers.ftp import EmbeddedFtpServer
from actorsync.testing.servers.sftp import EmbeddedSftpServer

__all__ = [
    "MakeFtpServer",
    "MakeSftpServer",
    "actorsync_state",
    "ftp_server",
    "ftpes_server",
    "ftps_server",
    "make_ftp_server",
    "make_sftp_server",
    "sftp_server",
]


class MakeFtpServer(Protocol):
    """Start an FTP server over a new folder, with these settings. ``tls`` is ``"explicit"`` or ``"implicit"``."""

    def __call__(self, *, tls: str | None = None, **settings: Any) -> EmbeddedFtpServer: ...


class MakeSftpServer(Protocol):
    """Start an SFTP server over a new folder, with these settings."""

    def __call__(self, **settings: Any) -> EmbeddedSftpServer: ...


@pytest.fixture
def actorsync_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the journals of a test apart from your own; return the folder that ``XDG_STATE_HOME`` names meanwhile."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def make_ftp_server(tmp_path_factory: pytest.TempPathFactory, actorsync_state: Path) -> Iterator[MakeFtpServer]:
    """Start FTP servers, each over a new folder unless ``root`` is passed. They stop at the end of the test."""
    assert actorsync_state.is_dir()
    with ExitStack() as stack:

        def make(*, tls: str | None = None, **settings: Any) -> EmbeddedFtpServer:
            if tls not in {None, "explicit", "implicit"}:
                raise ValueError(f"tls is {tls!r}; it must be 'explicit' (ftpes://) or 'implicit' (ftps://)")
            settings.setdefault("root", tmp_path_factory.mktemp("ftp"))
            if tls is not None:
                file = tmp_path_factory.mktemp("tls") / "certificate.pem"
                settings.setdefault("certificate", self_signed_certificate(file))
            return stack.enter_context(EmbeddedFtpServer(is_implicit=tls == "implicit", **settings))

        yield make


@pytest.fixture
def make_sftp_server(tmp_path_factory: pytest.TempPathFactory, actorsync_state: Path) -> Iterator[MakeSftpServer]:
    """Start SFTP servers, each over a new folder unless ``root`` is passed. They stop at the end of the test."""
    assert actorsync_state.is_dir()
    with ExitStack() as stack:

        def make(**settings: Any) -> EmbeddedSftpServer:
            settings.setdefault("root", tmp_path_factory.mktemp("sftp"))
            return stack.enter_context(EmbeddedSftpServer(**settings))

        yield make


@pytest.fixture
def ftp_server(make_ftp_server: MakeFtpServer) -> EmbeddedFtpServer:
    """An FTP server over an empty folder."""
    return make_ftp_server()


@pytest.fixture
def ftpes_server(make_ftp_server: MakeFtpServer) -> EmbeddedFtpServer:
    """An FTP server over an empty folder, with explicit TLS and a self-signed certificate."""
    return make_ftp_server(tls="explicit")


@pytest.fixture
def ftps_server(make_ftp_server: MakeFtpServer) -> EmbeddedFtpServer:
    """An FTP server over an empty folder, with implicit TLS and a self-signed certificate."""
    return make_ftp_server(tls="implicit")


@pytest.fixture
def sftp_server(make_sftp_server: MakeSftpServer) -> EmbeddedSftpServer:
    """An SFTP server over an empty folder."""
    return make_sftp_server()
