"""How the keys of several targets are told apart, on the command line and in variables: by the targets' names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from actorsync.classes import frozen
from actorsync.profile.document import refuse
from actorsync.profile.known_keys import KEYS, kebab, suggestion, unknown_key, variable_name, with_name
from actorsync.profile.values.readers import Site
from actorsync.profile.values.service_readers import read_name

__all__ = ["TargetKeys", "names_of", "nearest_name"]

#: Keys that tell one target from another, or may hold secrets: no value can be that of all of them.
_OF_ONE = ("target.url", "target.name", "target.options")
_PREFIX = "ACTORSYNC_TARGET_"


def nearest_name(wrong: str, names: Sequence[str]) -> str:
    """Return the closest of the names as the end of a message; all of them if none is close."""
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}"


def names_of(site: Site, targets: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Return the names of the targets, ``""`` for a single one without. Raises `ProfileError` unless all differ."""
    if len(targets) == 1 and "name" not in targets[0]:
        return ("",)
    names: list[str] = []
    for number, table in enumerate(targets, 1):
        key = f"target {number} of {len(targets)}" if len(targets) > 1 else "target.name"
        if "name" not in table:
            refuse(site.name, key, 'has no name, which each of several targets needs; add name = "berlin" to it')
        try:
            name = read_name(table["name"], site)
        except ValueError as error:
            refuse(site.name, key, f"name {error}" if len(targets) > 1 else str(error))
        if name in names:
            refuse(site.name, key, f"its name is {name}, like that of target {names.index(name) + 1}; use another one")
        names.append(name)
    if (ambiguity := TargetKeys(tuple(names)).ambiguity()) is not None:
        name, variable = ambiguity
        refuse(site.name, f"target.{name}", f"with this name, {variable} would have two meanings; use another name")
    return tuple(names)


@frozen
class TargetKeys:
    """The keys of a profile whose targets have these names; ``("",)`` for one target without a name."""

    names: tuple[str, ...]

    @property
    def is_several(self) -> bool:
        return len(self.names) > 1

    def parted(self, written: str) -> tuple[str, str]:
        """Return the known key that is written, and the name of the only target that it is for, or ``""``.

        Raises `ValueError` with what is wrong: no such key, no such target, or a key that all targets cannot share.
        """
        section, _, rest = written.partition(".")
        name, dot, noun = rest.partition(".")
        if section == "target" and dot:
            key = f"target.{noun}"
            named = [one for one in self.names if one]
            if name not in named:
                raise ValueError(f"no target is named {name}{nearest_name(name, named)}" if named else unknown_key(key))
            if key not in KEYS:
                raise ValueError(f"unknown key{suggestion(key, lambda one: with_name(one, name))}")
            return key, name
        if written not in KEYS:
            raise ValueError(unknown_key(written))
        if (fault := self._shared_fault(written)) is not None:
            raise ValueError(f"{fault}; write it as {with_name(written, self.names[0])}")
        return written, ""

    def variables(self) -> dict[str, tuple[str, str]]:
        """Return each variable of the environment that sets a key, with what `parted` returns for it."""
        found = {variable_name(key): (key, "") for key in KEYS}
        for name in filter(None, self.names):
            for key in KEYS:
                if key.startswith("target."):
                    found.setdefault(_variable(key, name), (key, name))
        return found

    def variable_fault(self, variable: str) -> str | None:
        """Return why a known variable cannot be used; None if it can."""
        key, name = self.variables()[variable]
        if name or (fault := self._shared_fault(key)) is None:
            return None
        return f"{fault}; use {_variable(key, self.names[0])}"

    def ambiguity(self) -> tuple[str, str] | None:
        """Return a name that cannot be used, and a variable that would then have two meanings; None if all can be."""
        taken = {variable_name(key): "" for key in KEYS}
        for name in filter(None, self.names):
            for key in KEYS:
                if key.startswith("target.") and taken.setdefault(variable := _variable(key, name), name) != name:
                    return name, variable
        return None

    def nearest_variable(self, unknown: str) -> str:
        """Return the closest known variable as the end of a message."""
        near = difflib.get_close_matches(unknown, self.variables(), n=1, cutoff=0.85) if any(self.names) else []
        if near and unknown.startswith(_PREFIX):
            return f"; did you mean {near[0]}?"
        section, _, key = unknown.removeprefix("ACTORSYNC_").lower().replace("_", "-").partition("-")
        return suggestion(f"{section}.{key}", variable_name)

    def _shared_fault(self, key: str) -> str | None:
        """Return why a key must not be set for all targets together."""
        if not self.is_several or not key.startswith("target."):
            return None
        if key in _OF_ONE:
            return "there are several targets, and each has its own"
        if KEYS[key].metadata["is_secret"]:
            return f"there are several targets, and each would be shown this {kebab(KEYS[key].name)}"
        return None


def _variable(key: str, name: str) -> str:
    return variable_name(with_name(key, name))
