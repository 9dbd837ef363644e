"""Reports and roots as texts in a journal."""

from __future__ import annotations

import functools
import json
from typing import TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from actorsync.journal.values.meta import Unreadable
from actorsync.model.entry import Root
from actorsync.model.report import Report

__all__ = ["dump", "parsed", "parsed_root"]

T = TypeVar("T")


@functools.cache
def _converter() -> cattrs.Converter:
    """Make the converter of JSON texts. The entry of a `Root` is called "root" there."""
    converter, root = cattrs.Converter(), override(rename="root")
    converter.register_unstructure_hook(Root, make_dict_unstructure_fn(Root, converter, entry=root))
    converter.register_structure_hook(Root, make_dict_structure_fn(Root, converter, entry=root))
    return converter


def dump(value: Report | Root) -> str:
    """Return a report or a root as JSON in ASCII, exact for any number and any path."""
    return json.dumps(_converter().unstructure(value))


def parsed_root(text: str) -> Root:
    """Return the root that `dump` has made a text of."""
    return parsed(text, Root)


def parsed(text: str | bytes, kind: type[T]) -> T:
    """Return the value that `dump` has made a text of. Raises `Unreadable` for any other text."""
    try:
        return _converter().structure(json.loads(text), kind)
    except Exception as error:  # cattrs raises many kinds of errors for malformed values
        raise Unreadable(f"not a {kind.__name__}") from error
