"""A job: one mirror among those of a process, with its options, what a user may change, and its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from actorsync.actors.control import Control
from actorsync.actors.shutdown import Shutdown
from actorsync.observe.board import MirrorState, Pace
from actorsync.policy import RunOptions
from actorsync.profile import Profile

__all__ = ["Job", "job_for"]


@attrs.define(eq=False)
class Job:
    """One mirror: a profile with one target, the options of its run, and its state on the board."""

    name: str
    profile: Profile
    options: RunOptions
    state: MirrorState
    reload: Callable[[], Awaitable[str]] | None = None
    """Reads the profile again, and returns what follows, in one line. Raises `ProfileError` if the profile is invalid.
    None for a run that ends after its pass."""

    @property
    def control(self) -> Control:
        """What a user may change while it runs."""
        return self.options.control

    @property
    def shutdown(self) -> Shutdown:
        """What stops it."""
        return self.options.shutdown


def job_for(profile: Profile, options: RunOptions, name: str = "") -> Job:
    """Return the job of a profile. Its state observes the run. Without a ``name`` it is that of the target or file."""
    name = name or profile.name or profile.path.stem
    state = MirrorState(
        name,
        profile.source.display,
        profile.target.display,
        options.statistics,
        options.control,
        profile.path.stem,
        Pace(profile.sync.every, profile.observe.stale_after),
    )
    return Job(name, profile, attrs.evolve(options, observers=[*options.observers, state.observe]), state)
