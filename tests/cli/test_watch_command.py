"""The command ``run --watch``, as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    path = tmp_path / "profile.toml"
    path.write_text(f'[source]\npath = "{tmp_path}/source"\n[target]\nurl = "{tmp_path}/target"\n')
    path.chmod(0o600)
    return path


def command(profile: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "actorsync", "run", *options, str(profile)]


def test_a_watched_source_is_mirrored_until_ctrl_c(profile: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        command(profile, "--watch"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None, "it is a pipe"
        lines = [run.stdout.readline() for _ in range(3)]
        (tmp_path / "source" / "b.txt").write_text("b")
        lines.append(run.stdout.readline())
        run.send_signal(signal.SIGINT)
        assert run.stdout.read() == "actorsync: stopped\n"
    assert run.returncode == 0
    assert lines[0] == "watching 1 directory (inotify)\n"
    assert lines[1].startswith("mirroring ")
    assert lines[2].startswith("in sync: 1 copied (1 B)")
    assert lines[3].startswith("1 copied (1 B) in ")
    assert (tmp_path / "target" / "b.txt").read_text() == "b"


def test_once_wins_over_watch(profile: Path, tmp_path: Path) -> None:
    done = subprocess.run(command(profile, "--watch", "--once"), check=True, capture_output=True, text=True, timeout=60)
    assert "watching" not in done.stdout + done.stderr
    assert (tmp_path / "target" / "a.txt").exists()
