"""A WebDAV server in memory, reached without a network: for faults that no server at hand has."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from types import SimpleNamespace
from typing import Final
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

import attrs
import httpx

from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint, Plan
from actorsync.endpoints.fsspec.webdav import Webdav
from actorsync.endpoints.plugins import Location

__all__ = ["FakeDav"]


def _same(text: str) -> str:
    return text


@attrs.define(eq=False)
class FakeDav:
    """The tree, by path without a slash at either end: bytes for a file, None for a directory. The root is ``""``.

    ``override`` may answer a request instead of the server.
    """

    tree: dict[str, bytes | None] = attrs.field(factory=lambda: {"": None})
    is_strict: bool = False
    """Directories need the slash at the end of their URL: 301 like Apache, 409 to DELETE like nginx."""
    stored: Callable[[str], str] = _same
    """What becomes of a path in a request."""
    destination: Callable[[str], str] = _same
    """What becomes of the new path of a rename."""
    checks_new_name_first: bool = False
    """Whether a rename of a missing file to a taken name is answered by 412 instead of 404."""
    etag: Callable[[bytes], str] = lambda data: f'"{hash(data):x}"'
    override: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    requests: list[tuple[str, str]] = attrs.Factory(list)

    def endpoint(
        self, root: str = "", table: str = "target", transport: httpx.BaseTransport | None = None
    ) -> FsspecEndpoint:
        """Return an endpoint on this server, over ``transport`` if it is given."""

        def make(**_: object) -> Webdav:
            client = httpx.Client(transport=transport or httpx.MockTransport(self.answer), trust_env=False)
            return Webdav(SimpleNamespace(client=SimpleNamespace(http=client, base_url=httpx.URL("http://dav.test"))))

        plan = Plan(make, root, {}, {})
        return FsspecEndpoint(Location(scheme="webdav", host="dav.test", path=root, table=table), plan, "webdav")

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        raw = request.url.raw_path.decode()
        self.requests.append((request.method, raw))
        if (other := self.override(request)) is not None:
            return other
        path = self.stored(unquote(raw).strip("/"))
        is_directory = self.tree.get(path, b"") is None
        if self.is_strict and is_directory and path and not raw.endswith("/"):
            status = 409 if request.method == "DELETE" else 301
            return httpx.Response(status, headers={"Location": f"http://other.test{raw}/"})
        return getattr(self, f"_{request.method.lower()}")(request, path)  # type: ignore[no-any-return]

    def answer_as_empty(self, request: httpx.Request) -> httpx.Response:
        """Answer to a listing as if the directory existed and were empty."""
        path = unquote(request.url.raw_path.decode()).strip("/")
        return _multistatus(_response(path, _DIRECTORY, "/"))

    def listing_of(self, path: str) -> httpx.Response:
        """Return the answer to a listing of a directory."""
        return self._propfind(httpx.Request("PROPFIND", "http://dav.test", headers={"Depth": "1"}), path)

    def _propfind(self, request: httpx.Request, path: str) -> httpx.Response:
        if path not in self.tree:
            return httpx.Response(404)
        shown = [path]
        if request.headers["Depth"] == "1":
            shown += [one for one in self.tree if one and one != path and one.rpartition("/")[0] == path]
        return _multistatus("".join(map(self._described, shown)))

    def _described(self, path: str) -> str:
        data = self.tree[path]
        if data is None:
            return _response(path, _DIRECTORY, "/" if path else "")
        facts = f"<D:getcontentlength>{len(data)}</D:getcontentlength><D:getetag>{escape(self.etag(data))}</D:getetag>"
        time = formatdate(1_700_000_000, usegmt=True)
        return _response(path, f"<D:resourcetype/>{facts}<D:getlastmodified>{time}</D:getlastmodified>", "")

    def _get(self, request: httpx.Request, path: str) -> httpx.Response:
        data = self.tree.get(path)
        return httpx.Response(404) if data is None else httpx.Response(200, content=data)

    def _put(self, request: httpx.Request, path: str) -> httpx.Response:
        if self.tree.get(path.rpartition("/")[0], b"") is not None:
            return httpx.Response(409)
        self.tree[path] = request.read()
        return httpx.Response(201)

    def _mkcol(self, request: httpx.Request, path: str) -> httpx.Response:
        if path in self.tree:
            return httpx.Response(405)
        if self.tree.get(path.rpartition("/")[0], b"") is not None:
            return httpx.Response(409)
        self.tree[path] = None
        return httpx.Response(201)

    def _move(self, request: httpx.Request, path: str) -> httpx.Response:
        raw = httpx.URL(request.headers["Destination"]).raw_path.decode()
        new = self.stored(self.destination(unquote(raw).strip("/")))
        refusals = [404] * (path not in self.tree)
        refusals += [412] * (new in self.tree and request.headers["Overwrite"] == "F")
        if refusals:
            return httpx.Response(refusals[-1 if self.checks_new_name_first else 0])
        self._remove(new)
        self.tree[new] = self.tree.pop(path)
        return httpx.Response(201)

    def _delete(self, request: httpx.Request, path: str) -> httpx.Response:
        if path not in self.tree:
            return httpx.Response(404)
        self._remove(path)
        return httpx.Response(204)

    def _remove(self, path: str) -> None:
        for one in [one for one in self.tree if one == path or one.startswith(f"{path}/")]:
            del self.tree[one]


_DIRECTORY: Final = "<D:resourcetype><D:collection/></D:resourcetype>"


def _response(path: str, facts: str, slash: str) -> str:
    found = f"<D:propstat><D:prop>{facts}</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
    return f"<D:response><D:href>/{quote(path)}{slash}</D:href>{found}</D:response>"


def _multistatus(responses: str) -> httpx.Response:
    return httpx.Response(207, text=f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{responses}</D:multistatus>')
