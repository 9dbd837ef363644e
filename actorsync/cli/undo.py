"""The command ``undo``: what a run has changed on the target is taken back, after a look at the plan."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from actorsync.cli.options import DEFAULT, load, only_option, print_lines, set_option
from actorsync.errors import ProfileError

if TYPE_CHECKING:
    from actorsync.model.report import Report
    from actorsync.runs.undo import Undoing

__all__ = ["undo", "words_of"]

#: How many steps, or refused paths, are shown.
_SHOWN: Final = 200


def words_of(words: Sequence[str]) -> tuple[Path, int | None, tuple[str, ...]]:
    """Return the profile, the run and the paths of a command line: a number is a run, and what is before it a profile.

    A path may be written with a trailing slash, or with ``./`` at its beginning where it looks like a number.
    """
    rest = list(words)
    profile = Path(rest.pop(0)) if rest and not rest[0].isdecimal() else DEFAULT
    run = int(rest.pop(0)) if rest and rest[0].isdecimal() else None
    paths = tuple("" if path == "." else path for path in map(posixpath.normpath, rest))
    if wrong := next((path for path in paths if path.startswith(("/", "../")) or path == ".."), None):
        raise click.UsageError(f"{wrong} is not a path on the target; write it relative to the target")
    return profile, run, paths


@click.command()
@click.argument("words", nargs=-1, metavar="[PROFILE] [RUN] [PATH]...")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@click.option("--partial", "is_partial", is_flag=True, help="Leave out paths that are not as the run left them.")
@only_option
@set_option
def undo(words: tuple[str, ...], yes: bool, is_partial: bool, only: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Take back what a run has changed on the target: the last one, or RUN, or only PATHs of it.

    Needs a trash in the profile. Shows the plan first, and asks. If a path is not as the run left it, nothing is
    changed and the exit code is 4. The next run leaves what was undone as it is, until the source changes. What an undo
    has changed can be undone like any other run.
    """
    profile, run, paths = words_of(words)
    loaded = load(profile, overrides, only)
    from actorsync.runs.mirror_only import UNDO, require_mirror

    require_mirror(loaded, UNDO)
    loaded = loaded.answered()
    from actorsync.runs.stop_signals import abortable
    from actorsync.runs.undo import apply_undo, plan_undo

    code, shown = abortable(partial(plan_undo, loaded, run, paths))
    if shown is None:
        return code
    print_lines(plan_lines(shown, is_partial=is_partial))
    if shown.plan.steps and (is_partial or not shown.plan.refused) and not (yes or _is_wanted()):
        print_lines(["nothing was undone"])
        return 3
    code, report = abortable(partial(apply_undo, loaded, shown, paths, is_partial=is_partial))
    if report is None:
        return code
    print_lines(result_lines(shown, report))
    return report.exit_code


def _is_wanted() -> bool:
    """Ask on the terminal. Raises `ProfileError` where there is none."""
    from actorsync.profile import ask

    try:
        return ask("undo this? [y/N] ", is_hidden=False).strip().lower() in {"y", "yes"}
    except OSError:
        raise ProfileError("nothing was undone: there is no terminal to ask on; add --yes") from None


def plan_lines(undoing: Undoing, *, is_partial: bool) -> Iterator[str]:
    """Yield the plan of an undo as lines: what is done with each path, and what cannot be done."""
    from actorsync.model.messages import moment, named
    from actorsync.model.text import counted

    run, plan = undoing.run, undoing.plan
    yield f"run {run.run} of {moment(run.at)}: {counted(len(plan.steps), 'change')} to take back"
    for step in plan.steps[:_SHOWN]:
        item = step.trashed
        to = f" (its name was {named(item.place or '')})" if item.because == "moved" else ""
        yield f"  {step.act.value}: {named(item.path)}{to}"
    if len(plan.steps) > _SHOWN:
        yield f"  ... and {len(plan.steps) - _SHOWN} more"
    if plan.refused:
        left = "left out" if is_partial else "in the way"
        yield f"{counted(len(plan.refused), 'path')} {left}:"
        yield from (f"  {named(path)}: {why}" for path, why in plan.refused[:_SHOWN])
        if len(plan.refused) > _SHOWN:
            yield f"  ... and {len(plan.refused) - _SHOWN} more"


def result_lines(undoing: Undoing, report: Report) -> Iterator[str]:
    """Yield what an undo has done as lines."""
    from actorsync.model.messages import held_text, named
    from actorsync.model.text import counted, display

    yield from (f"failed: {named(path)}: {display(reason)}" for path, reason in report.failures)
    failed = f", {report.failed} failed; run the same command again" if report.failed else ""
    yield f"run {undoing.run.run} undone: {counted(report.moved, 'change')} taken back{failed}"
    if report.held:
        yield held_text(report.held)
