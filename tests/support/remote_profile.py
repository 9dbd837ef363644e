"""A profile with a remote target, for tests of logins."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CANARY", "profile_at"]

CANARY = "CANARY-4711"


def profile_at(folder: Path, url: str, *keys: str) -> Path:
    (folder / "source").mkdir(exist_ok=True)
    (folder / "source" / "a.txt").write_text("a")
    path = folder / "shop.toml"
    path.write_text("\n".join(["[source]", 'path = "source"', "[target]", f'url = "{url}"', *keys]))
    path.chmod(0o600)
    return path
