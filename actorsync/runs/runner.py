"""From a profile to a run: mirror once, make a plan, apply a plan.

For a program as for the command line. Each function takes the `RunOptions` of the run; `options_for` fills them in from
the profile. How a run ends is in its `Report`. An error is raised only if it keeps the run from beginning
(`JournalLocked`, `ProfileError` of a secret, `FatalError` of the journal), or if it is a bug.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs
import trio

from actorsync.endpoints.contract import keeping_logins
from actorsync.errors import ConnectionLost, JournalUnusable, ProfileError, TargetUnreachable
from actorsync.journal import Journal
from actorsync.model.entry import parent_of
from actorsync.model.event import Stopped
from actorsync.model.pair import Take
from actorsync.model.report import Report
from actorsync.planning.drift import EVERYTHING, AuditRule
from actorsync.policy import RunOptions
from actorsync.profile import BothSecrets, Profile
from actorsync.runs.mirror import Mirror, Places
from actorsync.runs.mirror_only import APPLY, AUDIT, require_mirror
from actorsync.runs.observing import observing
from actorsync.runs.open_endpoints import open_endpoints, require_source
from actorsync.runs.options import options_for
from actorsync.runs.profile_journal import copy_journal_of, is_target_known, lock_journal_of

if TYPE_CHECKING:
    from actorsync.runs.saved_plan import Plan

__all__ = ["apply_once", "ask_first", "audit_once", "make_plan", "resolve_once", "run_once"]

#: How often a plan tries to connect before it gives up: for about a second.
PLAN_TRIES: Final = 3


def ask_first(profile: Profile, *, is_plan: bool = False, is_rebuilding: bool = False) -> Profile:
    """Prompt on the terminal for the secrets that must be typed, and return the profile with the answers in it.

    Blocks. Call it in the main thread before trio runs there: Ctrl-C raises ``KeyboardInterrupt``, and no other output
    is drawn on the terminal. There is no prompt for a run that another run locks out (`JournalLocked`), nor for a plan
    that need not connect.
    """
    asks_for_target = profile.target.is_asking and not (is_plan and is_target_known(profile))
    if not (asks_for_target or profile.source.is_asking):
        return profile
    if not is_plan:
        try:
            with lock_journal_of(profile):
                pass
        except JournalUnusable:
            if not is_rebuilding:
                raise
    return profile.answered(only_source=not asks_for_target)


async def run_once(profile: Profile, options: RunOptions | None = None, *, is_rebuilding: bool = False) -> Report:
    """Mirror once, and return the report. The journal is locked meanwhile.

    ``is_rebuilding`` moves an unusable journal aside and starts a new one: the target is then surveyed, and the files
    on it are adopted or replaced, but not removed.
    """
    await trio.to_thread.run_sync(require_source, profile, abandon_on_cancel=True)
    async with observing(options or options_for(profile)) as observed:
        mirror = Mirror(profile, observed, is_rebuilding)
        async with mirror.ready() as (journal, secrets):
            return mirror.unbegun() if mirror.is_stopped else await mirror.one_pass(journal, secrets)


async def audit_once(profile: Profile, options: RunOptions | None = None, *, is_whole: bool = False) -> Report:
    """Compare a part of the target with the journal, or all of it, and return the report. Nothing is changed.

    The part is the root and ``audit.listings`` directories, those that were listed longest ago. What differs is
    recorded, so that a run with ``audit.repair = "fix"`` restores it. Raises `ProfileError` if no run has made the
    target known.
    """
    require_mirror(profile, AUDIT)
    await trio.to_thread.run_sync(require_source, profile, abandon_on_cancel=True)
    listings = EVERYTHING if is_whole else profile.audit.listings or AuditRule().listings
    async with observing(options or options_for(profile)) as observed:
        policy = attrs.evolve(observed.policy, audit=AuditRule(listings, is_alone=True))
        mirror = Mirror(profile, attrs.evolve(observed, policy=policy))
        async with mirror.ready() as (journal, secrets):
            if journal.is_fresh:
                raise ProfileError(
                    f"{profile.path}: nothing to compare: no run has mirrored this profile; use actorsync run"
                )
            return mirror.unbegun() if mirror.is_stopped else await mirror.one_pass(journal, secrets)


async def resolve_once(profile: Profile, takes: Mapping[str, Take], options: RunOptions | None = None) -> Report:
    """Decide about conflicts of a two-way profile, by path, and return the report.

    Only the directories of these paths are looked at. The choices are for this time: a path that is changed on both
    sides later is another conflict.
    """
    await trio.to_thread.run_sync(require_source, profile, abandon_on_cancel=True)
    async with observing(options or options_for(profile)) as observed:
        within = frozenset(map(parent_of, takes))
        mirror = Mirror(profile, attrs.evolve(observed, takes=takes, within=within))
        async with mirror.ready() as (journal, secrets):
            return mirror.unbegun() if mirror.is_stopped else await mirror.one_pass(journal, secrets)


async def make_plan(profile: Profile, options: RunOptions | None = None) -> Plan:
    """Go through a run that changes neither the target nor the journal, and return what it would do.

    Takes no lock: it reads the journal as it is at one moment, even during a run. A target on a server is connected to
    only if the journal does not know it. The plan of a run that was stopped is incomplete, as its report says.
    """
    await trio.to_thread.run_sync(require_source, profile, abandon_on_cancel=True)
    async with observing(_impatient(options or options_for(profile)), is_logged=False) as observed:
        mirror = Mirror(profile, observed)
        with contextlib.closing(await trio.to_thread.run_sync(copy_journal_of, profile)) as journal:
            await mirror.warn_of_doubts()
            needs_target = profile.sync.mode == "two-way" or journal.is_fresh
            secrets = await mirror.secrets(only_source=not needs_target)
            return await mirror.plan(journal, secrets)


def _impatient(options: RunOptions) -> RunOptions:
    """Return the options with few attempts to connect: somebody waits for a plan, and nothing is lost without it."""
    policy = options.policy
    backoff = attrs.evolve(policy.backoff, tries=min(policy.backoff.tries, PLAN_TRIES))
    return attrs.evolve(options, policy=attrs.evolve(policy, backoff=backoff))


async def apply_once(profile: Profile, plan: Plan, options: RunOptions | None = None) -> Report:
    """Do all that ``plan`` says and nothing else, and return the report. The journal is locked meanwhile.

    Raises `PlanOutdated`, before anything is changed, if either side has changed since the plan was made: a new plan
    is made and compared, and the target directories that it concerns are listed. The policy and the pipeline must be
    those that the plan was made with.
    """
    require_mirror(profile, APPLY)
    await trio.to_thread.run_sync(require_source, profile, abandon_on_cancel=True)
    async with observing(options or options_for(profile)) as observed:
        mirror = Mirror(profile, observed)
        async with mirror.ready() as (journal, secrets):
            if mirror.is_stopped:
                return mirror.unbegun()
            has_codes = any(place.ways.codes is not None for place in (profile.source, profile.target))
            places = open_endpoints(profile, secrets) if has_codes else None  # then one login serves it all
            async with keeping_logins(*(places or ())):
                return await _applied(mirror, plan, journal, secrets, places)


async def _applied(
    mirror: Mirror, plan: Plan, journal: Journal, secrets: BothSecrets | None, places: Places | None
) -> Report:
    from actorsync.runs.saved_plan import check_target, only

    silent = attrs.evolve(mirror, options=attrs.evolve(mirror.options, observers=(), listeners=()))
    now = await silent.plan(journal.copy_to_memory(), secrets, places)
    if mirror.is_stopped:
        return mirror.unbegun()
    if now.report.error is not None:
        mirror.publish(Stopped(now.report))
        return now.report
    plan.check(now)
    _, target = places or open_endpoints(mirror.profile, secrets)
    try:
        async with target.open_session() as session:
            await check_target(plan, session)
    except ConnectionLost as error:
        raise TargetUnreachable(f"{target.display} could not be reached: {error}") from None
    pipeline = mirror.options.pipeline
    planned = attrs.evolve(pipeline, stages=(*pipeline.stages, only(plan)))
    # `check_target` has listed what the plan changes.
    policy = attrs.evolve(mirror.options.policy, audit=None)
    options = attrs.evolve(mirror.options, policy=policy, pipeline=planned)
    return await attrs.evolve(mirror, options=options).one_pass(journal, secrets, places)
