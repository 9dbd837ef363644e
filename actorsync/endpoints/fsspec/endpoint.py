"""Endpoints in the file systems of `fsspec <https://filesystem-spec.readthedocs.io>`_: S3, Azure, WebDAV, SMB and more.

They need the extra ``fsspec`` of the package, and the library that fsspec uses for the protocol. The entry points of
this project name `open_fsspec`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import trio

from actorsync.classes import frozen
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.fsspec.errors import is_missing, said, unopened
from actorsync.endpoints.fsspec.name_checks import Move
from actorsync.endpoints.fsspec.names import azure_fault, smb_fault
from actorsync.endpoints.fsspec.session import FsspecSession, Threads
from actorsync.endpoints.fsspec.store import Store
from actorsync.endpoints.fsspec.tree import Tree
from actorsync.endpoints.plugins import Location, Unusable
from actorsync.errors import GuardRefused, LoginRefused, ProfileError
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.text import display, hidden
from actorsync.model.traits import Traits

__all__ = ["LANES", "FsspecEndpoint", "Plan", "open_fsspec"]

#: Files in flight for each connection of the run, each in a thread.
LANES: Final = 8

_AZURE: Final = ("az", "abfs", "abfss")
#: Object stores, whose host is the bucket: the option names for the user and the password.
_BUCKETS: Final[Mapping[str, tuple[str, str] | None]] = {
    **dict.fromkeys(("s3", "s3a"), ("key", "secret")),
    **dict.fromkeys(_AZURE, ("account_name", "account_key")),
    **dict.fromkeys(("gs", "gcs"), None),
}
#: Protocols whose options can be checked against the parameters of the class in their library.
_TOLD: Final = frozenset({*_BUCKETS, "smb", "memory", "file", "local"})
_WEB: Final = frozenset({"http", "https"})
_WEBDAV: Final = frozenset({"webdav", "webdavs"})
#: Seconds without an answer. A server may need long for a big file that has arrived.
_WEB_SECONDS: Final = 60


@frozen
class Plan:
    """How a place is opened: the class in fsspec, its arguments, and the root."""

    make: Callable[..., Any]
    root: str
    arguments: Mapping[str, object]
    secrets: Mapping[str, Callable[[], str]]
    is_flat: bool = False
    warnings: tuple[str, ...] = ()
    fault: Callable[[str], str | None] = lambda _: None
    follows_links: bool = False
    """Whether the server may follow symbolic links, of which the protocol shows nothing."""


def open_fsspec(location: Location, /) -> FsspecEndpoint:
    """Return the endpoint of a place. Imports fsspec and its library for the protocol, and does not connect."""
    protocol = location.scheme.removeprefix("fsspec").removeprefix("+") or ""
    if not protocol:
        raise Unusable("url", "names no protocol; write fsspec+NAME://, with the name of a protocol of fsspec")
    if protocol in _WEB:
        raise Unusable("url", f"{protocol}:// has no complete listings; use webdav:// if the server supports it")
    try:
        import fsspec  # an optional extra, and slow to import
    except ImportError:
        raise Unusable("url", f"{location.scheme}:// needs fsspec; run: pip install 'actorsync[fsspec]'") from None
    try:
        kind = fsspec.get_filesystem_class("webdav" if protocol == "webdavs" else protocol)
    except ValueError:
        raise Unusable("url", f"fsspec has no protocol {display(protocol)!r}") from None
    except ImportError as error:
        raise Unusable("url", f"{location.scheme}:// needs a library: {said(error, str)}") from None
    return FsspecEndpoint(location, _plan(location, protocol, kind), protocol)


def _plan(location: Location, protocol: str, kind: Any) -> Plan:
    arguments: dict[str, object] = dict(location.options)
    secrets = dict(location.secrets)
    if protocol in _TOLD:
        _check_options(kind, [*arguments, *secrets])
    if protocol in _BUCKETS:
        return _bucket_plan(location, kind, arguments, secrets, _BUCKETS[protocol])
    if protocol in _WEBDAV:
        return _webdav_plan(location, protocol, kind, arguments, secrets)
    if location.password is not None:
        secrets["password"] = location.password
    if protocol == "smb":
        return _smb_plan(location, kind, arguments, secrets)
    if protocol in {"memory", "file", "local"}:
        if location.user or location.port or location.password or (location.host and protocol != "memory"):
            raise Unusable("url", f"{location.scheme}:// has no user, password or port; write {location.scheme}:///dir")
        root = "/" + "/".join(filter(None, (location.host, location.path.strip("/"))))
        return Plan(kind, root.rstrip("/") if protocol == "memory" else root, arguments, secrets)
    url = f"{protocol}://{location.host}{f':{location.port}' if location.port else ''}/{location.path}"
    if mark := next((mark for mark in "?#" if mark in url), None):
        raise Unusable("url", f"has a {mark} in its path, which fsspec does not support for {protocol}://")
    arguments = {**kind._get_kwargs_from_urls(url), **arguments}
    if location.user:
        arguments["user" if protocol == "hdfs" else "username"] = location.user
    return Plan(kind, str(kind._strip_protocol(url)), arguments, secrets)


def _bucket_plan(
    location: Location,
    kind: Any,
    arguments: dict[str, object],
    secrets: dict[str, Callable[[], str]],
    names: tuple[str, str] | None,
) -> Plan:
    scheme = location.scheme
    if not location.host:
        raise Unusable("url", f"has no bucket; write it like {scheme}://bucket/dir")
    if location.port:
        raise Unusable("url", f"has a port, but the host of {scheme}:// is a bucket; use an option of the library")
    if names is None and (location.user or location.password):
        raise Unusable("url", f"{scheme}:// has no user and no password; use the option token")
    if names is not None:
        arguments |= {names[0]: location.user} if location.user else {}
        secrets |= {names[1]: location.password} if location.password else {}
    root = "/".join(filter(None, (location.host, location.path.strip("/"))))
    arguments["use_listings_cache"] = False
    if scheme in _AZURE:
        if fault := next(filter(None, map(azure_fault, root.split("/"))), None):
            raise Unusable("url", f"a name in its path {fault}")
        return Plan(kind, root, arguments, secrets, is_flat=True, fault=azure_fault)
    return Plan(kind, root, arguments, secrets, is_flat=True)


def _smb_plan(
    location: Location, kind: Any, arguments: dict[str, object], secrets: dict[str, Callable[[], str]]
) -> Plan:
    if not (location.host and location.path.strip("/")):
        raise Unusable("url", "has no host or no share; write it like smb://host/share/dir")
    if fault := next(filter(None, map(smb_fault, location.path.strip("/").split("/"))), None):
        raise Unusable("url", f"a name in its path {fault}")
    arguments = {"host": location.host, "port": location.port or None, **arguments}
    if location.user:
        arguments["username"] = location.user
    return Plan(
        partial(_smb, kind), f"/{location.path.strip('/')}", arguments, secrets, fault=smb_fault, follows_links=True
    )


def _smb(kind: Any, **arguments: object) -> Any:
    from actorsync.endpoints.fsspec.smb import Smb  # imports the SMB library

    # The library connects in its constructor otherwise, and would try again for a while.
    return Smb(kind(**{**arguments, "register_session_retries": -1}))


def _webdav_plan(
    location: Location,
    protocol: str,
    kind: Any,
    arguments: dict[str, object],
    secrets: dict[str, Callable[[], str]],
) -> Plan:
    if not location.host:
        raise Unusable("url", f"has no host; write it like {protocol}://host/dir")
    host = f"[{location.host}]" if ":" in location.host else location.host
    port = f":{location.port}" if location.port else ""
    arguments["base_url"] = f"{'https' if protocol == 'webdavs' else 'http'}://{host}{port}"
    warnings: tuple[str, ...] = ()
    if location.password is not None:
        secrets["password"] = location.password
        if protocol == "webdav":
            warnings = ("the password and all files are sent unencrypted; use webdavs:// if the server supports it",)
    make = partial(_webdav, kind, location.user)
    return Plan(make, location.path.strip("/"), arguments, secrets, warnings=warnings, follows_links=True)


def _webdav(kind: Any, user: str, *, password: str | None = None, **arguments: object) -> Any:
    from actorsync.endpoints.fsspec.webdav import Webdav  # imports the HTTP library

    if user or password:
        arguments["auth"] = (user, password or "")
    return Webdav(kind(**{"timeout": _WEB_SECONDS, **arguments}))


def _check_options(kind: Any, names: list[str]) -> None:
    """Raise `Unusable` for an option that the library does not have: the library would ignore it silently."""
    known = {
        name
        for one in kind.__mro__
        if (init := vars(one).get("__init__")) is not None and one is not object
        for name, parameter in inspect.signature(init).parameters.items()
        if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL} and name != "self"
    }
    for name in names:
        if name not in known:
            raise Unusable(f"options.{name}", f"unknown option; known: {', '.join(sorted(known))}")


class FsspecEndpoint:
    """A tree in a file system of fsspec. All sessions share one instance of the file system."""

    # Most libraries talk to a server, and fsspec cannot set the time of a file.
    capabilities: Final = Capabilities(lanes=LANES, is_remote=True, keeps_times=False)

    def __init__(self, location: Location, plan: Plan, protocol: str) -> None:
        self._location, self._plan, self._protocol = location, plan, protocol
        self._threads = Threads()
        self.traits = Traits()
        self._store: Store | None = None
        self._opening = trio.Lock()
        self._refusal: str | None = None
        self.outside = ""
        self._finds_links = False

    @property
    def display(self) -> str:
        """The URL of the place, without secrets."""
        return display(self._location.url)

    async def identify(self) -> Root:
        """Describe the root. Raises `GuardRefused` if it is not a directory that can be listed."""
        async with self.open_session() as session:
            found = await session.list_directory("")
        if found.problem is not None:
            raise GuardRefused(f"{self.display} cannot be listed: {found.problem.reason}")
        return Root(Entry("", Kind.DIRECTORY))

    def find_links(self) -> None:
        """Take note that it matters whether a directory may be a link. There is nothing to ask."""
        self._finds_links = True

    @property
    def hides_links(self) -> bool:
        """Whether a link may look like a directory."""
        return self._finds_links and self._plan.follows_links

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FsspecSession]:
        """Connect, unless an earlier session did. The first session connects for all, and checks the login."""
        async with self._opening:
            if self._refusal is not None:
                raise LoginRefused(self._refusal)
            if self._store is None:
                try:
                    self._store = await self._threads.call(self._open)
                except LoginRefused as refused:
                    self._refusal = f"{self.display}: {refused}"
                    raise LoginRefused(self._refusal) from None
        yield FsspecSession(self._threads, self._store, self._described(self._store), self._warnings(self._store))

    def _open(self) -> Store:
        """Create the instance, and look at the root, which need not exist."""
        revealed = {name: reveal() for name, reveal in self._plan.secrets.items()}
        hide = partial(hidden, [*revealed.values()])
        arguments = {**self._plan.arguments, **revealed, "skip_instance_cache": True}
        try:
            fs = self._plan.make(**arguments)
        except TypeError as error:
            raise ProfileError(f"{self._location.table}.options: {said(error, hide)}") from None
        except Exception as error:
            raise unopened(error, hide) from error
        is_strict = self._location.table == "source"
        move = None if self._plan.is_flat else _move_of(fs)
        tree = Tree(fs, self._plan.root, hide, self._plan.is_flat, is_strict, self._plan.fault, self.outside)
        try:
            fs.info(tree.at(""))
        except Exception as error:
            if not is_missing(error):
                raise unopened(error, hide) from error
        store = Store(tree, move)
        store.names.spellings.folding.traits = self.traits
        return store

    def _described(self, store: Store) -> list[tuple[str, str]]:
        kind = type(getattr(store.tree.fs, "library", store.tree.fs))
        how = "renamed" if store.move is not None else "copied, then the temporary removed"
        return [
            ("library", display(f"{kind.__module__.partition('.')[0]} ({kind.__name__})")),
            ("root", display(store.tree.root or "/")),
            ("directories", "not kept when empty: the store has only names" if store.tree.is_flat else "kept"),
            ("replacing", how),
            ("times", "of the upload, not of the source"),
        ]

    def _warnings(self, store: Store) -> tuple[str, ...]:
        if store.move is not None or store.tree.is_flat or self._protocol == "memory":
            return self._plan.warnings
        half = f"{self._protocol}:// cannot rename: a file may be visible half copied"
        return (*self._plan.warnings, half)


def _move_of(fs: Any) -> Move | None:
    """Return a function that renames one file; None if the store has only a copy."""
    from fsspec import AbstractFileSystem

    if not isinstance(fs, AbstractFileSystem):
        move: Move = fs.move
        return move
    if type(fs).mv is AbstractFileSystem.mv:
        return None
    return lambda old, new, _: fs.mv(old, new)
