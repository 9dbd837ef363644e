"""Several mirrors at the same time for a script: a call that blocks, as `actorsync.run` does."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TypeAlias

from actorsync.actors.observers import Observer, is_async, require_observers
from actorsync.actors.pipeline import AfterRun, Hook, Pipeline, Stage
from actorsync.classes import frozen
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.errors import RunFailed, StageFailed
from actorsync.library.blocking import Stop, require_no_trio, run_stoppable
from actorsync.model.event import Event, FromTarget
from actorsync.model.report import Report
from actorsync.profile import Profile
from actorsync.runs.options import Additions
from actorsync.runs.runner import ask_first
from actorsync.service.chosen import Chosen, choose
from actorsync.service.exit_codes import worst
from actorsync.service.jobs import jobs_for
from actorsync.service.names import name_all, refuse_doubles
from actorsync.service.running import Ended, mirror, refused, run_jobs

__all__ = ["NamedObserver", "Reports", "chosen_profiles", "raised_by", "run_many", "with_name"]

#: Called with each event and the name of its mirror: a plain function that does not wait, or an async function.
NamedObserver: TypeAlias = Callable[[FromTarget], object]


@frozen
class Reports(Mapping[str, Report]):
    """The reports of several mirrors by their names. Why a mirror did not begin is the ``error`` of its report."""

    reports: Mapping[str, Report]

    @property
    def exit_code(self) -> int:
        """The exit code of the command line: that of the worst report."""
        return worst(report.exit_code for report in self.reports.values())

    def raise_for_failures(self) -> None:
        """Raise `RunFailed` with a line that names each mirror that is not in sync, unless all are."""
        reasons = []
        for name, report in self.reports.items():
            try:
                report.raise_for_failures()
            except RunFailed as failure:
                reasons.append(f"{name}: {failure}")
        if reasons:
            raise RunFailed("; ".join(reasons), self.exit_code)

    def __getitem__(self, name: str) -> Report:
        return self.reports[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)


def run_many(
    *profiles: Profile | str | os.PathLike[str],
    only: Sequence[str] = (),
    overrides: Mapping[str, object] | None = None,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    before_commit: Hook | None = None,
    after_run: AfterRun | None = None,
    observers: Sequence[NamedObserver] = (),
    stop: Stop | None = None,
) -> Reports:
    """Mirror all targets of all profiles once, at the same time, and return the reports by name when all have ended.

    Each of ``profiles`` is a file with one or several targets, or a loaded profile. The names are those of the targets;
    with several files, those of the files without ``.toml``, followed by a slash and the name of the target if a file
    has several. ``only`` and the exit code are as on the command line. ``observers`` are called with `FromTarget`. The
    other arguments are as for `actorsync.run`, and so are signals: one stops all of them.

    The refusal of one mirror, a dead server or a full disk does not end the others; the reports say what happened.
    Raises `ProfileError` before anything runs, if a profile cannot be used, or if two would share a journal. An
    exception of a stage, a hook or an observer (`StageFailed`), and a bug, is raised when all have ended.
    """
    require_no_trio()
    require_observers(observers)
    chosen = chosen_profiles(profiles, only, overrides or {}).answered(ask_first).without_followers()
    added = Additions(Pipeline(tuple(stages), before_commit, after_run), transforms)
    jobs = jobs_for(chosen.profiles, chosen.files, added)
    for job in jobs:
        for observer in observers:
            job.add_observer(with_name(job.name, observer))

    async def main() -> Sequence[Ended]:
        return await run_jobs(jobs, mirror(is_once=True), is_once=True)

    ended = run_stoppable(main, [job.shutdown for job in jobs], stop) if jobs else ()
    results = [*(refused(it.name, it.error) for it in chosen.refused), *ended]
    if (failure := raised_by(results)) is not None:
        raise failure
    return Reports({result.name: result.report for result in results})


def raised_by(results: Iterable[Ended]) -> Exception | None:
    """Return what a stage, a hook or an observer of some mirrors raised, or a bug: the first one; None without any."""
    for result in results:
        if result.raised is not None and (result.bug is not None or isinstance(result.raised, StageFailed)):
            return result.raised
    return None


def chosen_profiles(
    profiles: Sequence[Profile | str | os.PathLike[str]], only: Sequence[str], overrides: Mapping[str, object]
) -> Chosen:
    """Load the profiles. Raises the error of the first that cannot be used."""
    files = [Path(profile) for profile in profiles if not isinstance(profile, Profile)]
    loaded = [profile for profile in profiles if isinstance(profile, Profile)]
    if not profiles:
        raise TypeError("give at least one profile")
    if loaded and (overrides or only):
        raise TypeError("overrides= and only= are for profiles in files; a loaded profile is complete")
    of_files = choose(files, values=overrides, only=only) if files else Chosen({})
    for refusal in of_files.refused:
        raise refusal.error
    named = name_all([*of_files.profiles.values(), *loaded])
    refuse_doubles(named)
    return Chosen(named, files=files)


def with_name(name: str, observer: NamedObserver) -> Observer:
    """Return an observer of one mirror that passes its events on with its name."""
    if not is_async(observer):
        return wraps(observer)(lambda event: observer(FromTarget(name, event)))

    @wraps(observer)
    async def observe(event: Event) -> None:
        answer = observer(FromTarget(name, event))
        if inspect.isawaitable(answer):
            await answer

    return observe
