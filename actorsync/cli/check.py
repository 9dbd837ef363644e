"""Looking without touching: what the commands ``check`` and ``status`` do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import attrs
import trio

from actorsync.cli.output.messages import parked_table, runs_table, warning_text
from actorsync.endpoints.contract import Endpoint
from actorsync.errors import (
    ConnectionLost,
    FatalError,
    GuardRefused,
    LoginRefused,
    SourceUnreachable,
    TargetUnreachable,
)
from actorsync.journal import journal_path, read_runs, read_troubles, state_directory
from actorsync.model.report import Run
from actorsync.model.text import display
from actorsync.planning.parking import is_parked
from actorsync.profile import Profile
from actorsync.runs.open_endpoints import open_endpoints

__all__ = ["check", "report_on", "status"]


async def check(profile: Profile) -> list[str]:
    """Look at both sides, and give what is there as lines, the verdict last. Changes nothing, and tries once.

    Raises what a run would end with: `GuardRefused` for a source that cannot be used, `LoginRefused`,
    `TargetUnreachable`, `ProfileError`.
    """
    secrets = await trio.to_thread.run_sync(profile.look_up, abandon_on_cancel=True)
    source, target = open_endpoints(profile, secrets)
    if profile.source.is_remote:
        return await report_on(source, target, await _look_at_source(source))
    await source.identify()
    return await report_on(source, target)


async def report_on(source: Endpoint, target: Endpoint, of_source: _Seen | None = None) -> list[str]:
    """Give the lines of `check` for two endpoints."""
    of_source = of_source or _Seen()
    pairs, warnings, verdict = await _look(target)
    pairs = [("source", source.display), *of_source.pairs, ("target", target.display), *pairs]
    width = max(len(label) for label, _ in pairs)
    lines = [f"{label:<{width}}  {text}" for label, text in pairs]
    return [*lines, *(warning_text(warning) for warning in [*of_source.warnings, *warnings]), verdict]


@attrs.frozen
class _Seen:
    """What was seen of a source that is on a server."""

    pairs: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()


async def _look_at_source(source: Endpoint) -> _Seen:
    try:
        async with source.open_session() as session:
            listing = await session.list_directory("")
            pairs = [(f"source {label}", text) for label, text in session.describe()]
            warnings = session.warnings()
    except LoginRefused as refused:
        raise LoginRefused(f"the source {refused}") from None
    except ConnectionLost as error:
        raise SourceUnreachable(f"the source {source.display} cannot be reached: {error}") from error
    if listing.problem is not None:
        reason = display(listing.problem.reason)
        raise GuardRefused(f"cannot use the source {source.display} as a root: {reason}")
    return _Seen(pairs, warnings)


async def _look(target: Endpoint) -> tuple[list[tuple[str, str]], list[str], str]:
    try:
        async with target.open_session() as session:
            listing = await session.list_directory("")
            pairs, warnings = list(session.describe()), list(session.warnings())
    except ConnectionLost as error:
        raise TargetUnreachable(f"{target.display} cannot be reached: {error}") from error
    if listing.problem is None:
        count = len(listing.entries)
        return (
            pairs,
            warnings,
            f"ready: the target can be listed, and has {count} entr{'y' if count == 1 else 'ies'} at its top",
        )
    reason = display(listing.problem.reason)
    if listing.problem.vanished or not _is_there(target):
        return pairs, warnings, f"ready: the target directory is not there yet ({reason}); the first run makes it"
    raise FatalError(f"{target.display} cannot be listed: {reason}")


def _is_there(target: Endpoint) -> bool:
    root = getattr(target, "root", None)
    return root is None or os.path.lexists(root)


def status(profile: Profile, limit: int = 10) -> Iterator[str]:
    """Give the last runs, and what is parked, as the lines of tables. Works while a run is going on, locks nothing."""
    runs = read_runs(state_directory(), profile.identity, limit)
    if not runs:
        yield "no runs yet"
        return
    newest = runs[0].id
    holder = _holder(profile)

    def is_running(run: Run) -> bool:
        return run.id == newest and holder

    yield from runs_table(runs, is_running)
    yield from parked_table([it for it in read_troubles(state_directory(), profile.identity) if is_parked(it)])


def _holder(profile: Profile) -> bool:
    """Tell whether the process that the lock names is alive. To try the lock could keep a run from starting."""
    journal = journal_path(state_directory(), profile.identity)
    try:
        os.kill(int(journal.with_name(f"{journal.name}.lock").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
