"""Endpoints by URL scheme: a scheme that is not built in is looked up in the entry points of installed packages.

A package registers an `EndpointFactory` in its own metadata, under the scheme of its URLs::

    [project.entry-points."actorsync.endpoints"]
    foo = "foo_sync:open_endpoint"

From then on ``[target] url = "foo://host/dir"`` works in a profile. An entry point ``foo`` also serves schemes that
begin with ``foo+``, unless another entry point has that name. Built-in schemes are not looked up, so they cannot be
replaced. Nothing is imported before an endpoint is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeAlias
from urllib.parse import quote

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.contract import Endpoint
from actorsync.errors import ProfileError
from actorsync.model.text import display, shorten

__all__ = ["GROUP", "EndpointFactory", "Location", "OptionValue", "Reveal", "Unusable", "open_plugged", "registered"]

#: The group of the entry points.
GROUP = "actorsync.endpoints"

Reveal: TypeAlias = Callable[[], str]
"""Returns a secret. It may block and raise `ProfileError`: call it in a thread, and only when the secret is needed."""

OptionValue: TypeAlias = str | int | float | bool

#: The number of characters of a plug-in's message that are shown.
_SHOWN = 300


@frozen(kw_only=True)
class Location:
    """A place as the profile describes it: the parts of its URL, and its options.

    ``port`` is 0 and the texts are empty if the URL has no such part. ``path`` is percent-decoded and has no ``.`` or
    ``..``, no slash at its end, and none at its start unless the URL has two there. ``options`` and ``secrets`` are the
    table ``options`` of the profile; ``secrets`` holds the options whose value comes from elsewhere. ``table`` is
    ``"source"`` or ``"target"``.
    """

    scheme: str
    host: str = ""
    port: int = 0
    user: str = ""
    path: str = ""
    password: Reveal | None = attrs.field(default=None, repr=False)
    options: Mapping[str, OptionValue] = attrs.Factory(dict)
    secrets: Mapping[str, Reveal] = attrs.field(factory=dict, repr=False)
    table: str = "target"

    @property
    def url(self) -> str:
        """The URL for display, without the password."""
        user = f"{_quoted(self.user, '')}@" if self.user else ""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{host}{port}/{_quoted(self.path, '/')}"

    def allow(self, *names: str) -> None:
        """Raise `Unusable` if there is an option or a secret of any other name."""
        for name in [*self.options, *self.secrets]:
            if name not in names:
                known = f"known: {', '.join(names)}" if names else f"{self.scheme}:// has none"
                raise Unusable(f"options.{name}", f"unknown option; {known}")


class EndpointFactory(Protocol):
    """The function that an entry point names."""

    def __call__(self, location: Location, /) -> Endpoint:
        """Return the endpoint of a place, without connecting and without asking for a secret.

        Called anew for each run. Raises `Unusable` if the profile has a value that cannot be used.
        """


class Unusable(Exception):
    """A value of the profile cannot be used.

    ``key`` is a key of the table, such as ``"url"`` or ``"options.region"``. ``reason`` says why, and what to do.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key, self.reason = key, reason


def registered() -> list[str]:
    """Return the schemes of the installed plug-ins."""
    return sorted({entry_point.name for entry_point in entry_points(group=GROUP)})


def find(scheme: str) -> list[EntryPoint]:
    """Return the entry points for a scheme: none, one, or several that conflict."""
    for name in (scheme, scheme.partition("+")[0]):
        if found := [*{one.value: one for one in entry_points(group=GROUP, name=name)}.values()]:
            return found
    return []


def open_plugged(location: Location, where: str, hide: Callable[[str], str] = str) -> Endpoint:
    """Import the factory that is registered for the scheme, and return its endpoint.

    ``where`` is the name of the table in messages. ``hide`` removes secrets from what a plug-in says. Raises
    `ProfileError` with one line for every failure.
    """
    found = find(location.scheme)
    if len(found) != 1:
        raise ProfileError(f"{where}.url: {unregistered(location.scheme, found)}")
    named = f"the endpoint for {location.scheme}:// ({_named(found[0])})"

    def broken(reason: str, error: BaseException | None = None) -> ProfileError:
        what = "" if error is None else f": {_said(error, hide)}"
        return ProfileError(f"{where}.url: {named} {reason}{what}; repair or remove that package")

    try:
        factory: EndpointFactory = found[0].load()
    except Unusable as unusable:
        raise ProfileError(f"{where}.{unusable.key}: {display(unusable.reason)}") from None
    except (Exception, SystemExit) as error:  # code of a plug-in may raise anything
        raise broken("cannot be imported", error) from error
    if not callable(factory):
        raise broken(f"is not an endpoint factory but a {type(factory).__name__}")
    try:
        endpoint = factory(location)
    except ProfileError:
        raise
    except Unusable as unusable:
        raise ProfileError(f"{where}.{unusable.key}: {display(hide(unusable.reason))}") from None
    except (Exception, SystemExit) as error:
        raise broken("failed", error) from error
    if missing := _missing(endpoint):
        raise broken(f"returned a {type(endpoint).__name__}, not an endpoint: it has no {' and no '.join(missing)}")
    return endpoint


def unregistered(scheme: str, found: Collection[EntryPoint]) -> str:
    """Return why no endpoint can be opened for a scheme: no plug-in is registered for it, or several are."""
    if found:
        names = " and ".join(sorted(_named(one) for one in found))
        return f"{scheme}:// is registered twice, by {names}; remove one of them"
    plugged = ", ".join(f"{name}://" for name in registered() if name != "fsspec")
    return (
        f"not supported: {scheme}:// (use sftp://, ftpes://, ftps:// or ftp://, a directory for a mirror on this "
        f"machine, or a plug-in: {plugged or 'none'}; for other protocols of fsspec, "
        "pip install 'actorsync[fsspec]' and write fsspec+NAME://)"
    )


def _missing(endpoint: object) -> Iterable[str]:
    return [name for name in ("display", "capabilities", "identify", "open_session") if not hasattr(endpoint, name)]


def _named(entry_point: EntryPoint) -> str:
    package = "" if entry_point.dist is None else f" of {entry_point.dist.name}"
    return display(f"{entry_point.value}{package}")


def _said(error: BaseException, hide: Callable[[str], str]) -> str:
    text = " ".join(hide(str(error)).split())
    return shorten(display(f"{type(error).__name__}: {text}" if text else type(error).__name__), _SHOWN)


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")
