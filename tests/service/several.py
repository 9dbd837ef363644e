"""A profile with several local targets, and one pass of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import trio

from actorsync.model.event import Event
from actorsync.model.report import Report
from actorsync.profile import Profile, load_profiles
from actorsync.runs.options import options_for
from actorsync.service.jobs import Job, job_for
from actorsync.service.running import mirror, run_jobs
from tests.runs.profiles import IMPATIENT

__all__ = ["Several", "a_source"]


def a_source(top: Path, version: str = "1") -> Path:
    """Write a small site, or another version of it."""
    source = top / "source"
    (source / "assets").mkdir(parents=True, exist_ok=True)
    for name in ("index.html", "assets/a.css", "assets/b.css"):
        (source / name).write_text(f"{name} version {version}")
    return source


@attrs.define(eq=False)
class Several:
    """The targets of one profile: a URL for each name, or a directory of that name. ``events`` are those of each."""

    top: Path
    targets: Mapping[str, str]
    rest: str = ""
    events: dict[str, list[Event]] = attrs.Factory(dict)

    def profiles(self, only: Sequence[str] = ()) -> Sequence[Profile]:
        """Write the profile, and load it."""
        path = self.top / "site.toml"
        tables = [f'[[target]]\nname = "{name}"\n{keys or self.local(name)}' for name, keys in self.targets.items()]
        path.write_text("\n".join(['[source]\npath = "source"', *tables, self.rest]))
        path.chmod(0o600)
        return load_profiles(path, only=only)

    def local(self, name: str) -> str:
        """Return the keys of a target that is a directory."""
        return f'url = "{self.top / name}"'

    def jobs(self, only: Sequence[str] = ()) -> Sequence[Job]:
        """Return a job for each target, whose events are kept."""
        jobs = []
        for profile in self.profiles(only):
            events: list[Event] = []
            self.events[profile.name] = events
            options = options_for(profile, observers=[events.append])
            policy = attrs.evolve(options.policy, backoff=IMPATIENT)
            jobs.append(job_for(profile, attrs.evolve(options, policy=policy)))
        return jobs

    def run(self, only: Sequence[str] = ()) -> Mapping[str, Report]:
        """Make one pass."""

        async def main() -> Mapping[str, Report]:
            return await one_pass(self.jobs(only))

        return trio.run(main)

    def files(self, name: str) -> dict[str, str]:
        """Return what a visitor of a local target sees."""
        top = self.top / name
        paths = [path for path in top.rglob("*") if path.is_file() and ".tmp" not in path.name]
        return {str(path.relative_to(top)): path.read_text() for path in paths}


async def one_pass(jobs: Sequence[Job]) -> Mapping[str, Report]:
    """Make one pass of each job at the same time, and return the reports by name."""
    return {it.name: it.report for it in await run_jobs(jobs, mirror(is_once=True), is_once=True)}
