"""How the mirrors of a process are shown: the outputs for a terminal, a pipe and a log file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from actorsync.actors.statistics import Statistics
from actorsync.cli.output.lines import Lines, Output
from actorsync.cli.output.outputs import Outputs
from actorsync.cli.output.streams import Sink
from actorsync.cli.process.log_file import LogFile
from actorsync.profile import Profile
from actorsync.service.jobs import Job

__all__ = ["Show", "outputs_for", "stamped"]

Show = Literal["quiet", "normal", "verbose", "json"]


def outputs_for(
    show: Show,
    log: LogFile | None,
    jobs: Sequence[Job],
    often: Callable[[Profile], str],
    verb: str,
    *,
    is_several: bool,
) -> Outputs:
    """Return the outputs of all jobs. If the process has several mirrors, each line begins with the name of its own."""

    def logged(statistics: Statistics, every: str) -> Output:
        assert log is not None, "only a log is written to"
        return stamped(Lines(statistics, log.stream, every=every, is_verbose=True))

    def put_together(make: Callable[[Statistics, str], Output]) -> Output:
        outputs = {job.name: make(job.options.statistics, often(job.profile)) for job in jobs}
        if not is_several:
            return outputs[jobs[0].name]
        from actorsync.cli.output.together import Together  # one mirror starts faster without

        return Together(make(Statistics(), ""), outputs)

    if show in {"normal", "verbose"} and _is_terminal():
        shown = _live(show, jobs, often, verb, is_several=is_several)
    else:
        shown = put_together(partial(_plain, show, verb))
    return Outputs(shown, [] if log is None else [put_together(logged)])


def stamped(output: Output) -> Output:
    """Return the output with the time before each line."""
    output.is_stamped = True
    return output


def _is_terminal() -> bool:
    return Sink(sys.stderr).isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def _plain(show: Show, verb: str, statistics: Statistics, every: str) -> Output:
    if show == "json":
        from actorsync.cli.output.json_lines import JsonLines

        return JsonLines(statistics, sys.stdout, sys.stderr)
    if show == "quiet":
        return Output(statistics, sys.stdout, sys.stderr)
    output = Lines(statistics, sys.stderr, every=every, is_verbose=show == "verbose", verb=verb)
    output.is_stamped = show == "verbose" and not Sink(sys.stderr).isatty()  # then it is a log
    return output


def _live(show: Show, jobs: Sequence[Job], often: Callable[[Profile], str], verb: str, *, is_several: bool) -> Output:
    from actorsync.cli.output.live_view import LiveView  # slow to import, and needed only here

    def view(statistics: Statistics, every: str = "") -> LiveView:
        return LiveView(statistics, sys.stderr, every=every, is_verbose=show == "verbose", verb=verb)

    views = {job.name: view(job.options.statistics, often(job.profile)) for job in jobs}
    if not is_several:
        return views[jobs[0].name]
    from actorsync.cli.output.live_views import LiveViews

    return LiveViews(view(Statistics()), views)
