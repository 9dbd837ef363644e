"""Network faults between a client and an FTP server, as data. `actorsync.testing.network.ftp_proxy` applies them.

A fault with ``at_line`` counts the lines that clients send, from 1. With ``verb`` it counts only lines with that verb,
and with ``per_connection`` it counts each control connection separately. A fault with ``at_transfer`` counts data
connections that carried a byte or were closed; with ``verb`` only those of that command. A fault happens at every k-th
line or data connection, ``times`` times in all.
"""

from __future__ import annotations

from typing import Literal

import attrs

from actorsync.classes import frozen

__all__ = [
    "Cut",
    "CutData",
    "Duplicate",
    "Fault",
    "Hold",
    "How",
    "Late",
    "Refuse",
    "RefuseData",
    "Slice",
    "Swallow",
    "Throttle",
    "Truncate",
    "When",
]

How = Literal["fin", "rst", "silence"]
"""How a connection ends, on both sides of the proxy.

* ``fin``: it is closed. A peer that reads gets end of file; a peer that continues to write gets a reset.
* ``rst``: it is reset.
* ``silence``: it stays open, but no data passes in either direction until the proxy ends.
"""

When = Literal["before", "unheard", "unanswered", "after"]
"""When a control connection is cut in relation to a line; see `Cut`."""


def _in_capitals(verb: str) -> str:
    return verb.upper()


@frozen(kw_only=True)
class _AtLine:
    at_line: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    verb: str = attrs.field(default="", converter=_in_capitals)
    per_connection: bool = False
    times: int = 1


@frozen(kw_only=True)
class _AtTransfer:
    after: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    verb: str = attrs.field(default="", converter=_in_capitals)
    at_transfer: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int = 1


@frozen(kw_only=True)
class Cut(_AtLine):
    """Cut the control connection at a line.

    * ``before``: the server does not receive the line.
    * ``unheard``: the server executes the line, and the client does not receive its first reply (150 for a transfer).
    * ``unanswered``: the server executes the line, and the client does not receive the final reply.
    * ``after``: the client receives the final reply (226 for a transfer), and then the connection is cut.

    Data connections of the session stay open, as they do on servers.
    """

    how: How = "rst"
    when: When = "before"


@frozen(kw_only=True)
class Hold(_AtLine):
    """Delay the final reply to a line, and all replies after it, by ``seconds``."""

    seconds: float


@frozen(kw_only=True)
class Late(_AtLine):
    """Delay a line, and all lines after it, by ``seconds``. Data on other connections can overtake it."""

    seconds: float


@frozen(kw_only=True)
class Swallow(_AtLine):
    """Drop the final reply to a line; later replies pass."""


@frozen(kw_only=True)
class Duplicate(_AtLine):
    """Deliver the final reply to a line twice."""


@frozen(kw_only=True)
class CutData(_AtTransfer):
    """Cut a data connection after ``after`` bytes, when the next byte or the end of the data arrives."""

    how: How = "rst"


@frozen(kw_only=True)
class Truncate(_AtTransfer):
    """Pass ``after`` bytes, then close the receiving side in order and discard the rest of the data.

    Neither side can notice: the sender gets no error, and the server replies 226.
    """


@frozen(kw_only=True)
class Refuse:
    """Accept a control connection and end it before the greeting; every ``at_connection``-th, ``times`` times."""

    how: How = "rst"
    at_connection: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int = 1


@frozen(kw_only=True)
class RefuseData:
    """Refuse data connections to the port in every ``at_reply``-th reply to ``verb`` (EPSV or PASV, or both)."""

    verb: Literal["EPSV", "PASV", ""] = ""
    at_reply: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int = 1


@frozen
class Slice:
    """Send every reply and all data to the client in pieces of ``size`` bytes, each in a packet of its own."""

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))


@frozen
class Throttle:
    """Pass at most ``rate`` bytes a second on each data connection, with back-pressure on the sender."""

    rate: int = attrs.field(validator=attrs.validators.ge(1))


Fault = Cut | Hold | Late | Swallow | Duplicate | CutData | Truncate | Refuse | RefuseData | Slice | Throttle
