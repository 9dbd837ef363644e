"""Which commands may be sent before the one before them is answered: never by hope, always by proof.

RFC 959 lets a client send one command and wait for its reply. Most servers read their commands from a stream, one after
the other, so that many can be sent in one write. Some do not: they answer in any order (servers on asyncio), take a
packet for a command (uftpd, two npm packages), drop what follows the first line, or read nothing between EPSV and the
data connection (Twisted). A connection to such a server goes *in lock step*, one command at a time.

`Flights` decides, for one server, what a session may do. All connections to the server share it.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterable

import attrs

from actorsync.classes import define
from actorsync.model.traits import Traits
from actorsync.protocols.ftp.wire import ProtocolError, Reply

__all__ = ["Flight", "Flights", "OutOfStep", "is_sequential"]

#: The trait that keeps the finding for the next run.
_TRAIT = "flights"

#: Greetings of servers that were tested to read one command after the other, whatever arrives in one packet.
_SEQUENTIAL = re.compile(r"vsFTPd|ProFTPD|Pure-FTPd|pyftpdlib")

#: Greetings of servers that are known to lose or mix up commands that arrive together. lftp has the same three.
_LOCK_STEP = re.compile(r"icrosoft FTP Service|MadGoat|MikroTik")

#: The codes for a command that the server does not have, or not in this form.
_UNKNOWN = frozenset({500, 502, 504})
#: How often a server in the table above must fail before it is believed: replies out of step, and replies missing.
_STRIKES, _SILENCES = 3, 2

# Some greetings have a time or the number of users.
_NUMBER = re.compile(r"[0-9]+")


class OutOfStep(ProtocolError):
    """A reply is not the answer to the command that is due. No reply of this connection can be trusted any more."""


class Flight(enum.Enum):
    """A kind of flight. Each kind demands more of a server than the one before it."""

    BURST = "burst"
    """Several commands in one write."""
    PORT = "port"
    """EPSV with commands behind it, which the server answers before there is a data connection."""
    STORE = "store"
    """A rename and STOR in one write, and the data behind it at once."""


@define(eq=False)
class Flights:
    """What one server was seen to take. A kind of flight that was not earned is sent in lock step."""

    traits: Traits = attrs.Factory(Traits)
    is_known: bool = False
    """Whether the greeting names a server that was tested."""
    is_settled: bool = False
    """Whether nothing is left to try: the server is known, or was tried in this run or in an earlier one."""
    swallows: bool = False
    """Whether the server gave no answer to a command with bytes that are not UTF-8."""
    warning: str = ""
    """One sentence for the user; empty if nothing was lost."""
    _mark: str = ""
    _earned: frozenset[Flight] = frozenset()
    _proven: set[Flight] = attrs.Factory(set)
    _alone: dict[str, bool] = attrs.Factory(dict)
    _cuts: int = 0
    _strikes: int = 0
    _silences: int = 0

    def allows(self, kind: Flight) -> bool:
        """Return whether a flight of this kind may be sent as one."""
        return kind in self._earned

    @property
    def is_lock_step(self) -> bool:
        """Whether every command waits for the reply to the one before it."""
        return not self._earned

    def greet(self, greeting: Reply) -> None:
        """Decide by the greeting, as far as it tells, and by what an earlier run has learned."""
        if self._mark:
            return  # by another connection
        text = " ".join(greeting.lines)
        self._mark = hashlib.sha256(_NUMBER.sub("", text).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        mark, *kinds = self.traits.get(_TRAIT).split() or [""]
        self.is_known = is_sequential(greeting)
        if mark == self._mark:
            self._earned = frozenset(kind for kind in Flight if kind.value in kinds)
        elif self.is_known:
            self._earned = frozenset(Flight)
        self.is_settled = self.is_known or mark == self._mark or _LOCK_STEP.search(text) is not None

    def earn(self, kinds: Iterable[Flight]) -> None:
        """Record the kinds that a trial has shown the server to take. It is then settled."""
        self._earned, self.is_settled = frozenset(kinds), True
        self._record()

    def note_cut(self) -> bool:
        """Note that the connection was lost during a trial. Returns whether to try once more: it may be chance."""
        self._cuts += 1
        return self._cuts == 1

    def note_out_of_step(self, why: str) -> None:
        """Note that replies were out of step: every kind of flight relies on their order.

        A server that is known is given the benefit of the doubt some times, as one reply may have been garbled.
        """
        self._strikes += 1
        if not self.is_known or self._strikes >= _STRIKES:
            self._lose(frozenset(Flight), why)

    def note_silence(self, kind: Flight) -> None:
        """Note that the first commands of a flight were answered and the rest were not."""
        self._silences += 1
        if kind not in self._proven and (not self.is_known or self._silences >= _SILENCES):
            self._lose(frozenset(Flight) if kind is Flight.BURST else frozenset({kind}), "a command was not answered")

    def note_proven(self, kinds: Iterable[Flight]) -> None:
        """Note flights with an answer to each command: a later silence has another cause."""
        self._proven.update(kinds)

    def is_proven(self, kind: Flight) -> bool:
        """Return whether every command of such a flight was answered once."""
        return self.is_known or kind in self._proven

    def _lose(self, kinds: frozenset[Flight], why: str) -> None:
        if not self._earned & kinds:
            return
        self._earned -= kinds
        self.is_settled = True
        self.warn(why)
        self._record()

    def warn(self, why: str) -> None:
        """Keep the one warning for the user. The first reason stays."""
        how = "they are sent one at a time" if self.is_lock_step else "around transfers they are sent one at a time"
        self.warning = self.warning or (
            f"the server does not take FTP commands in a row ({why}): {how}, and each file takes more round trips"
        )

    def _record(self) -> None:
        self.traits.learn(_TRAIT, " ".join([self._mark, *(kind.value for kind in Flight if kind in self._earned)]))

    # Commands that were answered alone. A server that is not known gets no command for the first time in a flight.

    def has_answered(self, verb: str) -> bool:
        """Return whether the server has answered such a command alone."""
        return self.is_known or verb in self._alone

    def note_alone(self, verb: str, reply: Reply) -> None:
        """Note the reply to a command that nothing was sent with."""
        self._alone[verb] = self._alone.get(verb, False) or reply.code not in _UNKNOWN

    def contradicts(self, verb: str, reply: Reply) -> bool:
        """Return whether a reply in a flight says "unknown" or "bad sequence" of what was accepted alone.

        RNTO is out of sequence after each RNFR that was refused, so its replies show nothing.
        """
        return reply.code in {500, 503} and verb != "RNTO" and not self.is_known and self._alone.get(verb, False)


def is_sequential(greeting: Reply) -> bool:
    """Return whether a greeting names a server that was tested to read one command after the other."""
    return any(_SEQUENTIAL.search(line) for line in greeting.lines)
