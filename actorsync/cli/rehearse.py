"""A rehearsal in the foreground: signals, output, and the exit code. What the command ``rehearse`` does."""

from __future__ import annotations

import sys

import trio

from actorsync.cli.malloc import share_one_heap
from actorsync.cli.output.json_records import json_line
from actorsync.cli.output.streams import Sink
from actorsync.model.text import display
from actorsync.rehearsal.rehearsal import Began, Rehearsal, Result, Run, Said, rehearse
from actorsync.rehearsal.report import beginning_text, record, report, run_text
from actorsync.runs.stop_signals import Step, StopRequests

__all__ = ["perform"]

#: Seconds that the temporary folder may take to be removed after a Ctrl-C.
_TIDYING = 60.0


def perform(rehearsal: Rehearsal, *, as_json: bool = False, is_verbose: bool = False, is_program: bool = False) -> int:
    """Rehearse, show what came of it, and give the exit code. A signal stops it and leaves nothing behind.

    ``is_program``: the process ends afterwards, so that signals that come later have nothing to stop.
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
                (aside if as_json else out).write("".join(f"{line}\n" for line in run_text(event)))

    async def main() -> None:
        with scope:
            results.append(await rehearse(rehearsal, observe))

    # Twice: who presses Ctrl-C again while the folder goes is not to be left with a part of it.
    requests = StopRequests([Step(scope.cancel, _TIDYING), Step(scope.cancel, _TIDYING)], ends_afterwards=is_program)
    requests.run(main)
    if not results:
        return requests.forced_code
    [result] = results
    lines = [json_line(record(result))] if as_json else list(report(result))
    out.write("".join(f"{line}\n" for line in lines))
    return result.exit_code
