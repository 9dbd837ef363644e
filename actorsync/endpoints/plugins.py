"""Endpoints by URL scheme: what is not built in is found among the entry points of what is installed.

A package registers an `EndpointFactory` in its own metadata, under the scheme of its URLs::

    [project.entry-points."actorsync.endpoints"]
    foo = "foo_sync:open_endpoint"

From then on ``[target] url = "foo://host/dir"`` works in a profile. An entry point ``foo`` also gets what begins with
``foo+``, where no entry point has that name. Nothing is looked up for a scheme that is built in, so none of those can
be replaced. Nothing is imported before an endpoint is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeAlias
from urllib.parse import quote

import attrs

from actorsync.endpoints.contract import Endpoint
from actorsync.errors import ProfileError
from actorsync.model.text import display, shorten

__all__ = ["GROUP", "EndpointFactory", "Location", "OptionValue", "Reveal", "Unusable", "open_plugged", "registered"]

#: The group of the entry points.
GROUP = "actorsync.endpoints"

Reveal: TypeAlias = Callable[[], str]
"""Gives a secret. It may block, and raise `ProfileError`: call it in a thread, and when it is needed, not before."""

OptionValue: TypeAlias = str | int | float | bool

#: How much of what a plug-in says is shown.
_SHOWN = 300


@attrs.frozen(kw_only=True)
class Location:
    """What a profile says of a place: its URL taken apart, and the keys beside it.

    ``port`` is 0 and the texts are empty where the URL has none. ``path`` has no slash at its beginning, unless two
    stand in the URL, none at its end, and no ``.`` or ``..`` in it; what was percent-encoded is not any more.
    ``options`` and ``secrets`` are the table ``options`` of the profile: ``secrets`` is what names where a secret
    comes from. ``table`` is ``"source"`` or ``"target"``.
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
        """The URL, fit to be shown: there is no password in it."""
        user = f"{_quoted(self.user, '')}@" if self.user else ""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{user}{host}{port}/{_quoted(self.path, '/')}"

    def allow(self, *names: str) -> None:
        """Raise `Unusable` when there is an option, or a secret, of another name."""
        for name in [*self.options, *self.secrets]:
            if name not in names:
                known = f"known: {', '.join(names)}" if names else f"{self.scheme}:// has none"
                raise Unusable(f"options.{name}", f"unknown option; {known}")


class EndpointFactory(Protocol):
    """What an entry point leads to."""

    def __call__(self, location: Location, /) -> Endpoint:
        """Give the endpoint of a place. Connects to nothing, and asks for no secret.

        Raises `Unusable` when the profile says what cannot be. Called anew for each run.
        """


class Unusable(Exception):
    """What the profile says of a place cannot be used.

    ``key`` is one of its table, such as ``"url"`` or ``"options.region"``; ``reason`` says why, and the way out.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key, self.reason = key, reason


def registered() -> list[str]:
    """Give the schemes of all that is plugged in."""
    return sorted({entry_point.name for entry_point in entry_points(group=GROUP)})


def find(scheme: str) -> list[EntryPoint]:
    """Give what is registered for a scheme: nothing, one, or several that are in each other's way."""
    for name in (scheme, scheme.partition("+")[0]):
        if found := [*{one.value: one for one in entry_points(group=GROUP, name=name)}.values()]:
            return found
    return []


def open_plugged(location: Location, where: str, hide: Callable[[str], str] = str) -> Endpoint:
    """Import what is registered for the place's scheme, and have it give the endpoint.

    Whatever goes wrong is a `ProfileError` of one line. ``where`` is how it names the table, ``hide`` takes secrets out
    of what a plug-in says.
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
    except (Exception, SystemExit) as error:  # it is not our code: what it raises is its author's affair
        raise broken("cannot be imported", error) from error
    if not callable(factory):
        raise broken(f"is no endpoint factory but a {type(factory).__name__}")
    try:
        endpoint = factory(location)
    except ProfileError:
        raise
    except Unusable as unusable:
        raise ProfileError(f"{where}.{unusable.key}: {display(hide(unusable.reason))}") from None
    except (Exception, SystemExit) as error:
        raise broken("failed", error) from error
    if missing := _missing(endpoint):
        raise broken(f"gave a {type(endpoint).__name__}, which is no endpoint: it has no {' and no '.join(missing)}")
    return endpoint


def unregistered(scheme: str, found: Collection[EntryPoint]) -> str:
    """Say why nothing can be opened for a scheme: nobody, or more than one, is registered for it."""
    if found:
        names = " and ".join(sorted(_named(one) for one in found))
        return f"{scheme}:// is registered twice, by {names}; remove one of them"
    plugged = ", ".join(f"{name}://" for name in registered() if name != "fsspec")
    return (
        f"not supported: {scheme}:// (use sftp://, ftpes://, ftps:// or ftp://, a directory for a mirror on this "
        f"machine, or what is plugged in: {plugged or 'nothing'}; for what else fsspec has, "
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
