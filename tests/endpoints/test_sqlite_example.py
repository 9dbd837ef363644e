"""The example of an endpoint does what docs/endpoints.md says, and is what it shows."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.endpoints.plugins import Location, Unusable
from actorsync.endpoints.simple import SimpleSession
from actorsync.errors import GuardRefused
from actorsync.testing import CHECKS, check_endpoint
from examples.sqlite_endpoint import TABLE, SqliteEndpoint, open_endpoint
from tests.support.plugged import install
from tests.support.root import ROOT

EXAMPLE = ROOT / "examples" / "sqlite_endpoint.py"


#: SQLite waits for the disk at the end of each transaction: use a directory in memory if there is one.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.mark.parametrize("check", CHECKS)
async def test_sqlite_endpoint_passes_the_suite(check: str) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        file = Path(folder, "site.db")
        with contextlib.closing(sqlite3.connect(file)) as db:
            db.execute(TABLE)
        await check_endpoint(lambda: SqliteEndpoint(file), only=check)


def test_sqlite_endpoint_works_as_target_and_source_of_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    install(tmp_path / "site", monkeypatch, EXAMPLE.read_text(), {"sqlite": "open_endpoint"}, "sqlite_endpoint")
    (tmp_path / "public" / "d").mkdir(parents=True)
    (tmp_path / "public" / "d" / "a.html").write_text("hello")
    (tmp_path / "push.toml").write_text(
        f'[source]\npath = "public"\n[target]\nurl = "sqlite://{tmp_path}/site.db"\n[sync]\ndelete = true\n'
    )
    (tmp_path / "pull.toml").write_text(
        f'[source]\nurl = "sqlite://{tmp_path}/site.db"\n[target]\nurl = "mirror"\n[sync]\ndelete = true\n'
    )
    for content in ("hello", "changed"):
        (tmp_path / "public" / "d" / "a.html").write_text(content)
        for profile in ("push.toml", "pull.toml"):
            assert run_command(["run", "--quiet", str(tmp_path / profile)]) == 0
        assert (tmp_path / "mirror" / "d" / "a.html").read_text() == content
    assert run_command(["plan", "--exit-code", str(tmp_path / "push.toml")]) == 0
    (tmp_path / "site.db").unlink()
    assert run_command(["run", str(tmp_path / "pull.toml")]) == 4
    assert f"sqlite://{tmp_path}/site.db is not there" in capsys.readouterr().err
    assert (tmp_path / "mirror" / "d" / "a.html").exists()


async def test_file_that_a_connection_has_made_is_no_empty_tree(tmp_path: Path) -> None:
    endpoint = SqliteEndpoint(tmp_path / "site.db")
    async with endpoint.open_session():
        pass
    with pytest.raises(GuardRefused, match=r"site\.db is not there"):
        await endpoint.identify()


def test_url_without_a_file_is_unusable() -> None:
    for location in (Location(scheme="sqlite", host="host", path="a"), Location(scheme="sqlite")):
        with pytest.raises(Unusable, match=r"names no file; write sqlite:///srv/site\.db"):
            open_endpoint(location)


def test_example_has_under_100_lines_and_is_in_the_docs() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 100
    assert f"```python\n{EXAMPLE.read_text()}```" in (ROOT / "docs" / "endpoints.md").read_text()


def test_simple_session_without_its_functions_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        SimpleSession()  # type: ignore[abstract]
