"""What the sweeps of kills share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.system import seccomp
from tests.support.system.forks import Forks


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Processes that start fast and can be killed at a system call. In CI they must be possible."""
    if (reason := seccomp.why_not()) is not None:
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    with Forks() as forks:
        yield forks
