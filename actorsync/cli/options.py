"""What the commands share: their arguments and options, and how a profile is loaded and lines are printed.

As in `actorsync.cli.commands`, what is slow to import is imported where it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from actorsync.cli.output.streams import FREE, Sink, tell
from actorsync.errors import ActorsyncError, FatalError

if TYPE_CHECKING:
    from actorsync.cli.process.log_file import LogFile
    from actorsync.cli.process.showing import Show
    from actorsync.profile import Profile
    from actorsync.service.chosen import Chosen
    from actorsync.testing.servers.faults import ServerFault

__all__ = [
    "CHANGES",
    "DEFAULT",
    "all_option",
    "choose",
    "for_each",
    "json_option",
    "list_faults",
    "load",
    "log_file_option",
    "logging_to",
    "only_option",
    "print_lines",
    "profile_argument",
    "profiles_argument",
    "read_faults",
    "read_fingerprints",
    "read_rate",
    "set_option",
    "show_of",
]

#: The profile that `init` writes, and that the other commands take without an argument.
DEFAULT = Path("actorsync.toml")
#: What the symbols of changes mean.
CHANGES = "+ new, * changed, - removed, ! removed (foreign), > moved, % new mode"

profile_argument = click.argument("profile", type=click.Path(path_type=Path, readable=False), default=DEFAULT)
profiles_argument = click.argument(
    "profiles", metavar="[PROFILE]...", nargs=-1, type=click.Path(path_type=Path, readable=False)
)
all_option = click.option(
    "--all",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Take every profile (*.toml) in this directory.",
)
only_option = click.option(
    "--only", multiple=True, metavar="NAME", help="Take only the target or profile with this name. Repeatable."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write each event to standard output as one line of JSON."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the profile, for example sync.delete=true. Repeatable.",
)
log_file_option = click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Append what -v shows to this file, each line with its time.",
)


def logging_to(path: Path | None) -> AbstractContextManager[LogFile | None]:
    """Return the context manager of `log_to`; one that does nothing without a path."""
    if path is None:
        return nullcontext()
    from actorsync.cli.process.log_file import log_to

    return log_to(path)


def read_rate(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Check a rate as a callback of click, and return it unchanged."""
    from actorsync.profile import parse_rate

    try:
        if value is not None:
            parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def show_of(as_json: bool, verbose: bool, quiet: bool) -> Show:
    """Return what is to be shown; only one of the three options may be given."""
    if as_json + verbose + quiet > 1:
        raise click.UsageError("--json, --verbose and --quiet cannot be combined; use one of them.")
    return "json" if as_json else "verbose" if verbose else "quiet" if quiet else "normal"


def read_fingerprints(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return fingerprints in their normal form, as a callback of click."""
    from actorsync.profile import parse_fingerprint

    try:
        return tuple(parse_fingerprint(value) for value in values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def read_faults(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[ServerFault, ...]:
    """Return the faults that are named, as a callback of click."""
    from actorsync.testing.servers.faults import parse_fault

    faults = []
    for value in values:
        try:
            faults.append(parse_fault(value))
        except ValueError as error:
            raise click.BadParameter(
                f"{value}: {error} (to list all faults: actorsync rehearse --list-faults)"
            ) from None
    return tuple(faults)


def list_faults(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Print all faults and end the command, as a callback of click."""
    if value and not context.resilient_parsing:
        from actorsync.cli.rehearse import faults_lines

        print_lines(faults_lines())
        context.exit()


def load(path: Path, overrides: Sequence[str], only: Sequence[str] = (), *, needs_keys: bool = True) -> Profile:
    """Load a profile, with what ``--set`` gives. It has one target, or ``--only`` names one."""
    from actorsync.profile import load_profile

    return load_profile(path, overrides, needs_keys=needs_keys, only=only)


def choose(paths: Sequence[Path], directory: Path | None, overrides: Sequence[str], only: Sequence[str] = ()) -> Chosen:
    """Load the profiles that are named, or that are in the directory of ``--all``, as far as ``--only`` names them."""
    if directory is not None and paths:
        raise click.UsageError("--all DIRECTORY takes every profile in it; name no other profile.")
    if len(paths) > 1 and (wrong := next((path for path in paths if path.is_dir()), None)) is not None:
        way_out = "--all takes the profiles of a directory; source and target are in the profile"
        raise click.UsageError(f"{wrong} is a directory, not a profile; {way_out}, which actorsync init writes")
    from actorsync.service import chosen

    files = paths or (DEFAULT,) if directory is None else chosen.profiles_in(directory)
    return chosen.choose(files, overrides, only=only)


def for_each(chosen: Chosen, show: Callable[[Profile], int], *, has_headings: bool = True) -> int:
    """Call ``show`` with each profile, under its name if there are several, and return the worst exit code.

    Without headings, what ``show`` prints names the profile.

    An error is one line, and the others are shown all the same. A cancellation ends it.
    """
    if not chosen.is_several:
        return show(chosen.the_one())
    from actorsync.service.exit_codes import CANCELLED, worst

    codes = [refusal.error.exit_code for refusal in chosen.refused]
    for refusal in chosen.refused:
        tell(refusal.text)
    for number, (name, profile) in enumerate(chosen.profiles.items()):
        if has_headings:
            print_lines([*([""] if number else []), f"{name}:"])
        try:
            codes.append(show(profile))
        except ActorsyncError as error:
            tell(f"{name}: {error}")
            codes.append(error.exit_code)
        if codes[-1] >= CANCELLED:
            break
    return worst(codes)


def print_lines(lines: Iterable[str]) -> int:
    """Print lines with everything from outside made harmless, and return the exit code 0.

    A reader that has gone away, as head does, has what it wanted. Raises `FatalError` if the output is lost otherwise.
    """
    from actorsync.model.text import display

    out = Sink(sys.stdout)
    for line in lines:
        out.write(f"{display(line)}\n")
    if out.failure is not None:
        raise FatalError(f"standard output cannot be written: {out.failure}; {FREE}")
    return 0
