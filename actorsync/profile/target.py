"""Where the mirror is: the target's URL, taken apart.

Written here and not left to ``urllib.parse``: that drops line breaks without a word, and its errors quote the
part of the URL that may hold a password. No error made here quotes more of a URL than its scheme.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

import attrs

from actorsync.profile.secret import Secret, SecretSource, line_fault

__all__ = ["ANONYMOUS", "ANONYMOUS_PASSWORD", "Target", "parse_target"]

ANONYMOUS = "anonymous"
ANONYMOUS_PASSWORD = Secret("anonymous@")
_FTP_PORT = 21

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_HOST = re.compile(r"[\w.-]+")
_PORT = re.compile(r"[0-9]{1,5}")


@attrs.frozen
class Target:
    """The place that is made equal to the source.

    For ``ftp``, ``path`` is relative to the login directory (``""`` is that directory itself) unless it starts
    with "/". For ``file``, it is an absolute path of this machine, and ``host``, ``user`` and ``port`` are empty.
    ``password`` is where to get the password from: None for ``file``, never None for ``ftp``.
    """

    scheme: Literal["ftp", "file"]
    path: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: SecretSource | None = None

    @property
    def display(self) -> str:
        """The target as a user writes it, fit to be shown: there is no password in it."""
        if self.scheme == "file":
            return self.path
        user = "" if self.user == ANONYMOUS else f"{_quoted(self.user, safe='')}@"
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = "" if self.port == _FTP_PORT else f":{self.port}"
        return f"ftp://{user}{host}{port}/{_quoted(self.path, safe='/')}"


def parse_target(text: str, base: Path) -> Target:
    """Read a URL or a directory (relative to ``base``); ``ValueError`` with the reason otherwise."""
    if not text:
        raise ValueError('is empty; write a URL like "ftp://user@host/dir", or a directory')
    found = _URL.fullmatch(text)
    if found is None:
        return _parse_directory(text, base)
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if scheme == "ftp":
        return _parse_ftp(authority, rest)
    if scheme == "file":
        if authority not in {"", "localhost"} or not rest:
            raise ValueError("a file URL has three slashes and an absolute path: file:///srv/www")
        return _parse_directory(os.fsdecode(_unquoted(rest)), base)
    raise ValueError(f"not supported: {scheme}:// (use ftp://, or a directory for a mirror on this machine)")


def _parse_directory(text: str, base: Path) -> Target:
    if ":" in text.partition("/")[0]:
        # As likely a host with the scheme forgotten, and a password behind the colon: not a directory to make.
        raise ValueError("is not a URL; write ftp://host/dir, or ./ before a directory with a colon in its name")
    if "\0" in text:
        raise ValueError("has a NUL in it")
    return Target(scheme="file", path=os.path.abspath(base / os.path.expanduser(text)))


def _parse_ftp(authority: str, rest: str) -> Target:
    userinfo, _, location = authority.rpartition("@")
    if ":" in userinfo or (not userinfo and "@" in rest and ":" in authority and not _is_location(authority)):
        raise ValueError(
            "has a password in it, where it would be visible to others (in process lists, in logs); "
            'leave it out and use password = { env = "..." } in [target]'
        )
    host, port = _parse_location(location)
    user = _unquoted(userinfo).decode("utf-8", "surrogateescape") or ANONYMOUS
    if fault := line_fault(user):
        raise ValueError(f"the user {fault}")
    return Target(scheme="ftp", host=host, port=port, user=user, path=_parse_path(rest))


def _is_location(authority: str) -> bool:
    try:
        _parse_location(authority)
    except ValueError:
        return False
    return True


def _parse_location(location: str) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port``, ``[address]`` or ``[address]:port``."""
    if location.startswith("["):
        bracketed, closed, after = location[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(bracketed.replace("%25", "%", 1)))
        except ValueError:
            raise ValueError("what is in the brackets is not an IPv6 address") from None
        if not closed or (after and not after.startswith(":")):
            raise ValueError("has something other than a port after the brackets")
        port = after[1:]
    else:
        host, _, port = location.partition(":")
        if ":" in port:
            raise ValueError("has too many colons; an IPv6 address goes in brackets: ftp://[2001:db8::1]/dir")
        if not host:
            raise ValueError("has no host; write it like ftp://user@host/dir")
        if not _HOST.fullmatch(host):
            raise ValueError("has a host with a character that no host name has")
    if port and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65_535):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return host.lower(), int(port or _FTP_PORT)


def _parse_path(rest: str) -> str:
    """The path behind the host: its first slash only separates, as RFC 1738 has it."""
    if mark := next((mark for mark in "?#" if mark in rest), None):
        raise ValueError(f"has a {mark} in its path; write it as %{ord(mark):02X}")
    path = _unquoted(rest.removeprefix("/")).decode("utf-8", "surrogateescape")
    if fault := line_fault(path):
        raise ValueError(f"the path {fault}")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError("has .. in its path; write where it leads to")
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _unquoted(text: str) -> bytes:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")
