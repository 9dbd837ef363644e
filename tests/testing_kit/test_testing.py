"""``actorsync.testing`` for its users: the code of docs/testing.md, run in a project of its own and under mypy."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import actorsync.testing
from actorsync.cli.commands import run_command
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer, Visitor, self_signed_certificate
from actorsync.testing.servers.faults import NAMES, PLACES
from actorsync.testing.visitor import Version
from tests.support.root import ROOT

PAGE = (ROOT / "docs/testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = {block.partition("\n")[0].removeprefix("# "): block for block in BLOCKS if re.match(r"# \w+\.py\n", block)}


def python(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full  # the blocks run in `test_docs_blocks.py` as well
def test_code_on_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("\n".join(BLOCKS))
    python("-W", "error", "page.py", cwd=tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A separate project that contains only the files shown on the page."""
    assert set(FILES) == {"conftest.py", "test_deploy.py"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return tmp_path


@pytest.mark.full
def test_project_can_use_the_fixtures(project: Path) -> None:
    assert "4 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)


@pytest.mark.full
def test_project_with_the_fixtures_passes_mypy(project: Path) -> None:
    assert "Success" in python("-m", "mypy", "--strict", "--cache-dir", "cache", "test_deploy.py", cwd=project)


def test_package_has_no_plugin_of_pytest() -> None:
    """A plugin would enable the fixtures in every project."""
    plugins = importlib.metadata.entry_points(group="pytest11")
    assert plugins
    assert [plugin.name for plugin in plugins if plugin.value.startswith("actorsync")] == []


@pytest.mark.full
def test_fixtures_are_absent_unless_enabled(project: Path) -> None:
    (project / "conftest.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--fixtures", "-q"], cwd=project, capture_output=True, text=True, check=False
    )
    assert "sftp_server" not in done.stdout


def test_page_lists_every_fault_and_place() -> None:
    table = PAGE.partition("## With faults")[2].partition("In front of a server")[0]
    shown = set(re.findall(r"`([a-z-]+)(?:[@:][^`]*)?`", table))
    assert set(NAMES) | (set(PLACES) - {"1.5s"}) <= shown


def test_exported_names_exist() -> None:
    assert len(set(actorsync.testing.__all__)) == len(actorsync.testing.__all__)
    assert all(hasattr(actorsync.testing, name) for name in actorsync.testing.__all__)


# ---- Profiles


@pytest.mark.parametrize("scheme", ["ftp", "ftpes", "ftps", "sftp"])
def test_profile_of_a_server_is_ready_to_use(scheme: str, tmp_path: Path) -> None:
    source, root = tmp_path / 'a "source"', tmp_path / "root"
    source.mkdir()
    root.mkdir()
    (source / "a").write_text("a")
    server: EmbeddedFtpServer | EmbeddedSftpServer = EmbeddedSftpServer(root)
    if scheme != "sftp":
        certificate = None if scheme == "ftp" else self_signed_certificate(tmp_path / "pem")
        server = EmbeddedFtpServer(root, certificate=certificate, is_implicit=scheme == "ftps")
    with server:
        profile = server.write_profile(tmp_path / "p.toml", source, "a folder", "[sync]\nconnections = 1")
        assert run_command(["run", str(profile), "--quiet"]) == 0
    assert (root / "a folder/a").read_text() == "a"


# ---- The visitor


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An old version, a new one, and the site, which holds the old one."""
    for name in ("old", "new", "site"):
        (tmp_path / name / "d").mkdir(parents=True)
    for name in ("old", "site"):
        (tmp_path / name / "a").write_text("old")
        (tmp_path / name / "d/b").write_text("old")
    (tmp_path / "new/a").write_text("new")
    (tmp_path / "new/d/b").write_text("new")
    (tmp_path / "new/c").write_text("new")
    return tmp_path / "old", tmp_path / "new", tmp_path / "site"


def test_visitor_sees_one_version_after_the_other(trees: tuple[Path, Path, Path]) -> None:
    old, new, site = trees
    visitor = Visitor(site, [old, new])
    visitor.look()
    assert (visitor.seen().complete, visitor.seen().showing, visitor.seen().mixed_seconds) == ((True, False), (2, 0), 0)
    (site / ".actorsync-ab12.tmp").write_text("half")
    for name in ("a", "c", "d/b"):
        (site / name).write_text("new")
        visitor.look()
    (site / ".actorsync-ab12.tmp").unlink()
    visitor.look()
    seen = visitor.seen()
    assert (seen.complete, seen.showing, seen.is_whole, seen.looks) == ((False, True), (0, 3), True, 5)
    assert (seen.temporaries, seen.left, seen.strangers) == (1, (), ())
    assert seen.mixed_seconds > 0


@pytest.mark.parametrize("content", ["", "ne", "newer", "nld", "\0\0\0"])
def test_visitor_reports_content_of_no_version_as_broken(content: str, trees: tuple[Path, Path, Path]) -> None:
    old, new, site = trees
    visitor = Visitor(site, [old, new])
    (site / "d/b").write_text(content)
    visitor.look()
    visitor.look()
    assert [(one.path, one.size, one.look) for one in visitor.seen().broken] == [("d/b", len(content), 1)]
    (site / "d/b").write_text("new")
    visitor.look()
    assert not visitor.seen().is_whole, "a later whole file does not undo the report"


def test_visitor_reports_removed_files_as_missing(trees: tuple[Path, Path, Path]) -> None:
    old, new, site = trees
    (old / "gone").write_text("old")
    (site / "gone").write_text("old")
    (site / "stranger").write_text("in no version")
    visitor = Visitor(site, [old, new])
    visitor.look()
    (site / "a").unlink()
    (site / "gone").unlink()  # not in the new version
    visitor.look()
    assert (visitor.seen().missing, visitor.seen().broken, visitor.seen().strangers) == (("a",), (), ("stranger",))


def test_visitor_does_not_judge_files_changed_in_a_version(trees: tuple[Path, Path, Path]) -> None:
    old, new, site = trees
    visitor = Visitor(site, [old, new])
    (site / "a").write_text("new, then changed on the site")
    (new / "a").write_text("changed in the version")
    for tree in (new, site):
        (tree / "came").write_text("later")
        (tree / "d/b").write_text("new")
        (tree / "c").write_text("new")
    visitor.look()
    for tree in (new, site):
        (tree / "c").unlink()
    visitor.look()
    seen = visitor.seen()
    assert (set(seen.changed), seen.broken, seen.missing, seen.strangers) == ({"a", "c", "came"}, (), (), ())
    assert seen.complete == (False, True)


def test_visitor_finds_a_broken_file_while_watching(trees: tuple[Path, Path, Path]) -> None:
    old, new, site = trees
    visitor = Visitor(site, [old, new])
    with visitor.watching(pause=0):
        while visitor.looks < 2:
            pass
        (site / "a").write_text("half")
        looks = visitor.looks
        while visitor.looks < looks + 2:
            pass
        (site / "a").write_text("new")
    assert {one.path for one in visitor.seen().broken} == {"a"}


def test_version_contains_only_selected_files(trees: tuple[Path, Path, Path]) -> None:
    _, new, _ = trees
    (new / "link").symlink_to("a")
    (new / "d/loop").symlink_to("..")
    assert sorted(Version.of(new).files) == ["a", "c", "d/b"]
    assert sorted(Version.of(new, follows_links=True).files) == ["a", "c", "d/b", "link"]
    assert sorted(Version.of(new, selects=lambda path, _: not path.startswith("d")).files) == ["a", "c"]
    assert Version.of(new).size == 9
    with pytest.raises(NotADirectoryError):
        Version.of(new / "a")
