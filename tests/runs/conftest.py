"""A small source, and a profile that mirrors it to a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorsync.profile import Profile
from tests.runs.profiles import make_profile


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("bb")
    return source


@pytest.fixture
def profile(source: Path, tmp_path: Path) -> Profile:
    return make_profile(source, str(tmp_path / "target"))
