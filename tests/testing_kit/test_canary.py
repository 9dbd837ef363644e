"""The watch over the whole suite finds the servers' password in logs, in process arguments and in files."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import WATCH
from tests.support.canary import seen_in
from tests.support.servers.debian_servers import PASSWORD


@pytest.fixture
def seen() -> list[str]:
    """The places where the watch has seen the password. A test clears the list, or it fails at its end."""
    return WATCH.seen


def test_m105_password_in_a_log_record_is_found(seen: list[str]) -> None:
    logging.getLogger("somewhere").warning("the password is %s", PASSWORD)
    assert seen == ["the log of somewhere"]
    seen.clear()


def test_m105_password_in_process_arguments_is_found(seen: list[str]) -> None:
    subprocess.run([sys.executable, "-c", "", PASSWORD], check=True)
    assert any("process" in where for where in seen)
    seen.clear()


def test_m105_password_in_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/journal").write_bytes(b"\0" * 100 + PASSWORD.encode() + b"\0")
    (tmp_path / "other").write_bytes(b"CANARY")
    assert seen_in(tmp_path) == [str(tmp_path / "deep/journal")]
