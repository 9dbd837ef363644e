"""TCP connections to servers, and what to say when there is none."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

import trio

from actorsync.endpoints.shared.resource_limits import unopened
from actorsync.errors import ConnectionLost

__all__ = ["address_text", "connect", "no_connection", "words_of"]

_UNKNOWN_HOST: Final = frozenset(
    {socket.EAI_NONAME, socket.EAI_NODATA, getattr(socket, "EAI_ADDRFAMILY", socket.EAI_NONAME)}
)

#: What to do about errors of the system that connecting to a wrong address causes.
_WAYS_OUT: Final = {
    errno.ECONNREFUSED: "check the port, and that the server is running",
    errno.EHOSTUNREACH: "check the host, and the network or VPN that leads to it",
    errno.ENETUNREACH: "check the host, and the network or VPN that leads to it",
    errno.ETIMEDOUT: "check host, port and firewall",
}


async def connect(host: str, port: int, seconds: float) -> trio.SocketStream:
    """Connect to a server. The name lookup is trio's, because it can be cancelled when it hangs.

    Raises:
        ConnectionLost: there is no connection after ``seconds``. The text names host and port, and says what to do.
        OwnLimit: this machine can open no other connection.
    """
    try:
        with trio.fail_after(seconds):
            return await trio.open_tcp_stream(host, port)
    except trio.TooSlowError:
        raise ConnectionLost(f"{address_text(host, port)}: no answer in time; {_WAYS_OUT[errno.ETIMEDOUT]}") from None
    except OSError as error:
        raise no_connection(host, port, error) from error
    except UnicodeError:  # of the encoding of international names
        raise ConnectionLost(f"{address_text(host, port)}: the host name is not valid; check its spelling") from None


def no_connection(host: str, port: int, error: OSError) -> ConnectionLost:
    """Return the error for a connection that was not made, because of ``error``."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):  # one error for each address of the host
        cause = cause.exceptions[0]
    cause = cause if isinstance(cause, OSError) else error
    way_out = "" if isinstance(cause, socket.gaierror) else _WAYS_OUT.get(cause.errno or 0, "")
    reason = f"{address_text(host, port)}: {words_of(cause)}"
    return unopened(f"{reason}; {way_out}" if way_out else reason, cause)


def words_of(error: OSError) -> str:
    """Return what an error of the system means, without the name of the host.

    A failed lookup has numbers of its own, for which `os.strerror` knows no text.
    """
    if isinstance(error, socket.gaierror):
        if error.errno in _UNKNOWN_HOST:
            return "the host name is unknown; check its spelling"
        return f"the host name cannot be looked up ({error.strerror}); check the network and its DNS"
    return os.strerror(error.errno) if error.errno else str(error) or type(error).__name__


def address_text(host: str, port: int) -> str:
    """Return host and port as they are written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
