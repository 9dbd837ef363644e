"""The options of a run, filled in from its profile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from actorsync.actors.feed import Feed
from actorsync.actors.observers import Observer, require_observers
from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.classes import frozen
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.planning.drift import AuditRule
from actorsync.planning.pairs.rules import PairRule
from actorsync.planning.publishing.ranks import NONE
from actorsync.planning.publishing.rules import PublishRule, ResumeRule, TrashRule
from actorsync.policy import Allowed, Policy, RunOptions
from actorsync.profile import Profile
from actorsync.runs.hooks.programs import with_programs
from actorsync.runs.private_paths import private_paths, protected_paths

__all__ = ["Additions", "options_for", "policy_of"]


def policy_of(profile: Profile, transforms: Sequence[Transform] = (), private: Iterable[Path] = ()) -> Policy:
    """Return what a run of the profile may do. ``transforms`` are the caller's, and so are ``private`` files.

    Private files are never sent, and an exact mirror never removes them.
    """
    sync, private = profile.sync, tuple(private)
    return Policy(
        selection=attrs.evolve(
            sync.selection(),
            private=_private_paths(profile, private),
            keeps_git_back=_keeps_git_back(profile),
        ),
        max_delete=sync.max_delete,
        delete=sync.delete,
        allowed=Allowed(any_device=sync.any_device, no_links=sync.no_links),
        by_content=sync.compare == "checksum",
        by_size_time=sync.compare == "size-time",
        modes=sync.modes,
        connections=sync.most_connections,
        is_automatic=sync.is_automatic,
        links=sync.links,
        bandwidth=Bandwidth(sync.bwlimit),  # also without a limit: one may be set while the run goes on
        transforms=tuple(transforms),
        audit=_audit_rule(profile),
        publish=_publish_rule(profile),
        pair=_pair_rule(profile),
        protected=protected_paths(profile, private),
    )


def _private_paths(profile: Profile, more: Iterable[Path]) -> frozenset[str]:
    """Return what is never sent, as paths below the root. In two-way, either side may be the one that is read."""
    found = private_paths(profile, more)
    return found | protected_paths(profile, more) if profile.sync.mode == "two-way" else found


def _keeps_git_back(profile: Profile) -> bool:
    """Return whether a ``.git`` would leave this machine. In two-way, either side may be the one that is sent."""
    source, target = profile.source.is_remote, profile.target.is_remote
    return source != target if profile.sync.mode == "two-way" else target and not source


def _pair_rule(profile: Profile) -> PairRule | None:
    sync = profile.sync
    if sync.mode != "two-way":
        return None
    return PairRule(sync.conflict, sync.conflict_copies, has_trash=profile.trash.path is not None)


def _audit_rule(profile: Profile) -> AuditRule | None:
    table = profile.audit
    return AuditRule(table.listings, mends=table.repair == "fix") if table.listings else None


def _publish_rule(profile: Profile) -> PublishRule:
    publish, sync, trash = profile.publish, profile.sync, profile.trash
    return PublishRule(
        ranks=NONE if sync.mode == "two-way" else publish.order,
        is_burst=publish.mode == "burst",
        remove_after=publish.remove_after,
        keeps_old=publish.keep_old,
        maintenance=None if publish.maintenance is None else publish.maintenance.put,
        resume=ResumeRule(sync.resume, sync.resume_keep),
        trash=None if trash.path is None else TrashRule(trash.path, trash.keep, trash.max_size, profile.identity[:8]),
    )


def options_for(
    profile: Profile,
    *,
    policy: Policy | None = None,
    shutdown: Shutdown | None = None,
    observers: Sequence[Observer] = (),
    statistics: Statistics | None = None,
    pipeline: Pipeline | None = None,
    feed: Feed | None = None,
) -> RunOptions:
    """Return the options of a run of the profile. An argument that is given replaces what the profile says."""
    options = RunOptions(
        policy=policy or policy_of(profile),
        shutdown=shutdown or Shutdown(profile.shutdown.drain, profile.shutdown.cancel),
        observers=observers,
        pipeline=with_programs(pipeline or Pipeline(), profile),
        feed=feed,
    )
    return options if statistics is None else attrs.evolve(options, statistics=statistics)


@frozen(eq=False)
class Additions:
    """What a program adds to a run: known before its profile is loaded."""

    pipeline: Pipeline = attrs.Factory(Pipeline)
    transforms: Sequence[Transform] = ()
    observers: Sequence[Observer] = ()

    def __attrs_post_init__(self) -> None:
        require_observers(self.observers)

    def options(self, profile: Profile, shutdown: Shutdown, private: Iterable[Path] = ()) -> RunOptions:
        """Return the options of a run of the profile, with these additions. ``private`` files are never sent."""
        policy = policy_of(profile, self.transforms, private)
        return options_for(profile, policy=policy, shutdown=shutdown, pipeline=self.pipeline, observers=self.observers)
