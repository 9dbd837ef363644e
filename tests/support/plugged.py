"""Install a package as pip does: a module and metadata with entry points, in a directory of ``sys.path``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

__all__ = ["install"]


def install(
    site: Path, monkeypatch: pytest.MonkeyPatch, code: str, schemes: Mapping[str, str], package: str = "foo_sync"
) -> None:
    """Install a package of one module, ``code``. ``schemes`` maps each scheme of a URL to a name in that module."""
    site.mkdir(exist_ok=True)
    (site / f"{package}.py").write_text(textwrap.dedent(code))
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{scheme} = {package}:{name}" for scheme, name in schemes.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[actorsync.endpoints]", *lines, ""]))
    if str(site) not in sys.path:
        monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, package, raising=False)
