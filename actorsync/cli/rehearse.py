"""A rehearsal in the foreground: signals, output and the exit code. What the command ``rehearse`` does."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import trio

from actorsync.cli.malloc import share_one_heap
from actorsync.cli.output.streams import Sink
from actorsync.cli.output.tables import table_lines
from actorsync.model.json_records import json_line
from actorsync.model.text import display
from actorsync.rehearsal.rehearsal import rehearse
from actorsync.rehearsal.report import FAULT_SYNTAX, beginning_text, record, report_rows, run_text, verdict
from actorsync.rehearsal.result import Began, Rehearsal, Result, Run, Said
from actorsync.runs.stop_signals import Step, StopRequests
from actorsync.testing.servers.faults import NAMES, PLACES

__all__ = ["faults_lines", "perform", "report_lines"]

#: Seconds that removing the temporary folder may take after a Ctrl-C.
_CLEANUP_SECONDS = 60.0


def perform(rehearsal: Rehearsal, *, as_json: bool = False, is_verbose: bool = False, is_program: bool = False) -> int:
    """Rehearse, print the result and return the exit code. A signal stops the rehearsal and removes its folder.

    ``is_program``: the process ends afterwards, so later signals have nothing to stop.
    """
    share_one_heap()
    out, aside = Sink(sys.stdout), Sink(sys.stderr)
    scope = trio.CancelScope()
    results: list[Result] = []

    def observe(event: Began | Said | Run) -> None:
        match event:
            case Began():
                aside.write(f"{beginning_text(event, rehearsal)}\n")
            case Said(number, line) if is_verbose:
                aside.write(f"  {number} | {display(line)}\n")
            case Run():
                lines = run_text(event, is_burst=rehearsal.is_burst)
                (aside if as_json else out).write("".join(f"{line}\n" for line in lines))

    async def main() -> None:
        with scope:
            results.append(await rehearse(rehearsal, observe))

    # The step is there twice, so that a second Ctrl-C does not interrupt the removal of the folder.
    requests = StopRequests(
        [Step(scope.cancel, _CLEANUP_SECONDS), Step(scope.cancel, _CLEANUP_SECONDS)], ends_afterwards=is_program
    )
    requests.run(main)
    if not results:
        return requests.forced_code
    [result] = results
    lines = [json_line(record(result))] if as_json else report_lines(result)
    out.write("".join(f"{line}\n" for line in lines))
    return result.exit_code


def report_lines(result: Result) -> Iterator[str]:
    """Yield the report that follows the runs; the verdict is the last line."""
    yield from table_lines(report_rows(result))
    yield verdict(result)


def faults_lines() -> Iterator[str]:
    """Yield the names and the places of faults, for ``--list-faults``."""
    yield from FAULT_SYNTAX
    yield ""
    yield from table_lines([*NAMES.items()], head=("NAME", "what happens"))
    yield ""
    yield from table_lines([*PLACES.items()], head=("PLACE", "when it happens"))
