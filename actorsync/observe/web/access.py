"""Who may ask: the ``Host`` header, and the token. Pure.

A web site can give its own name the address of this machine, and then read what a server here answers as if it were its
own ("DNS rebinding"). The browser sends that name as ``Host``, so a server that answers only to names of its own is
safe. An address that is written out cannot be given to anybody else.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection
from typing import Final

from actorsync.classes import frozen
from actorsync.observe.web.messages import Answer, Request, text
from actorsync.profile import Secret
from actorsync.profile.values.service_readers import Listen

__all__ = ["Access"]

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::[0-9]{1,5})?")
_BEARER: Final = re.compile(r"[Bb]earer +(\S+)")
#: Separates the value of the cookie from the token, which the browser does not keep.
_PURPOSE: Final = b"the status page of actorsync"


@frozen
class Access:
    """The rules of one server. Without a ``token``, every client may read. ``names`` are those of this machine."""

    listen: Listen
    token: Secret | None = None
    names: Collection[str] = ()

    def refusal(self, request: Request) -> Answer | None:
        """Return the answer to a request that is not allowed; None if it is.

        A page that is opened with ``?token=`` is redirected to its address without the token, and gets a cookie.
        """
        host = request.headers.get("host")
        if not (self.listen.path is not None or host is None or self._is_own(host)):  # None: HTTP/1.0, so no browser
            return text(421, "this server does not answer to this name; use its IP address")
        if self.token is None or self._is_known(request):
            return None
        given = request.query.get("token")
        if request.path == "/" and given is not None and self._is_token(given):
            cookie = f"{self._cookie_name}={self._cookie}; Path=/; HttpOnly; SameSite=Lax"
            return text(303, "see /", ("Location", "/"), ("Set-Cookie", cookie))
        way = "send it as Authorization: Bearer, or open the page as /?token=..."
        return text(401, f"the token of observe.token is missing or wrong; {way}", ("WWW-Authenticate", "Bearer"))

    def _is_own(self, host: str) -> bool:
        """Return whether ``Host`` is an address at which this server may be reached, or a name of this machine."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        try:
            address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return name == "localhost" or (not self.listen.is_local and name in self.names)
        own = ipaddress.ip_address(self.listen.host)
        return own.is_unspecified or address == own or (own.is_loopback and address.is_loopback)

    def _is_known(self, request: Request) -> bool:
        bearer = _BEARER.fullmatch(request.headers.get("authorization", ""))
        if bearer is not None and self._is_token(bearer[1]):
            return True
        pairs = (it.strip().partition("=") for it in request.headers.get("cookie", "").split(";"))
        return any(name == self._cookie_name and _is_same(value, self._cookie) for name, _, value in pairs)

    def _is_token(self, text: str) -> bool:
        return self.token is not None and _is_same(text, self.token.reveal())

    @property
    def _cookie_name(self) -> str:
        """The name of the cookie. A browser keeps one set of cookies for all ports of a host."""
        return f"actorsync-{self.listen.port}"

    @property
    def _cookie(self) -> str:
        """The value of the cookie. The token cannot be found from it."""
        secret = "" if self.token is None else self.token.reveal()
        return hmac.new(secret.encode("utf-8", "surrogateescape"), _PURPOSE, hashlib.sha256).hexdigest()


def _is_same(one: str, other: str) -> bool:
    """Compare in a time that does not depend on how much is the same."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
