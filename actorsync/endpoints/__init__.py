"""The public face for authors of endpoints: all that an endpoint of your own needs, beside ``actorsync.errors``.

* The contract: `Endpoint`, `Session` and what they handle; `Source` and `ReadSession` for a place that is only read.
* The short way: `SimpleSession`, a session made of blocking functions.
* The entry point of a URL scheme: `EndpointFactory`, `Location`, `Unusable`.
* Hints about changed directories: `Watching`, `Hints`, `HintQueue`.
* The nouns: `Entry`, `Kind`, `Listing`, and the functions for paths.

docs/endpoints.md explains them. The names in ``__all__`` are public. The modules and subpackages of this package are
internal and may change: ``contract``, ``simple`` and ``plugins`` define these names; ``local``, ``memory``, ``ftp``,
``sftp``, ``fsspec`` implement the contract, and each passes ``actorsync.testing.check_endpoint``; ``ssh`` and
``shared`` are what several of them use; ``wrappers`` holds dry runs, limits and transforms. Errors of the system, of
trio and of servers become errors of ``actorsync.errors`` here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actorsync.endpoints.contract import (
        Admit,
        BulkListing,
        Capabilities,
        Content,
        Endpoint,
        ModeSetter,
        PrefetchingSession,
        ReadSession,
        Relocation,
        Session,
        Source,
        Staged,
        Upload,
        nothing_ahead,
    )
    from actorsync.endpoints.hints import Dirty, Hint, HintQueue, Hints, Lost, Watching
    from actorsync.endpoints.plugins import EndpointFactory, Location, OptionValue, Reveal, Unusable
    from actorsync.endpoints.simple import SimpleSession
    from actorsync.model.entry import Entry, Kind, Listing, Problem, Root, join, name_of, parent_of
    from actorsync.model.row import ListingRows, Row
    from actorsync.model.text import display
    from actorsync.planning.selection import Selection

__all__ = [
    "Admit",
    "BulkListing",
    "Capabilities",
    "Content",
    "Dirty",
    "Endpoint",
    "EndpointFactory",
    "Entry",
    "Hint",
    "HintQueue",
    "Hints",
    "Kind",
    "Listing",
    "ListingRows",
    "Location",
    "Lost",
    "ModeSetter",
    "OptionValue",
    "PrefetchingSession",
    "Problem",
    "ReadSession",
    "Relocation",
    "Reveal",
    "Root",
    "Row",
    "Selection",
    "Session",
    "SimpleSession",
    "Source",
    "Staged",
    "Unusable",
    "Upload",
    "Watching",
    "display",
    "join",
    "name_of",
    "nothing_ahead",
    "parent_of",
]

#: The module that defines each name. It is imported on first use: a run without plug-ins needs few of them.
_HOMES: Final = {
    **dict.fromkeys(("EndpointFactory", "Location", "OptionValue", "Reveal", "Unusable"), "endpoints.plugins"),
    **dict.fromkeys(("Entry", "Kind", "Listing", "Problem", "Root"), "model.entry"),
    **dict.fromkeys(("join", "name_of", "parent_of"), "model.entry"),
    **dict.fromkeys(("ListingRows", "Row"), "model.row"),
    **dict.fromkeys(("Dirty", "Hint", "HintQueue", "Hints", "Lost", "Watching"), "endpoints.hints"),
    "SimpleSession": "endpoints.simple",
    "Selection": "planning.selection",
    "display": "model.text",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"actorsync.{_HOMES.get(name, 'endpoints.contract')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
