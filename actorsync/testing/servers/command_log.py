"""The command log: the commands that clients sent to a server, in order.

The embedded server logs what arrived. The fault proxy logs what was sent, whether or not it arrived.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Answer", "Command", "CommandLog", "is_mutating"]

_MUTATING = frozenset(["APPE", "DELE", "MFF", "MFMT", "MKD", "RMD", "RNTO", "SITE", "STOR", "STOU", "XMKD", "XRMD"])
_SETS_TIME = re.compile(r"\d{14}(\.\d+)? .")


class Command(NamedTuple):
    """One command line: the number of its control connection (from 1), the verb in capitals and the argument."""

    session: int
    verb: str
    argument: str

    def __str__(self) -> str:
        return f"{self.verb} {self.argument}".rstrip(" ")


class Answer(NamedTuple):
    """The code of the final reply to a command."""

    command: Command
    code: int


def is_mutating(verb: str, argument: str) -> bool:
    """Return whether an FTP command can change the files of the server.

    RNFR alone changes nothing. MDTM does when it has a time to set (``MDTM 20260101000000 name``).
    """
    return verb in _MUTATING or (verb == "MDTM" and _SETS_TIME.match(argument) is not None)


class CommandLog(list[Command]):
    """A list of commands. One thread may append while another reads; passwords are never stored."""

    def record(self, session: int, line: str) -> Command:
        """Append one command line, passed without its line end, and return it as recorded: with passwords masked."""
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        command = Command(session, verb, "***" if verb in ("PASS", "ACCT") else argument)
        self.append(command)
        return command

    @property
    def mutating(self) -> list[Command]:
        """The commands that can change the tree (`is_mutating`)."""
        return [command for command in self.copy() if is_mutating(command.verb, command.argument)]
