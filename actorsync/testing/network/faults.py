"""What can go wrong between a client and an FTP server, as data. `actorsync.testing.network.ftp_proxy` makes it happen.

Faults that name a control line count the lines of clients from 1. With ``verb`` only lines with that verb count, and
with ``per_connection`` each control connection is counted by itself. Faults that name a data connection count
those that carried at least one byte, or were closed; with ``verb`` only those of that command. A fault happens
``times`` times, then never again: at the k-th, the 2k-th, the 3k-th line (or data connection) and so on.
"""

from __future__ import annotations

from typing import Literal

import attrs

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
"""How a connection dies, on both sides of the proxy.

* ``fin``: it is closed. A peer that reads sees the end; one that goes on writing is reset, as always.
* ``rst``: it is reset.
* ``silence``: it stays open, and nothing passes any more in either direction until the proxy ends.
"""

When = Literal["before", "unheard", "unanswered", "after"]
"""At which moment of a line a control connection is cut; see `Cut`."""


def _in_capitals(verb: str) -> str:
    return verb.upper()


@attrs.frozen(kw_only=True)
class _AtLine:
    at_line: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    verb: str = attrs.field(default="", converter=_in_capitals)
    per_connection: bool = False
    times: int = 1


@attrs.frozen(kw_only=True)
class _AtTransfer:
    after: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    verb: str = attrs.field(default="", converter=_in_capitals)
    at_transfer: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int = 1


@attrs.frozen(kw_only=True)
class Cut(_AtLine):
    """Cut the control connection at a line.

    * ``before``: the server never sees the line.
    * ``unheard``: the server has begun with it, and the client does not see even its first reply (of a transfer, the
      150).
    * ``unanswered``: the server has done it and answered; the client never sees the final reply.
    * ``after``: the client has the final reply (the 226 of a transfer, not its 150), and then the connection is gone.

    Data connections of the session are left alone: servers keep them too.
    """

    how: How = "rst"
    when: When = "before"


@attrs.frozen(kw_only=True)
class Hold(_AtLine):
    """Hold the final reply to a line, and all replies behind it, for so many seconds."""

    seconds: float


@attrs.frozen(kw_only=True)
class Late(_AtLine):
    """Have a line, and all behind it, reach the server so many seconds late: what goes another way is there first."""

    seconds: float


@attrs.frozen(kw_only=True)
class Swallow(_AtLine):
    """Lose the final reply to a line; later replies pass."""


@attrs.frozen(kw_only=True)
class Duplicate(_AtLine):
    """Deliver the final reply to a line twice."""


@attrs.frozen(kw_only=True)
class CutData(_AtTransfer):
    """Cut a data connection when ``after`` bytes have passed, and one more is about to (or the end is)."""

    how: How = "rst"


@attrs.frozen(kw_only=True)
class Truncate(_AtTransfer):
    """Pass ``after`` bytes, then show the receiver an orderly end, and swallow what the sender still sends.

    Neither side can notice: the sender has no error, and the server says 226.
    """


@attrs.frozen(kw_only=True)
class Refuse:
    """Accept a control connection and kill it before the greeting; every ``at_connection``-th, ``times`` times."""

    how: How = "rst"
    at_connection: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int = 1


@attrs.frozen(kw_only=True)
class RefuseData:
    """Refuse data connections to the port named in every ``at_reply``-th answer to ``verb`` (EPSV or PASV, or both)."""

    verb: Literal["EPSV", "PASV", ""] = ""
    at_reply: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    times: int = 1


@attrs.frozen
class Slice:
    """Send every reply, and all data towards the client, in pieces of ``size`` bytes, each a packet of its own."""

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))


@attrs.frozen
class Throttle:
    """Let ``rate`` bytes a second pass on each data connection; what waits, waits with the sender."""

    rate: int = attrs.field(validator=attrs.validators.ge(1))


Fault = Cut | Hold | Late | Swallow | Duplicate | CutData | Truncate | Refuse | RefuseData | Slice | Throttle
