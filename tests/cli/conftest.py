"""Fixtures for tests of commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import CANARY
from tests.support.site import Site


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the password of the profiles of `write_profile`."""
    monkeypatch.setenv("TEST_PASSWORD", CANARY)


@pytest.fixture
def server(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    root = server_folder / "root"
    root.mkdir()
    with EmbeddedFtpServer(root, password=CANARY) as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("bb")
    return source


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A mirror after its first run; ``gone.txt`` is owned and still on the target."""
    site = Site(tmp_path, capsys)
    site.fill()
    return site
