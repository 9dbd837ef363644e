"""The command log: what clients asked of a server, in the order in which it was asked.

Two places keep one: the embedded server (what arrived) and the fault proxy (what was sent, arrived or not).
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Answer", "Command", "CommandLog", "is_mutating"]

_MUTATING = frozenset(["APPE", "DELE", "MFF", "MFMT", "MKD", "RMD", "RNTO", "SITE", "STOR", "STOU", "XMKD", "XRMD"])
_SETS_TIME = re.compile(r"\d{14}(\.\d+)? .")


class Command(NamedTuple):
    """One command line: the number of the control connection (from 1), the verb in capitals, the rest."""

    session: int
    verb: str
    argument: str

    def __str__(self) -> str:
        return f"{self.verb} {self.argument}".rstrip(" ")


class Answer(NamedTuple):
    """What a server finally said to a command."""

    command: Command
    code: int


def is_mutating(verb: str, argument: str) -> bool:
    """Say whether this command can change the tree that the server shows.

    RNFR alone changes nothing; MDTM does when it carries a time to set (``MDTM 20260101000000 name``).
    """
    return verb in _MUTATING or (verb == "MDTM" and _SETS_TIME.match(argument) is not None)


class CommandLog(list[Command]):
    """A list of commands. Appending and reading may happen in different threads; passwords never enter."""

    def record(self, session: int, line: str) -> Command:
        """Append one command line, given without its line end, and return it as it was recorded."""
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        command = Command(session, verb, "***" if verb in ("PASS", "ACCT") else argument)
        self.append(command)
        return command

    @property
    def mutating(self) -> list[Command]:
        """Only those that can change the tree (`is_mutating`)."""
        return [command for command in self.copy() if is_mutating(command.verb, command.argument)]
