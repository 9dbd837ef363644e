"""``actorsync ctl``: change a run that goes on, from another terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from actorsync.cli.options import DEFAULT, choose, for_each, only_option, print_lines, set_option
from actorsync.cli.output.streams import tell
from actorsync.service.asking.verbs import TAKES_VALUE, VERBS

if TYPE_CHECKING:
    from actorsync.profile import Profile
    from actorsync.service.asking.messages import Request

__all__ = ["ctl", "read_words"]

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
    return for_each(chosen, lambda profile: _ask(profile, request, as_json=as_json))


def _ask(profile: Profile, request: Request, *, as_json: bool) -> int:
    from actorsync.cli.output.going_on import mirror_lines
    from actorsync.service.asking.client import ask_run

    answer = ask_run(profile, request)
    if as_json:
        import json

        document = answer.status or {("error" if answer.code else "text"): answer.text}
        print_lines([json.dumps(document)])
    elif answer.code:
        tell(answer.text)
    else:
        mirrors = (answer.status or {}).get("mirrors", ())
        print_lines([answer.text] if answer.status is None else [line for it in mirrors for line in mirror_lines(it)])
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
        raise click.UsageError(f"No such verb '{verb}'; use one of {', '.join(VERBS)}")
    if len(values) != (verb in TAKES_VALUE):
        takes = "takes one value" if verb in TAKES_VALUE else "takes no value"
        raise click.UsageError(f"{verb} {takes}")
    from actorsync.service.asking.messages import Request

    return path, Request(verb, *values)
