"""WebDAV (RFC 4918) without I/O: paths in requests, the answer to PROPFIND, and the meaning of a status.

Servers differ in how they write a path in an answer: as a path or as a whole URL, with any characters quoted, with or
without a slash at the end. Here a path has no slash at either end, and nothing in it is quoted.
"""

from __future__ import annotations

import errno
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree as ET

import attrs

from actorsync.classes import frozen

__all__ = [
    "PROPFIND",
    "Meaning",
    "Resource",
    "adds_slash",
    "choose",
    "read_multistatus",
    "request_path",
    "served_path",
    "status_meaning",
]

#: The body of PROPFIND: the four properties that are used. A server may need long for those that nobody reads.
PROPFIND: Final = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/>'
    b"<D:getlastmodified/><D:getetag/></D:prop></D:propfind>"
)


@frozen
class Resource:
    """One entry of an answer to PROPFIND. ``is_directory`` is None if the server does not describe it."""

    path: str
    is_directory: bool | None
    size: int | None = None
    modified: datetime | None = None
    etag: str | None = None


def request_path(path: str, *, is_directory: bool = False) -> str:
    """Return the path of a URL for ``path``. Everything that could mean something else is quoted.

    The URL of a directory ends with a slash (RFC 4918, 5.2). Without it, Apache redirects, and nginx answers 409.
    """
    quoted = "/" + quote(path.strip("/"), safe="/", errors="surrogateescape")
    return quoted if not is_directory or quoted == "/" else f"{quoted}/"


def served_path(href: str) -> str:
    """Return the path that an answer means by ``href``: a path, or a URL with a host. Bytes may be no UTF-8."""
    href = href.strip()
    if not href.startswith("/"):
        href = href.partition("://")[2].partition("/")[2] or href
    return unquote_to_bytes(href).decode("utf-8", "surrogateescape").strip("/")


def adds_slash(path: str, location: str) -> bool:
    """Return whether a redirection from ``path`` only adds the slash of a directory. The host may be another name."""
    return location.endswith("/") and served_path(location) == path.strip("/")


def read_multistatus(body: bytes) -> list[Resource]:
    """Return the entries of an answer to PROPFIND. Raises `ValueError` if the body is something else.

    A property counts only if its own status is 200. The parser limits the expansion of entities (expat 2.4.1).
    """
    try:
        tree = ET.fromstring(body)  # noqa: S314
    except ET.ParseError as error:
        raise ValueError(f"the answer is not XML: {error}") from None
    if tree.tag != "{DAV:}multistatus":
        raise ValueError("the answer is XML, but not of WebDAV")
    return [_resource(response) for response in tree.iterfind("{DAV:}response")]


def _resource(response: ET.Element) -> Resource:
    path = served_path(response.findtext("{DAV:}href") or "")
    found: dict[str, ET.Element] = {}
    for propstat in response.iterfind("{DAV:}propstat"):
        if _code(propstat.findtext("{DAV:}status")) == 200:
            found.update((one.tag, one) for group in propstat.iterfind("{DAV:}prop") for one in group)
    kind = found.get("{DAV:}resourcetype")
    if kind is None:
        return Resource(path, None)
    texts = {tag: (element.text or "").strip() for tag, element in found.items()}
    length = texts.get("{DAV:}getcontentlength", "")
    return Resource(
        path,
        kind.find("{DAV:}collection") is not None,
        int(length) if length.isdecimal() else None,
        _time(texts.get("{DAV:}getlastmodified", "")),
        texts.get("{DAV:}getetag") or None,
    )


def _code(status: str | None) -> int:
    """Return the number in a status line. A property without a status line is there."""
    match = re.search(r"\b([1-5]\d\d)\b", status or "")
    return int(match[1]) if match else 200


def _time(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def choose(resources: list[Resource], path: str) -> Resource | None:
    """Return the entry that describes ``path``; None if the server describes something else.

    A server that ignores upper and lower case, or normalizes names, may answer with its own spelling. A server that
    ignores ``Depth: 0`` lists the directory as well.
    """
    exact = [resource for resource in resources if resource.path == path.strip("/")]
    alike = [resource for resource in resources if _fold(resource.path) == _fold(path.strip("/"))]
    return next(iter([*exact, *alike]), None)


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


@frozen
class Meaning:
    """What a status means for one request: a number of `errno` (0 if none fits), and words for a user.

    ``is_lost``: the same request may succeed on another connection. ``retry``: it may succeed if it is repeated.
    """

    text: str
    errno: int = 0
    retry: bool = False
    is_lost: bool = False


_NO_METHOD: Final = "the server does not support the method; check that WebDAV is on for this path"
_BUSY: Final = "the server is busy"
_MEANINGS: Final[Mapping[int, Meaning]] = {
    400: Meaning("the server rejects the request as invalid; rename the file if its name is unusual", errno.EINVAL),
    401: Meaning("the server rejects the login; check user and password", errno.EACCES),
    403: Meaning("the server forbids it; check the rights of the user", errno.EACCES),
    404: Meaning("it does not exist", errno.ENOENT),
    405: Meaning(_NO_METHOD, errno.EOPNOTSUPP),
    407: Meaning("the proxy wants a login; check the proxy settings", errno.EACCES),
    408: Meaning("the server waited too long", is_lost=True),
    409: Meaning("the server reports a conflict; check that the directory exists", retry=True),
    410: Meaning("it does not exist", errno.ENOENT),
    412: Meaning("the name is taken", errno.EEXIST),
    413: Meaning("the server accepts no file of this size; raise its limit, or exclude the file", errno.EFBIG),
    414: Meaning("the path is too long for the server; shorten it", errno.ENAMETOOLONG),
    423: Meaning("another program has locked it", retry=True),
    429: Meaning(_BUSY, is_lost=True),
    500: Meaning("the server failed; its log tells why", retry=True),
    501: Meaning(_NO_METHOD, errno.EOPNOTSUPP),
    502: Meaning("a gateway failed", is_lost=True),
    503: Meaning(_BUSY, is_lost=True),
    504: Meaning("a gateway failed", is_lost=True),
    507: Meaning("the target is full", errno.ENOSPC),
}


def status_meaning(status: int, reason: str = "", location: str = "") -> Meaning:
    """Return what a status that is no success means. ``location`` is where a redirection leads."""
    said = f"{status} {reason}".strip()
    if 300 <= status < 400:
        where = f" to {location}" if location else ""
        return Meaning(f"the server redirects{where} ({said}); write the URL that it names into the profile")
    meaning = _MEANINGS.get(status) or Meaning("the server refuses it", retry=status >= 500)
    first, _, rest = meaning.text.partition("; ")
    return attrs.evolve(meaning, text=f"{first} ({said}){f'; {rest}' if rest else ''}")
