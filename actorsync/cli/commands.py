"""The command line: what each command takes. What it does is elsewhere, and imported only when it is asked for.

``--version``, ``--help`` and a mistake in the profile are answered without trio.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from actorsync import __version__
from actorsync.cli.output.streams import Sink, tell, tell_bug
from actorsync.errors import ActorsyncError, ProfileError

if TYPE_CHECKING:
    from actorsync.cli.foreground import Show
    from actorsync.profile import Profile
    from actorsync.testing.servers.faults import ServerFault

__all__ = ["cli", "run_command"]

_EXIT_CODES = """
\b
Exit codes: 0 in sync, 1 some items failed, 2 usage or profile, 3 stopped early,
4 a guard refused, 5 server unreachable, 6 login refused or server not trusted,
7 fatal, 8 locked by another run, 9 changes pending (plan --exit-code),
130/143 forced to stop.
"""

_profile = click.argument("profile", type=click.Path(path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Write each event as a line of JSON to standard output.")
_set = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a key of the profile: sync.delete=true."
)


def _rate(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from actorsync.profile import parse_rate

    try:
        if value is not None:
            parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


@click.group(epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="actorsync", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep a server an exact mirror of a directory, a directory of a server, or a server of another."""


def _show(as_json: bool, verbose: bool, quiet: bool) -> Show:
    if as_json + verbose + quiet > 1:
        raise click.UsageError("--json, --verbose and --quiet exclude each other.")
    return "json" if as_json else "verbose" if verbose else "quiet" if quiet else "normal"


@cli.command()
@_profile
@click.option("--once", is_flag=True, help="Mirror once, whatever sync.every says.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing; as plan does.")
@_json
@click.option("-v", "--verbose", is_flag=True, help="Name each file: + new, * changed, - removed.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but failures.")
@click.option("--bwlimit", metavar="RATE", callback=_rate, help="The most bytes a second: 512K, 2M; off for no limit.")
@_set
@click.option("--rebuild", is_flag=True, help="Move a journal aside that cannot be used, and go on without it.")
@click.option("--stop-on-enter", is_flag=True, help="A line on standard input stops the run, as the first Ctrl-C does.")
@click.pass_obj
def run(
    is_program: bool | None,
    profile: Path,
    once: bool,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    bwlimit: str | None,
    overrides: tuple[str, ...],
    rebuild: bool,
    stop_on_enter: bool,
) -> int:
    """Make the target equal to the source, once or every sync.every.

    Ctrl-C finishes what is in flight and stops; twice stops now; three times leaves at once. Nothing is lost either
    way: the next run goes on from there.
    """
    show = _show(as_json, verbose, quiet)
    if dry_run and rebuild:
        raise click.UsageError("--dry-run changes nothing, and --rebuild does.")
    loaded = _load(profile, overrides if bwlimit is None else (*overrides, f"sync.bwlimit={bwlimit}"))
    from actorsync.cli import foreground

    if dry_run:
        return foreground.plan(loaded, as_json=as_json, ends_afterwards=bool(is_program))
    options = foreground.Options(
        show,
        is_once=once,
        is_rebuilding=rebuild,
        stops_on_enter=stop_on_enter,
        ends_afterwards=bool(is_program),
    )
    return foreground.run(loaded, options)


@cli.command()
@_profile
@click.option("--exit-code", "has_exit_code", is_flag=True, help="Exit with 9 when there is something to do.")
@click.option("--save", "save_to", type=click.Path(path_type=Path), help="Write the plan to a file, for apply.")
@_json
@_set
@click.pass_obj
def plan(
    is_program: bool | None,
    profile: Path,
    has_exit_code: bool,
    save_to: Path | None,
    as_json: bool,
    overrides: tuple[str, ...],
) -> int:
    """Show what a run would do: + new, * changed, - removed. Changes nothing."""
    loaded = _load(profile, overrides)
    from actorsync.cli import foreground

    return foreground.plan(
        loaded, as_json=as_json, has_exit_code=has_exit_code, save_to=save_to, ends_afterwards=bool(is_program)
    )


@cli.command()
@_profile
@click.argument("plan", type=click.Path(path_type=Path))
@_json
@click.option("-v", "--verbose", is_flag=True, help="Name each file: + new, * changed, - removed.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but failures.")
@_set
@click.pass_obj
def apply(
    is_program: bool | None,
    profile: Path,
    plan: Path,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    overrides: tuple[str, ...],
) -> int:
    """Do what a plan says that plan --save has written, all of it and nothing else.

    Where either side has moved since, nothing is changed, and the exit code is 4.
    """
    loaded = _load(profile, overrides)
    from actorsync.cli import foreground
    from actorsync.runs.saved_plan import Plan

    options = foreground.Options(_show(as_json, verbose, quiet), ends_afterwards=bool(is_program))
    return foreground.apply(loaded, Plan.load(plan), options)


@cli.command()
@_profile
@_set
def check(profile: Path, overrides: tuple[str, ...]) -> int:
    """Connect, log in and list both sides, and say what the servers can do. Changes nothing."""
    loaded = _load(profile, overrides).answered()
    from actorsync.cli import check as inspection
    from actorsync.runs.stop_signals import abortable

    code, lines = abortable(partial(inspection.check, loaded))
    return code or _print(lines or ())


def _fingerprint(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from actorsync.profile import parse_fingerprint

    try:
        return None if value is None else parse_fingerprint(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@cli.command()
@_profile
@click.option(
    "--fingerprint", metavar="SHA256:...", callback=_fingerprint, help="Add the key if this is it, and ask nobody."
)
@click.option("--source", "is_source", is_flag=True, help="The server of [source], not that of [target].")
@_set
def trust(profile: Path, fingerprint: str | None, is_source: bool, overrides: tuple[str, ...]) -> int:
    """Show the host key of an SFTP server, and add it to known_hosts if you say so. Logs in to nothing."""
    loaded = _load(profile, overrides)
    from actorsync.cli import trust as trusting
    from actorsync.profile import ask
    from actorsync.runs.open_endpoints import open_endpoints
    from actorsync.runs.stop_signals import abortable

    visit = trusting.visit_of(loaded, profile, is_source=is_source)
    endpoint = cast(
        "trusting.ShowsHostKey", open_endpoints(loaded)[0 if is_source else 1]
    )  # as every endpoint of sftp:// does
    code, shown = abortable(partial(trusting.show, endpoint, visit.url))
    return code if shown is None else _print(visit.trust(shown, fingerprint, partial(ask, is_hidden=False)))


@cli.command()
@click.argument("profile", type=click.Path(path_type=Path), default=Path("actorsync.toml"))
def init(profile: Path) -> int:
    """Write a profile to start from, with every key explained (default: actorsync.toml)."""
    from actorsync.profile import TEMPLATE

    try:
        descriptor = os.open(profile, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ProfileError(f"{profile}: it is there already, and is not overwritten; give another name") from None
    except OSError as error:
        raise ProfileError(f"{profile}: cannot be written: {error.strerror}") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
        file.write(TEMPLATE)
    return _print([f"wrote {profile}; edit it, then try: actorsync check {profile}"])


@cli.command()
@_profile
@_set
def status(profile: Path, overrides: tuple[str, ...]) -> int:
    """Show the last runs, also while one is going on."""
    loaded = _load(profile, overrides)
    from actorsync.cli import status as runs

    return _print(runs.status(loaded))


@cli.command()
def demo() -> int:
    """Mirror a small tree to an FTP server inside this process, and watch what the server sees."""
    from actorsync.cli import demo as demonstration

    return demonstration.run(lambda line: _print([line]))


def _faults(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[ServerFault, ...]:
    from actorsync.testing.servers.faults import parse_fault

    faults = []
    for value in values:
        try:
            faults.append(parse_fault(value))
        except ValueError as error:
            raise click.BadParameter(f"{value}: {error} (all of them: actorsync rehearse --list-faults)") from None
    return tuple(faults)


def _list_faults(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from actorsync.rehearsal.report import faults_table

        _print(faults_table())
        context.exit()


@cli.command()
@_profile
@click.option("--fault", "faults", multiple=True, metavar="NAME@PLACE", callback=_faults, help="Have this go wrong.")
@click.option(
    "--list-faults", is_flag=True, is_eager=True, expose_value=False, callback=_list_faults, help="Show what can."
)
@click.option("--into", type=click.Path(path_type=Path), metavar="DIR", help="Where to make the temporary folder.")
@click.option("--from-nothing", is_flag=True, help="Begin with an empty server, not with an old version of the site.")
@click.option("--json", "as_json", is_flag=True, help="Write the result as a line of JSON to standard output.")
@click.option("-v", "--verbose", is_flag=True, help="Show what each run says.")
@_set
@click.pass_obj
def rehearse(
    is_program: bool | None,
    profile: Path,
    faults: tuple[ServerFault, ...],
    into: Path | None,
    from_nothing: bool,
    as_json: bool,
    verbose: bool,
    overrides: tuple[str, ...],
) -> int:
    """Run against a server inside this process, with faults, and say what a visitor of the site would have seen.

    Your own server is not contacted, and your journal not touched. Ends with 0 when every file was whole at every look
    and the target was in sync in the end, and with 1 when not.
    """
    loaded = _load(profile, overrides, needs_keys=False)
    from actorsync.cli import rehearse as rehearsing
    from actorsync.rehearsal.rehearsal import Rehearsal

    rehearsal = Rehearsal(loaded, faults, into, from_nothing)
    return rehearsing.perform(rehearsal, as_json=as_json, is_verbose=verbose, is_program=bool(is_program))


def _load(path: Path, overrides: Sequence[str], *, needs_keys: bool = True) -> Profile:
    from actorsync.profile import load_profile

    return load_profile(path, overrides, needs_keys=needs_keys)


def _print(lines: Iterable[str]) -> int:
    from actorsync.model.text import display

    for line in lines:
        click.echo(display(line))
    return 0


def run_command(arguments: Sequence[str], *, is_program: bool = False) -> int:
    """Run a command, and give its exit code. Every error becomes a line on standard error, a bug its traceback too.

    ``is_program``: the process ends with the command.
    """
    try:
        code = cli.main(list(arguments), prog_name="actorsync", standalone_mode=False, obj=is_program)
    except click.ClickException as error:
        error.show(sys.stderr)
        return error.exit_code
    except ActorsyncError as error:
        tell(str(error))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        return 0  # whoever read our lines had enough of them
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            Sink(sys.stderr).write("\n")  # behind the terminal's ^C, as click does with one that comes alone
            return 130
        tell_bug(group)
        return ActorsyncError.exit_code
    except Exception as bug:  # noqa: BLE001 - the last one to see it
        tell_bug(bug)
        return ActorsyncError.exit_code
    return code if isinstance(code, int) else 0
