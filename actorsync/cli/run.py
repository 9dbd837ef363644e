"""The command ``run``: its arguments and options."""

from __future__ import annotations

from pathlib import Path

import click

from actorsync.cli.options import (
    CHANGES,
    all_option,
    choose,
    json_option,
    log_file_option,
    logging_to,
    only_option,
    profiles_argument,
    read_rate,
    set_option,
    show_of,
)
from actorsync.cli.process.imports import importing

__all__ = ["run"]


@click.command()
@profiles_argument
@all_option
@only_option
@click.option("--once", is_flag=True, help="Mirror once and ignore sync.watch and sync.every.")
@click.option("--watch", is_flag=True, help="Mirror each change as it happens, as with sync.watch.")
@click.option("-n", "--dry-run", is_flag=True, help="Show the changes without making them, like plan.")
@json_option
@click.option("-v", "--verbose", is_flag=True, help=f"Show each change: {CHANGES}.")
@click.option("-q", "--quiet", is_flag=True, help="Show failures only.")
@log_file_option
@click.option(
    "--bwlimit",
    metavar="RATE",
    callback=read_rate,
    help="Limit bytes per second, for example 512K or 2M; off removes the limit.",
)
@set_option
@click.option("--rebuild", is_flag=True, help="Set an unusable journal aside and start a new one.")
@click.option("--stop-on-enter", is_flag=True, help="Stop on a line on standard input, like the first Ctrl-C.")
@click.pass_obj
def run(
    is_program: bool | None,
    profiles: tuple[Path, ...],
    directory: Path | None,
    only: tuple[str, ...],
    once: bool,
    watch: bool,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    log_file: Path | None,
    bwlimit: str | None,
    overrides: tuple[str, ...],
    rebuild: bool,
    stop_on_enter: bool,
) -> int:
    """Make the target equal to the source, once, every sync.every, or with each change.

    Several profiles, and all targets of a profile, are mirrored at the same time. The first Ctrl-C finishes the
    transfers in progress and stops, the second cancels them, the third exits immediately. The next run continues where
    this one stopped.
    """
    show = show_of(as_json, verbose, quiet)
    if dry_run and rebuild:
        raise click.UsageError("--dry-run and --rebuild cannot be combined: a dry run changes nothing.")
    with logging_to(log_file) as log:
        more = [*(["sync.watch=true"] if watch else []), *([] if bwlimit is None else [f"sync.bwlimit={bwlimit}"])]
        with importing(is_program=bool(is_program)):
            chosen = choose(profiles, directory, (*overrides, *more), only)
            from actorsync.cli import foreground

        if dry_run:
            plan = foreground.PlanOptions(as_json, ends_afterwards=bool(is_program), log=log)
            return foreground.plan(chosen, plan)
        options = foreground.Options(
            show,
            is_once=once,
            is_rebuilding=rebuild,
            stops_on_enter=stop_on_enter,
            ends_afterwards=bool(is_program),
            log=log,
            overrides=(*overrides, *more),
        )
        return foreground.run(chosen, options)
