"""Programs that a profile names: run without a shell, in the directory of the profile, and without its secrets."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from actorsync.actors.pipeline import AfterRun, Hook, Pipeline
from actorsync.classes import frozen
from actorsync.errors import HookFailed
from actorsync.model.messages import result_of
from actorsync.model.report import Report
from actorsync.model.text import display, shorten
from actorsync.profile import EnvSecret, Profile
from actorsync.profile.known_keys import with_name
from actorsync.profile.values.place import Place

__all__ = ["with_programs"]

#: How much of what a program writes is kept, and how much of that an error shows.
_KEPT_BYTES: Final = 4096
_SHOWN_LINES: Final = 3
_SHOWN_CHARACTERS: Final = 300
#: Seconds that the output of a program may stay open after its end: a daemon that it has started may hold it.
_AFTERWARDS: Final = 0.5
#: Variables of our own: some hold secrets.
_OWN: Final = "ACTORSYNC_"
#: Variables of systemd that concern the run alone: where its credentials are, and how it reports to the manager.
_OF_THE_SERVICE: Final = ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def with_programs(pipeline: Pipeline, profile: Profile) -> Pipeline:
    """Return ``pipeline`` with the programs of the profile.

    Before the commit, the program of the profile is run first; after the run, it is run last. So a caller's own hooks
    see what the program has prepared, and the program sees what they have done.
    """
    hooks, check = profile.hooks, profile.publish.check
    if hooks.before_commit:
        program = _Program("hooks.before-commit", hooks.before_commit, profile)
        pipeline = attrs.evolve(pipeline, before_commit=_in_turn(program.run, pipeline.before_commit))
    if check:
        program = _Program("publish.check", check, profile)
        pipeline = attrs.evolve(pipeline, check=_in_turn(program.run, pipeline.check))
    if profile.is_canary and profile.canary_check:
        program = _Program(with_name("target.canary-check", profile.name), profile.canary_check, profile)
        pipeline = attrs.evolve(pipeline, last_check=_in_turn(program.run, pipeline.last_check))
    if hooks.after:
        program = _Program("hooks.after", hooks.after, profile)
        pipeline = attrs.evolve(pipeline, after_run=partial(_after, pipeline.after_run, program))
    return pipeline


def _in_turn(first: Hook, second: Hook | None) -> Hook:
    async def both() -> None:
        await first()
        if second is not None:
            await second()

    return both


async def _after(own: AfterRun | None, program: _Program, report: Report) -> None:
    if own is not None:
        await own(report)
    counts = {name: getattr(report, name) for name in ("copied", "moved", "removed", "failed", "left")}
    facts = {"result": result_of(report), "exit_code": report.exit_code, **counts}
    await program.run({f"{_OWN}{name.upper()}": str(value) for name, value in facts.items()})


@frozen
class _Program:
    """A program of a profile; ``key`` is where the profile names it."""

    key: str
    arguments: Sequence[str]
    profile: Profile

    async def run(self, facts: Mapping[str, str] | None = None) -> None:
        """Run the program to its end. Raises `HookFailed` if it cannot be run, or if it fails."""
        environment = {**_environment(self.profile), **(facts or {})}
        output = bytearray()
        try:
            async with trio.open_nursery() as nursery:
                start = partial(
                    trio.run_process,
                    [*self.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    check=False,
                    cwd=Path(self.profile.path).parent,
                    env=environment,
                    start_new_session=True,  # Ctrl-C on the terminal is for the run, which waits for the program
                    deliver_cancel=_kill,
                )
                process: trio.Process = await nursery.start(start)
                nursery.start_soon(_read, process, output)
                code = await process.wait()
                nursery.cancel_scope.deadline = trio.current_time() + _AFTERWARDS
        except* OSError as errors:
            error = errors.exceptions[0]
            why = error.strerror if isinstance(error, OSError) else str(error)
            text = f"{self.key}: {display(self.arguments[0])} cannot be run: {why}; correct the profile"
            raise HookFailed(text) from None
        if code:
            how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
            raise HookFailed(f"{self.key}: {display(self.arguments[0])} {how}{_shown(bytes(output))}")


async def _read(process: trio.Process, output: bytearray) -> None:
    """Keep the end of what a program writes."""
    assert process.stdout is not None, "it was started with a pipe"
    async for piece in process.stdout:
        output += piece
        del output[:-_KEPT_BYTES]


async def _kill(process: trio.Process) -> None:
    """Kill a program and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _shown(output: bytes) -> str:
    """Return the last lines of what a program has written, as the end of an error; "" if it was silent."""
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    text = " | ".join(display(line.strip()) for line in lines[-_SHOWN_LINES:])
    return f": {shorten(text, _SHOWN_CHARACTERS)}" if text else "; it wrote nothing"


def _environment(profile: Profile) -> dict[str, str]:
    """Return the environment of a program: ours, without secrets, and where the profile is."""
    places = (profile.source, profile.target, *profile.siblings)
    secret = {*_OF_THE_SERVICE, *(variable for place in places for variable in _secret_variables(place))}
    rest = {name: value for name, value in os.environ.items() if name not in secret and not name.startswith(_OWN)}
    name = {f"{_OWN}TARGET": profile.name} if profile.name else {}
    return {**rest, f"{_OWN}PROFILE": str(profile.path), **name}


def _secret_variables(place: Place) -> set[str]:
    sources = (place.proxy_password, place.password, place.passphrase, *(source for _, source in place.options.secrets))
    return {source.variable for source in sources if isinstance(source, EnvSecret)}
