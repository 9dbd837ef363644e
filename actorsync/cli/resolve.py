"""The command ``resolve``: what becomes of paths that both sides of a two-way mirror have changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from actorsync.cli.options import json_option, load, print_lines, profile_argument, set_option, show_of
from actorsync.cli.process.imports import importing

if TYPE_CHECKING:
    from actorsync.model.entry import Entry
    from actorsync.model.pair import Conflict, Take

__all__ = ["WAY_OUT", "conflict_record", "conflicts_table", "resolve"]

#: How many conflicts a table names.
_MOST: Final = 20
#: How a user decides about them.
WAY_OUT: Final = "decide with: actorsync resolve PROFILE PATH --take source|target|both"
_TAKES: Final = ("source", "target", "both")


@click.command()
@profile_argument
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--take", type=click.Choice(_TAKES), help="The side whose version keeps the name; the other one gets a new one."
)
@click.option("--all", "is_all", is_flag=True, help="Decide about all conflicts in the same way.")
@json_option
@set_option
@click.pass_obj
def resolve(
    is_program: bool | None,
    profile: Path,
    paths: tuple[str, ...],
    take: str | None,
    is_all: bool,
    as_json: bool,
    overrides: tuple[str, ...],
) -> int:
    """Decide about conflicts of a two-way profile. Without a PATH, show them.

    A PATH is named as in the output of a run. What is decided is done at once, and nothing else is.
    """
    loaded = load(profile, overrides)
    from actorsync.errors import ProfileError
    from actorsync.journal import read_conflicts, state_directory
    from actorsync.model.text import display
    from actorsync.runs.profile_journal import refuse_moved

    if loaded.sync.mode != "two-way":
        raise ProfileError(f'{loaded.path}: there are no conflicts in a mirror; they need sync.mode = "two-way"')
    if is_all and paths:
        raise click.UsageError("--all is for all conflicts, and a PATH for one; use one of them.")
    refuse_moved(loaded)
    conflicts = {it.path: it for it in read_conflicts(state_directory(), loaded.identity)}
    if not (paths or is_all):
        if take is not None:
            raise click.UsageError("--take needs a PATH, or --all.")
        return _show([*conflicts.values()], as_json=as_json)
    if take is None:
        raise click.UsageError(f"--take is missing: one of {', '.join(_TAKES)}.")
    for path in paths:
        if path not in conflicts:
            raise ProfileError(
                f"{loaded.path}: {display(path)} is in no conflict; see them with actorsync resolve {loaded.path}"
            )
    chosen = [*conflicts] if is_all else paths
    if not chosen:
        print_lines(["there are no conflicts"])
        return 0
    with importing(is_program=bool(is_program)):
        from actorsync.cli import foreground

    options = foreground.Options(show_of(as_json, False, False), is_once=True, ends_afterwards=bool(is_program))
    return foreground.resolve(loaded, dict.fromkeys(chosen, cast("Take", take)), options)


def _show(conflicts: Sequence[Conflict], *, as_json: bool) -> int:
    """Print the conflicts, and how to decide about them. Return the exit code."""
    if as_json:
        import json

        print_lines([json.dumps(conflict_record(it)) for it in conflicts])
    elif not conflicts:
        print_lines(["there are no conflicts"])
    else:
        print_lines([*conflicts_table(conflicts), WAY_OUT])
    return 1 if conflicts else 0


def conflict_record(conflict: Conflict) -> dict[str, Any]:
    """Return a conflict as JSON has it."""

    def side(entry: Entry | None) -> dict[str, Any] | None:
        return None if entry is None else {"kind": entry.kind.value, "size": entry.size, "mtime_ns": entry.mtime_ns}

    return {
        "path": conflict.path,
        "since": conflict.since,
        "reason": conflict.reason,
        "source": side(conflict.source),
        "target": side(conflict.target),
    }


def conflicts_table(conflicts: Sequence[Conflict]) -> Iterator[str]:
    """Yield the lines of a table of conflicts, at most twenty of them; nothing if there are none."""
    from actorsync.cli.output.tables import table_lines
    from actorsync.model.messages import moment, named
    from actorsync.model.text import counted, display

    if not conflicts:
        return
    yield f"{counted(len(conflicts), 'path')} in conflict:"
    rows = [
        (moment(it.since), _version(it.source), _version(it.target), f"{named(it.path)}: {display(it.reason)}")
        for it in conflicts[:_MOST]
    ]
    yield from table_lines(rows, head=("SINCE", "SOURCE", "TARGET", "PATH AND REASON"), numbers=())
    if len(conflicts) > _MOST:
        yield f"... and {len(conflicts) - _MOST} more"


def _version(entry: Entry | None) -> str:
    """Return what a side has, in a few words."""
    from actorsync.model.entry import Kind
    from actorsync.model.messages import moment
    from actorsync.model.text import size_text

    if entry is None:
        return "nothing"
    if entry.kind is Kind.DIRECTORY:
        return "a directory"
    when = "" if entry.mtime_ns is None else f" of {moment(entry.mtime_ns / 1e9)}"
    return f"{size_text(entry.size)}{when}"
