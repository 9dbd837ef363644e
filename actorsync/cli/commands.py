"""The command line: the arguments and options of each command.

The modules that carry a command out are imported only when it runs: ``--version``, ``--help`` and an error in the
profile do without trio, which is slow to import.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from actorsync import __version__
from actorsync.cli.ctl import ctl
from actorsync.cli.options import (
    CHANGES,
    DEFAULT,
    all_option,
    choose,
    for_each,
    json_option,
    list_faults,
    load,
    log_file_option,
    logging_to,
    only_option,
    print_lines,
    profile_argument,
    profiles_argument,
    read_faults,
    read_fingerprints,
    set_option,
    show_of,
)
from actorsync.cli.output.streams import FREE, Sink, tell, tell_bug
from actorsync.cli.process.imports import importing
from actorsync.cli.resolve import resolve
from actorsync.cli.run import run
from actorsync.cli.service import service
from actorsync.cli.trash import history, trash
from actorsync.cli.undo import undo
from actorsync.cli.usage import usage_text
from actorsync.errors import ActorsyncError, ProfileError

if TYPE_CHECKING:
    from actorsync.profile import Profile
    from actorsync.testing.servers.faults import ServerFault

__all__ = ["cli", "run_command"]

_EXIT_CODES = """
\b
Exit codes: 0 in sync, 1 some files failed or are in conflict,
2 usage or profile error, 3 stopped early, 4 refused by a safety guard, 5 server unreachable,
6 login rejected or server not trusted, 7 fatal error, 8 locked by another run,
9 changes pending (plan --exit-code) or changes of others on the target,
130/143 cancelled.
"""

#: Errors of a write to a file that is open.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@click.group(epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="actorsync", message="%(prog)s %(version)s")
def cli() -> None:
    """Mirror a directory to a server, a server to a directory, or one server to another."""


for command in (run, undo, history, trash, resolve, ctl, service):
    cli.add_command(command)


@cli.command()
@profiles_argument
@all_option
@only_option
@click.option("--exit-code", "has_exit_code", is_flag=True, help="Exit with code 9 if there are changes.")
@click.option("--save", "save_to", type=click.Path(path_type=Path), help="Save the plan to a file for apply.")
@json_option
@log_file_option
@set_option
@click.pass_obj
def plan(
    is_program: bool | None,
    profiles: tuple[Path, ...],
    directory: Path | None,
    only: tuple[str, ...],
    has_exit_code: bool,
    save_to: Path | None,
    as_json: bool,
    log_file: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Show what a run would change.

    Each line is a change: + new, * changed, - removed, ! removed (foreign), > moved, % new mode.
    """
    with logging_to(log_file) as log:
        with importing(is_program=bool(is_program)):
            chosen = choose(profiles, directory, overrides, only)
            from actorsync.cli import foreground

        options = foreground.PlanOptions(
            as_json, has_exit_code, save_to=save_to, ends_afterwards=bool(is_program), log=log
        )
        return foreground.plan(chosen, options)


@cli.command()
@profiles_argument
@only_option
@click.option("--all", "is_whole", is_flag=True, help="Compare the whole target.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Show differences and failures only.")
@log_file_option
@set_option
@click.pass_obj
def audit(
    is_program: bool | None,
    profiles: tuple[Path, ...],
    only: tuple[str, ...],
    is_whole: bool,
    as_json: bool,
    quiet: bool,
    log_file: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Compare the target with what runs have put there. Changes nothing.

    Without --all, compares the root and audit.listings directories: those that were compared longest ago. If something
    differs, the exit code is 9.
    """
    show = show_of(as_json, False, quiet)
    with logging_to(log_file) as log:
        with importing(is_program=bool(is_program)):
            chosen = choose(profiles, None, overrides, only)
            from actorsync.cli import foreground

        options = foreground.Options(show, ends_afterwards=bool(is_program), log=log)
        return foreground.audit(chosen, options, is_whole=is_whole)


@cli.command()
@click.argument("profile", type=click.Path(path_type=Path))
@click.argument("plan", type=click.Path(path_type=Path))
@only_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help=f"Show each change: {CHANGES}.")
@click.option("-q", "--quiet", is_flag=True, help="Show failures only.")
@log_file_option
@set_option
@click.pass_obj
def apply(
    is_program: bool | None,
    profile: Path,
    plan: Path,
    only: tuple[str, ...],
    as_json: bool,
    verbose: bool,
    quiet: bool,
    log_file: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Apply a plan saved by plan --save: all of it and nothing else.

    If the source or the target has changed since, nothing is changed and the exit code is 4.
    """
    from actorsync.cli import foreground
    from actorsync.runs.saved_plan import Plan, is_saved_plan

    show = show_of(as_json, verbose, quiet)
    if is_saved_plan(profile) and not is_saved_plan(plan):
        raise click.UsageError(
            f"{profile} is a plan, not a profile; write the profile first: actorsync apply {plan} {profile}"
        )
    with logging_to(log_file) as log:
        loaded = load(profile, overrides, only)
        options = foreground.Options(show, ends_afterwards=bool(is_program), log=log)
        return foreground.apply(loaded, Plan.load(plan), options)


@cli.command()
@profiles_argument
@all_option
@only_option
@set_option
def check(profiles: tuple[Path, ...], directory: Path | None, only: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Log in, list both sides and show what the servers support. Changes nothing."""
    chosen = choose(profiles, directory, overrides, only).answered(lambda profile: profile.answered())
    from actorsync.cli.check import check as check_profile
    from actorsync.runs.stop_signals import abortable

    def show(profile: Profile) -> int:
        code, lines = abortable(partial(check_profile, profile))
        return code or print_lines(lines or ())

    return for_each(chosen, show)


@cli.command()
@profile_argument
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    metavar="SHA256:...",
    callback=read_fingerprints,
    help="Store the key without asking if its fingerprint is this one. Repeatable, for jump hosts.",
)
@click.option("--source", "is_source", is_flag=True, help="Use the server of [source] instead of [target].")
@only_option
@set_option
def trust(
    profile: Path,
    fingerprints: tuple[str, ...],
    is_source: bool,
    only: tuple[str, ...],
    overrides: tuple[str, ...],
) -> int:
    """Show the host key of an SFTP server and store it in known_hosts. Does not log in.

    Jump hosts come first, one after the other. A key behind a jump host is seen only after a login at that host.
    """
    loaded = load(profile, overrides, only)
    from actorsync.cli import trust as host_keys
    from actorsync.profile import ask
    from actorsync.runs.open_endpoints import open_endpoints
    from actorsync.runs.stop_signals import abortable

    checks = host_keys.host_key_checks(loaded, profile, is_source=is_source)
    loaded = host_keys.with_way(loaded, is_source=is_source)
    for check in checks:
        endpoint = open_endpoints(loaded)[0 if is_source else 1]  # anew: it has read known_hosts
        assert isinstance(endpoint, host_keys.ShowsHostKey), "host_key_checks accepts only sftp://"
        code, shown = abortable(partial(host_keys.show, endpoint, check, fingerprints))
        if shown is None:
            return code
        print_lines(check.trust(shown, fingerprints, partial(ask, is_hidden=False)))
    return 0


@cli.command()
@click.argument("profile", type=click.Path(path_type=Path), default=DEFAULT)
def init(profile: Path) -> int:
    """Write a starter profile that explains every key. The default file is actorsync.toml."""
    from actorsync.profile.template import TEMPLATE

    try:
        descriptor = os.open(profile, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ProfileError(f"{profile}: already exists and is not overwritten; use another name") from None
    except OSError as error:
        raise ProfileError(f"cannot write {profile}: {error.strerror}; use another path") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
        file.write(TEMPLATE)
    return print_lines([f"wrote {profile}; edit it, then run: actorsync check {profile}"])


@cli.command()
@profiles_argument
@all_option
@only_option
@set_option
def status(
    profiles: tuple[Path, ...], directory: Path | None, only: tuple[str, ...], overrides: tuple[str, ...]
) -> int:
    """Show the last runs and the parked paths. Works during a run."""
    chosen = choose(profiles, directory, overrides, only)
    from actorsync.cli.status import status as status_lines

    return for_each(chosen, lambda profile: print_lines(status_lines(profile)))


@cli.command()
def demo() -> int:
    """Mirror a small tree to an FTP server in this process. Verifies the files on the server after each run."""
    from actorsync.cli.demo import run as run_demo

    return run_demo(lambda line: print_lines([line]))


@cli.command()
@profile_argument
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME@PLACE", callback=read_faults, help="Cause this fault. Repeatable."
)
@click.option(
    "--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=list_faults, help="List all faults."
)
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="Where to create the temporary folder.")
@click.option("--from-nothing", is_flag=True, help="Start with an empty server instead of an old version of the files.")
@click.option("--json", "as_json", is_flag=True, help="Write the result to standard output as one line of JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show the output of each run.")
@only_option
@set_option
@click.pass_obj
def rehearse(
    is_program: bool | None,
    profile: Path,
    faults: tuple[ServerFault, ...],
    into: Path | None,
    from_nothing: bool,
    as_json: bool,
    verbose: bool,
    only: tuple[str, ...],
    overrides: tuple[str, ...],
) -> int:
    """Run against a server in this process, with faults.

    Reports what a visitor of the site would have seen.

    Your own server is not contacted and your journal is not opened. The exit code is 0 if every file was complete at
    every check and the target was in sync at the end, otherwise 1.
    """
    loaded = load(profile, overrides, only, needs_keys=False)
    from actorsync.cli.rehearse import perform
    from actorsync.rehearsal.result import Rehearsal

    rehearsal = Rehearsal(loaded, faults, into, from_nothing)
    return perform(rehearsal, as_json=as_json, is_verbose=verbose, is_program=bool(is_program))


def run_command(arguments: Sequence[str], *, is_program: bool = False) -> int:
    """Run a command and return its exit code.

    Every error becomes one line on standard error; an unexpected exception also has its traceback there.
    ``is_program``: the process ends with the command.
    """
    try:
        code = cli.main(list(arguments), prog_name="actorsync", standalone_mode=False, obj=is_program)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(sys.stderr)
        return error.exit_code
    except click.ClickException as error:
        tell(usage_text(error))
        return error.exit_code
    except ActorsyncError as error:
        tell(str(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        return 0  # the reader of the output has closed the pipe, as head does
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            Sink(sys.stderr).write(
                "\n"
            )  # after the terminal's ^C; click does the same for a KeyboardInterrupt outside a group
            return 130
        tell_bug(group)
        return ActorsyncError.exit_code
    except Exception as bug:  # noqa: BLE001 - the outermost handler
        if isinstance(bug, OSError) and bug.errno in _NO_SPACE and bug.filename is None:
            tell(f"standard output cannot be written: {bug.strerror}; {FREE}")
        else:
            tell_bug(bug)
        return ActorsyncError.exit_code
    return code if isinstance(code, int) else 0
