"""Profiles to run, and the results of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from actorsync.actors.backoff import Backoff
from actorsync.actors.shutdown import Shutdown
from actorsync.journal import (
    read_runs,
    state_directory,
)
from actorsync.model.event import Event
from actorsync.model.operation import Copy, Done
from actorsync.model.report import Report
from actorsync.profile import Profile, load_profile

CANARY = "CANARY-4711"
IMPATIENT = Backoff(initial=0.01, tries=3)


def make_profile(source: Path, url: str, *overrides: str, password: str = "demo") -> Profile:
    path = source.parent / "profile.toml"
    secret = f'password = "{password}"' if url.startswith("ftp:") else ""
    path.write_text(f'[source]\npath = "{source}"\n[target]\nurl = "{url}"\n{secret}\n')
    path.chmod(0o600)
    return load_profile(path, overrides)


def tree(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def runs(profile: Profile) -> list[Report | None]:
    return [run.report for run in read_runs(state_directory(), profile.identity, 10)]


async def drain_after(shutdown: Shutdown, seconds: float) -> None:
    await trio.sleep(seconds)
    shutdown.drain()


def replaced(events: Sequence[Event]) -> set[str]:
    copies = [event.operation for event in events if isinstance(event, Done) and isinstance(event.operation, Copy)]
    return {copy.path for copy in copies if copy.replaces}
