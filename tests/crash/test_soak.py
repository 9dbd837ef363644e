"""The soak test for ten seconds. In full it takes half an hour: ``python -m tests.crash.soak``."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest

from tests.support.observer import is_whole, self_evident
from tests.support.root import ROOT
from tests.support.servers import debian_servers, ssh_servers


@pytest.mark.full
def test_soak_of_ten_seconds_passes() -> None:
    """All connections are reset every two seconds. The limits are wide, because the time is short for a trend."""
    debian_servers.require("proftpd")
    ssh_servers.require(ssh_servers.OPENSSH)
    command = [sys.executable, "-W", "error", "-m", "tests.crash.soak", "--minutes", "0.15", "--reconnect", "2"]
    done = subprocess.run(
        [*command, "--growth", "50", "--descriptors", "50", "--files", "150"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("passed\n")
    counts = re.findall(r"^(proftpd|openssh): .*cut (\d+) times, (\d+) reconnects", done.stdout, re.MULTILINE)
    assert {name for name, cuts, _ in counts if int(cuts)} == {"proftpd", "openssh"}
    assert any(int(reconnects) for _, _, reconnects in counts), "a pass that is about to end need not reconnect"


def test_self_evident_content_is_recognized_only_when_whole() -> None:
    rng = random.Random("whole")
    for size in (0, 1, 100, 5_000):
        content = self_evident("a/b c", size, rng)
        assert is_whole("a/b c", content)
        assert not is_whole("a/b", content)
        assert not any(is_whole("a/b c", content[:cut]) for cut in range(len(content)))
        assert not is_whole("a/b c", content + b"x")
    assert is_whole("x", self_evident("x", 5_000, rng)) and not is_whole("x", self_evident("x", 5_000, rng)[:-1] + b"?")
