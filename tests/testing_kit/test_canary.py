"""That the canary would be heard: the watch over the whole suite sees what it is there to see."""

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
def heard() -> list[str]:
    """What the watch has seen in this test, which is then forgiven."""
    return WATCH.seen


def test_m105_a_log_record(heard: list[str]) -> None:
    logging.getLogger("somewhere").warning("the password is %s", PASSWORD)
    assert heard == ["the log of somewhere"]
    heard.clear()


def test_m105_the_arguments_of_a_process(heard: list[str]) -> None:
    subprocess.run([sys.executable, "-c", "", PASSWORD], check=True)
    assert any("process" in where for where in heard)
    heard.clear()


def test_m105_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/journal").write_bytes(b"\0" * 100 + PASSWORD.encode() + b"\0")
    (tmp_path / "other").write_bytes(b"CANARY")
    assert seen_in(tmp_path) == [str(tmp_path / "deep/journal")]
