"""Runs for a program on trio: a block beside which one profile is mirrored, or several."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from actorsync.actors.observers import Observer, require_observers
from actorsync.actors.pipeline import AfterRun, Decide, Hook, Pipeline, Stage
from actorsync.ending import the_cause
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.library.given_profile import Given, given_profile
from actorsync.library.many import NamedObserver, chosen_profiles, with_name
from actorsync.library.sync import Sync
from actorsync.library.syncs import Syncs
from actorsync.profile import Profile
from actorsync.runs.options import Additions
from actorsync.runs.runner import ask_first
from actorsync.service.attending import attended
from actorsync.service.chosen import Chosen
from actorsync.service.jobs import Job, jobs_for
from actorsync.service.running import Ended, mirror, refused
from actorsync.service.targets import together

__all__ = ["open_sync", "open_syncs"]


@asynccontextmanager
async def open_sync(
    profile: Profile | str | os.PathLike[str] | None = None,
    *,
    source: Given | None = None,
    target: Given | None = None,
    overrides: Mapping[str, object] | None = None,
    watch: bool = False,
    repeat: bool = False,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    before_commit: Hook | None = None,
    after_run: AfterRun | None = None,
    decide: Decide | None = None,
    observers: Sequence[Observer] = (),
    **keys: object,
) -> AsyncIterator[Sync]:
    """Mirror beside the block: the run begins with the block, and the block does not end before the run.

    ``profile``, ``overrides``, ``source``, ``target`` and ``keys`` are as in `actorsync.load_profile` and
    `actorsync.make_profile`. ``stages``, ``before_commit``, ``after_run`` and ``decide`` are as in
    `actorsync.actors.pipeline`.
    ``transforms`` make the content of some files, see `Transform`. ``observers`` are called with each event. A plain
    function must not wait; an async function may, see `actorsync.runs.observing`. See also `Sync.events`.

    Without ``watch`` and ``repeat`` the run makes one pass, whatever the profile says. With ``watch`` it then mirrors
    each change of the source, as with ``sync.watch``. With ``repeat`` it goes on as ``sync.watch`` or ``sync.every`` of
    the profile says. A run that goes on is drained at the end of the block.

    An error in the block cancels the run, which removes its temporaries, and is then raised unchanged. So is a
    cancellation from outside. How the run itself ends is in `Sync.report`, even when it failed: a server that could not
    be reached, a guard that refused. At its beginning the block raises `ProfileError`, `JournalLocked`, `FatalError`;
    at its end `StageFailed`.
    """
    loaded = await trio.to_thread.run_sync(given_profile, profile, overrides, source, target, keys)
    (loaded,) = _watched([loaded], is_wanted=watch)
    added = Additions(Pipeline(tuple(stages), before_commit, after_run, decide=decide), transforms, observers)
    chosen = Chosen.of(loaded)
    jobs = await trio.to_thread.run_sync(jobs_for, chosen.profiles, chosen.files, added)
    async with _running(jobs, is_once=not (watch or repeat), raises_refusals=True) as syncs:
        (sync,) = syncs.values()
        yield sync


@asynccontextmanager
async def open_syncs(
    *profiles: Profile | str | os.PathLike[str],
    only: Sequence[str] = (),
    overrides: Mapping[str, object] | None = None,
    watch: bool = False,
    repeat: bool = False,
    stages: Sequence[Stage] = (),
    transforms: Sequence[Transform] = (),
    before_commit: Hook | None = None,
    after_run: AfterRun | None = None,
    observers: Sequence[NamedObserver] = (),
) -> AsyncIterator[Syncs]:
    """Mirror all targets of all profiles at the same time beside the block, as `open_sync` does with one.

    ``profiles``, ``only``, ``overrides`` and ``observers`` are as in `actorsync.run_many`, and so are the names. All
    other arguments are as in `open_sync`.

    The refusal of one mirror, a dead server or a full disk does not end the others: what happened is in
    `Syncs.reports`. At its beginning the block raises `ProfileError` if a profile cannot be used, or if two would share
    a journal. An exception of a stage, a hook or an observer (`StageFailed`), and a bug, is raised when all have ended.
    """
    require_observers(observers)
    added = Additions(Pipeline(tuple(stages), before_commit, after_run), transforms)

    def prepare() -> tuple[Chosen, Sequence[Job]]:
        chosen = chosen_profiles(profiles, only, overrides or {})
        watched = dict(zip(chosen.profiles, _watched(chosen.profiles.values(), is_wanted=watch), strict=True))
        chosen = attrs.evolve(chosen, profiles=watched).answered(ask_first).without_followers()
        return chosen, jobs_for(chosen.profiles, chosen.files, added)

    chosen, jobs = await trio.to_thread.run_sync(prepare, abandon_on_cancel=True)
    for job in jobs:
        for observer in observers:
            job.add_observer(with_name(job.name, observer))
    refusals = [refused(it.name, it.error) for it in chosen.refused]
    async with _running(jobs, refusals, is_once=not (watch or repeat)) as syncs:
        yield syncs


def _watched(profiles: Iterable[Profile], *, is_wanted: bool) -> Sequence[Profile]:
    """Return the profiles with ``sync.watch``, if that is wanted."""
    if not is_wanted:
        return tuple(profiles)
    return [attrs.evolve(it, sync=attrs.evolve(it.sync, watch=True)) for it in profiles]


@asynccontextmanager
async def _running(
    jobs: Sequence[Job], refusals: Sequence[Ended] = (), *, is_once: bool, raises_refusals: bool = False
) -> AsyncIterator[Syncs]:
    """Run all jobs beside the block, which begins when each has begun or ended. ``refusals`` are further reports.

    Raises what the block raises, or else what a stage, a hook or an observer raised, or a bug. With ``raises_refusals``
    also each other error of a job, such as one that keeps it from beginning; that is raised before the block.
    """
    work = mirror(is_once=is_once)
    if len(jobs) > 1:
        work = together(jobs, work, is_once=is_once)
    syncs = Syncs(jobs, refusals, is_once=is_once)
    of_block: BaseException | None = None
    of_run: BaseException | None = None
    async with attended(jobs):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(syncs._run, work)
                await syncs._begun()
                if (refusal := syncs._failure(with_refusals=raises_refusals)) is not None:
                    raise refusal
                try:
                    yield syncs
                except trio.Cancelled:
                    raise
                except BaseException as error:  # noqa: BLE001 - raised again, when the runs are over
                    of_block = error
                    syncs.cancel()
                syncs._leave()
        except BaseExceptionGroup as group:
            of_run = the_cause(group)
    if (failure := of_block or of_run or syncs._failure(with_refusals=raises_refusals)) is not None:
        raise failure
