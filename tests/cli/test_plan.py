"""The command ``plan``: the errors that end it, and what it lists."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.runs import runner
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import write_profile

pytestmark = pytest.mark.usefixtures("password")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_plan_for_an_unreachable_server_prints_its_error_alone(
    source: Path, closed_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PLAN_TRIES", 1)
    url = f"ftp://demo@127.0.0.1:{closed_port}/"
    assert run_command(["plan", write_profile(source, url)]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    reason = f"127.0.0.1:{closed_port}: Connection refused; check the port, and that the server is running"
    assert err.splitlines() == [f"actorsync: {url} could not be reached after 1 attempt: {reason}"]


def test_plan_for_a_server_that_rejects_the_login_prints_its_error_alone(
    source: Path, server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "another one")
    assert run_command(["plan", write_profile(source, server.url)]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"actorsync: {server.url}: the server refuses the login: 530 ")
