"""Parsing the URL of a place.

`urllib.parse` is not used: it silently drops line breaks, and its errors quote the part of the URL that may contain a
password. The errors of this module quote only the scheme of a URL.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast
from urllib.parse import unquote_to_bytes

from actorsync.endpoints.shared.home import expand_home
from actorsync.profile.secrets.secret import line_fault, proxy_fault, text_fault, utf8_fault
from actorsync.profile.values.place import ANONYMOUS, PORTS, Place, ProxyPlace, Scheme, SshWays

__all__ = ["local_user", "parse_location", "parse_place", "parse_proxy", "ssh_user_fault", "writes_port"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_HOST = re.compile(r"[\w.-]+")
#: Names that are rarely those of directories: beginnings and ends of host names, and addresses.
_SERVER = re.compile(
    r"(?:www|ftp|ftps|sftp|ssh)[0-9]*\.[\w-].*|localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|"
    r"[\w-](?:[\w.-]*[\w-])?\.(?:[a-z]{2}|com|org|net|edu|gov|info|biz|dev|app|cloud|online|shop|xyz)",
    re.IGNORECASE,
)
#: Schemes that other programs have for the same thing.
_MEANT = {
    **dict.fromkeys(("ssh", "scp", "sshfs", "rsync+ssh"), "sftp:// for files over SSH"),
    **dict.fromkeys(("ftpe", "ftptls", "ftp+tls"), "ftpes:// for FTP with explicit TLS"),
    **dict.fromkeys(("cifs", "smb2"), "smb://"),
}
_LOCAL_FORM = "a local path begins with ./, ../, / or ~"
_LONGEST_LABEL = 63
_DRIVE_PATH = re.compile(r"[A-Za-z]:[\\/]")
#: A URL without its colon, with one slash, or with a backslash.
_MISTYPED = re.compile(r"(sftp|ftps|ftpes|ftp)(?:[:;]?[/\\]{2}|[:;][/\\])", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_PORT = re.compile(r"[0-9]{1,5}")
_PROXY_SCHEMES: Mapping[str, Literal["socks5", "http"]] = {"socks5": "socks5", "socks5h": "socks5", "http": "http"}
_PROXY_EXAMPLE = "socks5://host:1080 or http://host:8080"
_SSH_FAULTS = {"\r": "a carriage return", "\n": "a line feed", "\0": "a NUL"}


def parse_place(text: str, base: Path, table: str = "target") -> Place:
    """Parse a URL or a directory (relative to ``base``). Raises `ValueError` with the reason if it is neither.

    ``table`` is the table of the profile that holds the URL; error messages name it.
    """
    if not text:
        raise ValueError('is empty; write a URL like "sftp://user@host/dir", or a directory')
    if text != text.strip():
        raise ValueError("begins or ends with a space or a line break; remove it, or write a space as %20")
    url = _URL.fullmatch(text)
    if url is None:
        if fault := _server_fault(text, base):
            raise ValueError(fault)
        return _parse_directory(text, base)
    scheme, authority, rest = url[1].lower(), url[2], url[3]
    if better := _MEANT.get(scheme):
        raise ValueError(f"not supported: {scheme}://; write {better}")
    if scheme in PORTS:
        return _parse_remote(cast(Scheme, scheme), authority, rest, table)
    if scheme == "file":
        if authority not in {"", "localhost"} or not rest:
            raise ValueError("a file URL has three slashes and an absolute path: file:///srv/www")
        return _parse_directory(os.fsdecode(_unquoted(rest)), base)
    from actorsync.endpoints import plugins  # slow: searches the installed packages; not needed for built-in schemes

    if len(found := plugins.find(scheme)) != 1:
        raise ValueError(plugins.unregistered(scheme, found))
    return _parse_plugged(scheme, authority, rest, table)


def parse_proxy(text: str, table: str = "target") -> ProxyPlace:
    """Parse the URL of a proxy. Raises `ValueError` with the reason if it is not valid.

    ``socks5h`` is how curl and others write a SOCKS5 proxy that looks up names. Here every proxy does.
    """
    url = _URL.fullmatch(text)
    if url is None or url[1].lower() not in _PROXY_SCHEMES:
        raise ValueError(f"is not the URL of a proxy; write it like {_PROXY_EXAMPLE}")
    scheme, authority = _PROXY_SCHEMES[url[1].lower()], url[2]
    userinfo, _, location = authority.rpartition("@")
    if ":" in userinfo or "@" in url[3]:
        raise ValueError(
            "contains a password, which process lists and logs would show; "
            f'remove it and use proxy-password = {{ env = "..." }} in [{table}]'
        )
    if url[3] not in {"", "/"}:
        raise ValueError(f"has something after the port; write it like {_PROXY_EXAMPLE}")
    user = _unquoted(userinfo).decode("utf-8", "surrogateescape")
    if fault := proxy_fault(user):
        raise ValueError(f"the user {fault}")
    if ":" in user:
        raise ValueError("the user contains a colon, which a login at a proxy cannot express")
    host, port = parse_location(scheme, location)
    if not port:
        raise ValueError(f"has no port; write it like {_PROXY_EXAMPLE}")
    return ProxyPlace(scheme, host, port, user)


def _parse_directory(text: str, base: Path) -> Place:
    if ":" in text.partition("/")[0]:
        # More likely a host without its scheme, with a password after the colon, than a directory to create.
        # The text is not quoted, because it may have a password in it.
        head, _, rest = text.partition(":")
        form = "sftp://host/dir" if rest.startswith("/") else "sftp://host/~/dir"
        if head.lower() in PORTS:
            form = f"{head.lower()}://host/dir"
        raise ValueError(f"is not a URL; did you mean {form}? {_LOCAL_FORM}")
    if "\0" in text:
        raise ValueError("contains a NUL")
    return Place(scheme="file", path=os.path.abspath(base / expand_home(text)))


def _server_fault(text: str, base: Path) -> str | None:
    """Return why a relative directory is more likely a server without its scheme, or None.

    It would be made on this machine, and the run would end "in sync".
    """
    if text.startswith("\\\\"):
        return "is a Windows share; write smb://server/share/dir"
    if _DRIVE_PATH.match(text):
        return "is a path of Windows, and this is another system; write the path of a directory here, or a URL"
    if (mistyped := _MISTYPED.match(text)) and not os.path.lexists(base / mistyped[1]):
        return f"is not a URL; did you mean {mistyped[1].lower()}://host/dir? {_LOCAL_FORM}"
    host = text.partition("/")[0]
    if ":" not in host and (_SERVER.fullmatch(host) or "@" in host) and not os.path.lexists(base / host):
        return f"looks like a server; did you mean sftp://{host} or ftpes://{host}? {_LOCAL_FORM}"
    return None


def _parse_remote(scheme: Scheme, authority: str, rest: str, table: str) -> Place:
    userinfo, location = _parse_authority(scheme, authority, rest, table)
    host, port = parse_location(scheme, location)
    user = _unquoted(userinfo).decode("utf-8", "surrogateescape")
    if fault := ssh_user_fault(user) if scheme == "sftp" else line_fault(user):
        raise ValueError(f"the user {fault}")
    path = _parse_path(scheme, rest)
    return Place(
        scheme=scheme,
        host=host,
        port=port,
        user=user or (local_user() if scheme == "sftp" else ANONYMOUS),
        path=path,
        below_login=path[1:] if scheme == "sftp" and _may_mean_login(_decoded(rest)) else "",
        ways=SshWays(has_user=bool(user), has_port=writes_port(location)) if scheme == "sftp" else SshWays(),
    )


def writes_port(location: str) -> bool:
    """Return whether a location, as `parse_location` takes it, has a port."""
    return ":" in location.rpartition("]")[2]


def _parse_plugged(scheme: str, authority: str, rest: str, table: str) -> Place:
    """Parse the URL of a plug-in. The host is kept as written: it may be a bucket, and it may be missing."""
    userinfo, location = _parse_authority(scheme, authority, rest, table)
    host, port = parse_location(scheme, location) if location else ("", 0)
    user = _unquoted(userinfo).decode("utf-8", "surrogateescape")
    if fault := utf8_fault(user) or _ssh_fault(user, "which is not allowed in a user name"):
        raise ValueError(f"the user {fault}")
    path = _parse_path(scheme, rest)
    if fault := utf8_fault(path):
        raise ValueError(f"the path {fault}")
    return Place(scheme=scheme, host=host, port=port, user=user, path=path)


def _parse_authority(scheme: str, authority: str, rest: str, table: str) -> tuple[str, str]:
    """Return the user, still percent-encoded, and the rest of the authority."""
    userinfo, _, location = authority.rpartition("@")
    if ":" in userinfo or (not userinfo and "@" in rest and ":" in authority and not _is_location(scheme, authority)):
        raise ValueError(
            "contains a password, which process lists and logs would show; "
            f'remove it and use password = {{ env = "..." }} in [{table}]'
        )
    return userinfo, location


def ssh_user_fault(user: str) -> str | None:
    """Return why a user name cannot be sent over SSH, or None."""
    return text_fault(user) or _ssh_fault(user, "which is not allowed in a user name")


def _ssh_fault(text: str, reason: str) -> str | None:
    return next((f"contains {name}, {reason}" for one, name in _SSH_FAULTS.items() if one in text), None)


def local_user() -> str:
    """Return the name of the current user as ssh determines it: from the user id, not from the environment."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ValueError("has no user, and your user id has no name here; write sftp://user@host/dir") from None


def _is_location(scheme: str, authority: str) -> bool:
    try:
        parse_location(scheme, authority)
    except ValueError:
        return False
    return True


def parse_location(scheme: str, location: str) -> tuple[str, int]:
    """Return host and port of ``host``, ``host:port``, ``[address]`` or ``[address]:port``."""
    if location.startswith("["):
        bracketed, closed, after = location[1:].partition("]")
        try:
            host = str(ipaddress.IPv6Address(bracketed.replace("%25", "%", 1)))
        except ValueError:
            raise ValueError("has brackets without a valid IPv6 address") from None
        if not closed or (after and not after.startswith(":")):
            raise ValueError("has something other than a port after the brackets")
        port = after[1:]
    else:
        host, _, port = location.partition(":")
        if ":" in port:
            raise ValueError(f"has too many colons; an IPv6 address goes in brackets: {scheme}://[2001:db8::1]/dir")
        if not host:
            raise ValueError(f"has no host; write it like {scheme}://user@host/dir")
        if not _HOST.fullmatch(host):
            raise ValueError("has a host name with an invalid character")
        if any(not 0 < len(label) <= _LONGEST_LABEL for label in host.removesuffix(".").split(".")):
            raise ValueError(f"has a host name with a part that is empty or longer than {_LONGEST_LABEL} characters")
    if port and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65_535):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return host.lower() if scheme in PORTS else host, int(port or PORTS.get(scheme, 0))


def _parse_path(scheme: str, rest: str) -> str:
    """Return the path after the host: absolute if it begins with a slash, else relative to the login directory.

    Except for ``sftp``, the first slash after the host is only a separator (RFC 1738).
    """
    if mark := next((mark for mark in "?#" if mark in rest), None):
        raise ValueError(f"has a {mark} in its path; write it as %{ord(mark):02X}")
    path = _decoded(rest)
    is_ftp = scheme in PORTS and scheme != "sftp"
    if fault := line_fault(path) if is_ftp else _ssh_fault(path, "which is not allowed in a path"):
        raise ValueError(f"the path {fault}")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError("has .. in its path; write the path that it leads to")
    if is_ftp and re.search(r";type=[aid]$", path, re.IGNORECASE):
        raise ValueError("ends with ;type=, which is no part of a path; remove it")
    is_absolute = path.startswith("/")
    if scheme == "sftp" and not is_absolute and parts:
        if is_absolute := parts[0] != "~":
            if parts[0].startswith("~"):
                raise ValueError(
                    "has the home directory of another user in its path; write ~/ for the login directory, "
                    "or the absolute path"
                )
        else:
            del parts[0]
    return ("/" if is_absolute else "") + "/".join(parts)


def _may_mean_login(path: str) -> bool:
    """Return whether a path, as `_decoded` returns it, may be meant relative to the login directory.

    That is a path with one slash after the host. Such paths were relative once, and some programs still read them so.
    Two slashes are absolute for every program, and so is a drive.
    """
    first = path.partition("/")[0]
    return bool(path) and not path.startswith("/") and first != "~" and not _DRIVE.fullmatch(first)


def _decoded(rest: str) -> str:
    """Return what follows the slash after the host, without percent-encoding."""
    return _unquoted(rest.removeprefix("/")).decode("utf-8", "surrogateescape")


def _unquoted(text: str) -> bytes:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
