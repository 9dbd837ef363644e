"""``define`` and ``frozen`` of attrs, for classes that cost less when they are imported.

attrs writes the source of ``__init__``, ``__repr__``, ``__eq__`` and ``__hash__`` of each class and compiles it. With
hundreds of classes this was two fifths of a run with nothing to do, and most of these methods are never called. Here
``__repr__`` is one function for all classes, and ``__eq__`` and ``__hash__`` are compiled when they are first called.
Their results are those of attrs.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

__all__ = ["define", "frozen"]


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    """Return the class and its fields as attrs shows them."""
    shown = []
    for field in attrs.fields(type(self)):
        if field.repr:
            text = repr if field.repr is True else field.repr
            shown.append(f"{field.name}={text(getattr(self, field.name, attrs.NOTHING))}")
    return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def _compile_later(cls: type, name: str, parameters: str, body: str) -> None:
    """Add a method that compiles the real one when it is first called, and puts that in its own place."""

    def first(*arguments: object) -> Any:
        made: dict[str, Any] = {}
        exec(f"def {name}({parameters}):\n    {body}", {}, made)  # noqa: S102 - names of fields, and nothing else
        setattr(cls, name, made[name])
        return made[name](*arguments)

    setattr(cls, name, first)


def _add_comparison(cls: Any, *, is_frozen: bool, has_hash: bool) -> None:
    """Compare the objects of a class by their fields. Frozen ones have a hash of the same fields, others have none."""
    names = [field.name for field in attrs.fields(cls) if field.eq]
    same = " and ".join(f"self.{name} == other.{name}" for name in names) or "True"
    _compile_later(
        cls, "__eq__", "self, other", f"return ({same}) if other.__class__ is self.__class__ else NotImplemented"
    )
    if has_hash:
        return
    if is_frozen:
        fields = "".join(f", self.{name}" for name in names)
        _compile_later(cls, "__hash__", "self", f"return hash(({hash(cls.__qualname__)}{fields}))")
    else:
        cls.__hash__ = None


def _made(make: Callable[..., Any], cls: type, eq: bool, settings: dict[str, Any]) -> Any:
    """Return the class as ``make`` of attrs does it, with the methods of this module. Those of its own stay."""
    own = vars(cls)
    has_repr, has_eq, has_hash = ("__repr__" in own, "__eq__" in own, "__hash__" in own)
    made = make(cls, repr=False, eq=False, **settings)
    if not has_repr:
        made.__repr__ = _repr
    if eq and not has_eq:
        _add_comparison(made, is_frozen=make is attrs.frozen, has_hash=has_hash)
    return made


if TYPE_CHECKING:
    from attrs import define, frozen  # by these names, type checkers know what they do
else:

    def define(cls=None, *, eq=True, **settings):
        """Return a class with slots, like `attrs.define`."""
        return _made(attrs.define, cls, eq, settings) if cls else lambda it: _made(attrs.define, it, eq, settings)

    def frozen(cls=None, *, eq=True, **settings):
        """Return a class with slots whose objects cannot be changed, like `attrs.frozen`."""
        return _made(attrs.frozen, cls, eq, settings) if cls else lambda it: _made(attrs.frozen, it, eq, settings)
