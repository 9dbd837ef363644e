"""``actorsync ctl``: change a run that goes on, from another terminal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from actorsync.cli.options import DEFAULT, choose, for_each, only_option, print_lines, set_option
from actorsync.cli.output.streams import tell
from actorsync.service.asking.verbs import TAKES_VALUE, VERBS

if TYPE_CHECKING:
    from actorsync.profile import Profile
    from actorsync.service.asking.messages import Request

__all__ = ["ctl", "read_words"]

#: The verb that is meant by one that does not exist.
_MEANT: Final = {
    **dict.fromkeys(("stop", "quit", "end", "finish", "terminate"), "drain"),
    **dict.fromkeys(("abort", "kill"), "cancel"),
    **dict.fromkeys(("continue", "unpause", "start"), "resume"),
    **dict.fromkeys(("limit", "rate", "bandwidth", "throttle"), "bwlimit, such as bwlimit 2M"),
    **dict.fromkeys(("sync", "now", "scan", "refresh", "full", "run"), "rescan"),
    **dict.fromkeys(("restart", "hup", "config"), "reload"),
    **dict.fromkeys(("show", "info", "list"), "status"),
}

_HELP = f"""Change a run that is going on, or ask what it does.

\b
{chr(10).join(f"{verb + (' VALUE' if verb in TAKES_VALUE else ''):<18} {does}" for verb, does in VERBS.items())}

The run may be started by any program of the same user. What is changed lasts as long as the run. The exit code is 5 if
no run is going on, or if it does not answer within 5 seconds.
"""


@click.command(help=_HELP)
@click.argument("words", nargs=-1, metavar="[PROFILE] VERB [VALUE]")
@click.option("--json", "as_json", is_flag=True, help="Write the answer to standard output as one line of JSON.")
@only_option
@set_option
def ctl(words: tuple[str, ...], as_json: bool, only: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Ask the run of a profile, and print its answer."""
    path, request = read_words(words)
    chosen = choose([path], None, overrides, only)
    is_one_line = as_json or request.verb != "status"
    ask = partial(_ask, request=request, as_json=as_json, is_named=chosen.is_several and is_one_line)
    return for_each(chosen, ask, has_headings=not is_one_line)


def _ask(profile: Profile, *, request: Request, as_json: bool, is_named: bool) -> int:
    """Ask one run, and print its answer; with the name of the target if ``is_named``."""
    from actorsync.cli.output.going_on import mirror_lines
    from actorsync.service.asking.client import ask_run

    answer = ask_run(profile, request)
    before = f"{profile.name}: " if is_named else ""
    if as_json:
        import json

        name = {"mirror": profile.name} if is_named else {}
        print_lines([json.dumps(answer.status or {**name, ("error" if answer.code else "text"): answer.text})])
    elif answer.code:
        tell(f"{before}{answer.text}")
    else:
        mirrors = (answer.status or {}).get("mirrors", ())
        lines = [line for it in mirrors for line in mirror_lines(it)]
        print_lines([f"{before}{answer.text}"] if answer.status is None else lines)
    return answer.code


def read_words(words: tuple[str, ...]) -> tuple[Path, Request]:
    """Return the profile and the request that the arguments name. The profile may be left out, as for every command."""
    path = DEFAULT
    if words and words[0] not in VERBS:
        path, words = Path(words[0]), words[1:]
    if not words:
        raise click.UsageError(f"Missing argument 'VERB'; one of {', '.join(VERBS)}")
    verb, values = words[0], words[1:]
    if verb not in VERBS:
        way_out = f"use {_MEANT[verb]}" if verb in _MEANT else f"use one of {', '.join(VERBS)}"
        raise click.UsageError(f"No such verb '{verb}'; {way_out}")
    if len(values) != (verb in TAKES_VALUE):
        if path == DEFAULT and values and values[-1].endswith(".toml"):
            raise click.UsageError(f"the profile comes first: actorsync ctl {values[-1]} {verb}")
        takes = "takes one value" if verb in TAKES_VALUE else "takes no value"
        raise click.UsageError(f"{verb} {takes}")
    from actorsync.service.asking.messages import Request

    return path, Request(verb, *values)
