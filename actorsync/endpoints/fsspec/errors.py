"""Turn errors of fsspec and of its libraries into the errors of the contract.

Each library has exception classes of its own, and none is imported here: they are recognized by the names of their
classes.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from actorsync.endpoints.shared.resource_limits import is_own_limit, own_limit
from actorsync.errors import ActorsyncError, ConnectionLost, FatalError, LoginRefused, OperationRefused, TargetFull
from actorsync.model.text import display, shorten

__all__ = ["Declined", "has_failed", "is_lost", "is_missing", "may_be_done", "outcome_of", "said", "unopened"]

_MOST: Final = 300

_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NETWORK: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH, errno.ENOTCONN),
    }
)
#: aiohttp, botocore, azure, httpx, requests, smbprotocol, paramiko.
_LOST: Final = frozenset(
    {
        *("ClientConnectionError", "ClientPayloadError", "ServerDisconnectedError"),
        *("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "HTTPClientError"),
        *("ServiceRequestError", "ServiceResponseError", "TransportError", "ConnectionError", "Timeout"),
        *("SMBConnectionClosed", "SSHException"),
    }
)
#: The same libraries, for a rejected login.
_REJECTED: Final = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),
        *("ClientAuthenticationError", "DefaultCredentialsError", "RefreshError"),
        *("SMBAuthenticationError", "LogonFailure", "AuthenticationException"),
    }
)
_PERMANENT: Final = (OSError, ValueError, NotImplementedError)


class Declined(OSError):
    """A store refuses one request, in words for a user. ``errno`` is 0 if no number fits."""

    def __init__(self, text: str, number: int = 0, *, retry: bool = False) -> None:
        super().__init__(number, text)
        self.text, self.retry = text, retry

    def __str__(self) -> str:
        return self.text


def is_missing(error: BaseException) -> bool:
    """Return whether the error means that the path does not exist. A path below a file does not exist either.

    The number decides, not the class: `OSError` chooses `FileNotFoundError` by it, a subclass of a library does not.
    """
    return isinstance(error, OSError) and (
        error.errno in {errno.ENOENT, errno.ENOTDIR} or isinstance(error, FileNotFoundError | NotADirectoryError)
    )


def has_failed(error: BaseException) -> bool:
    """Return whether a store failed in a request, which it may have carried out: a look tells, or a repetition."""
    return isinstance(error, Declined) and error.retry


def may_be_done(error: BaseException) -> bool:
    """Return whether a request to rename may have been refused because an earlier one did its work.

    A library or a proxy repeats a request whose answer is lost. The file then has its new name already.
    """
    return is_missing(error) or has_failed(error) or (isinstance(error, OSError) and error.errno == errno.EEXIST)


def is_lost(error: BaseException) -> bool:
    """Return whether the error concerns the connection: what became of the request is not known."""
    return isinstance(error, ConnectionLost) or _is_lost(error)


def outcome_of(doing: str, path: str, error: Exception, hide: Callable[[str], str]) -> OperationRefused:
    """Return the refusal of one path for an error. Raises `ConnectionLost` if the error concerns the connection.

    An unknown error is shown as it is, and the operation may be tried again.
    """
    if isinstance(error, OperationRefused):
        return error
    if isinstance(error, ActorsyncError):
        raise error
    if is_own_limit(error):
        raise own_limit(error) from error
    if _is_lost(error):
        raise ConnectionLost(said(error, hide)) from error
    text = f"cannot {doing} {display(path)!r}: {said(error, hide)}"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return TargetFull(text)
    retry = error.retry if isinstance(error, Declined) else not isinstance(error, _PERMANENT)
    return OperationRefused(text, retry=retry)


def unopened(error: Exception, hide: Callable[[str], str]) -> ActorsyncError:
    """Return the error of the contract for an error that occurs while connecting."""
    if isinstance(error, ActorsyncError):
        return error
    if is_own_limit(error):
        return own_limit(error)
    if isinstance(error, PermissionError) or _names(error) & _REJECTED:
        return LoginRefused(said(error, hide))
    if isinstance(error, Declined) and not error.retry:
        return (LoginRefused if error.errno in _FORBIDDEN else FatalError)(said(error, hide))
    return ConnectionLost(said(error, hide))


def said(error: BaseException, hide: Callable[[str], str]) -> str:
    """Return the message of an error, in one line without secrets."""
    if isinstance(error, Declined):
        return shorten(display(hide(error.text)), _MOST)
    if isinstance(error, OSError) and error.errno:
        words = os.strerror(error.errno)
        # Libraries use this number for all that they have no number for, and tell more in the text.
        more = " ".join(hide(str(error.strerror or "")).split()) if error.errno == errno.EIO else ""
        return shorten(display(f"{words}: {more}" if more and more != words else words), _MOST)
    text = " ".join(hide(str(error)).split())
    return shorten(display(f"{type(error).__name__}: {text}" if text else type(error).__name__), _MOST)


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | EOFError | socket.gaierror):
        return True
    return bool(_names(error) & _LOST) or (isinstance(error, OSError) and error.errno in _NETWORK)


def _names(error: BaseException) -> set[str]:
    """Return the names of the classes of an error, without built-in ones."""
    return {one.__name__ for one in type(error).__mro__ if one.__module__ != "builtins"}
