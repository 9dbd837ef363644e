"""The documentation site is built without a warning, and every page of it can be reached."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import actorsync
from tests.support.root import ROOT

DOCS = ROOT / "docs"


@pytest.mark.full
def test_site_is_built_without_warnings(tmp_path: Path) -> None:
    """A broken link, an unlisted page and an unknown name fail the build.

    This is one test, so that the site is built once, also with several workers.
    """
    trees = str(tmp_path / "trees")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", trees, str(DOCS), str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_pages(site)
    check_independence(site)
    check_names(site)


def check_pages(site: Path) -> None:
    written = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    sources = [path for suffix in ("md", "rst") for path in DOCS.rglob(f"*.{suffix}") if "_build" not in path.parts]
    assert {path.relative_to(DOCS).with_suffix("").as_posix() for path in sources} <= written
    assert "[Unreleased]" in (site / "changelog.html").read_text()


def check_independence(site: Path) -> None:
    """Check that no page loads a script, font or style from another site, which could track readers."""
    for path in site.rglob("*.html"):
        outside = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="((?:https?:)?//[^"]*)"', path.read_text())
        assert outside == [], path.name


def check_names(site: Path) -> None:
    """Check that every public name is on an API page. The page of `actorsync` has all names that it exports."""
    for page in ("actorsync", "endpoints", "errors", "testing", "transforms"):
        text = (site / "api" / f"{page}.html").read_text()
        module = "actorsync" if page == "actorsync" else f"actorsync.{page}"
        for name in getattr(importlib.import_module(module), "__all__", ()):
            is_elsewhere = page != "actorsync" and name in getattr(actorsync, "__all__", ())
            assert f'id="{module}.{name}"' in text or is_elsewhere or name.startswith("__"), f"{module}.{name}"


def test_every_page_is_in_the_contents_and_linked_from_the_readme() -> None:
    """The site has the table of contents; in the repository, readers follow links from the README."""
    listed = {name for names in runpy.run_path(str(DOCS / "conf.py"))["PAGES"].values() for name in names}
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= listed, "name it in PAGES of docs/conf.py"
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text())
        waiting += {(page.parent / link).resolve() for link in links} - seen
    assert set(DOCS.glob("*.md")) <= seen, "link the page from one that is linked from README.md"
