"""Names that a target may take for one, and what follows from that.

Windows and macOS know no difference between ``Img`` and ``img``; macOS and some file servers none between the composed
and the decomposed form of ``é``; Windows none between ``a`` and ``a.`` or ``a ``. `loosest_key` treats all of these
names as one. Two names with the same key are only *possibly* one: the target is asked before anything follows from it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from actorsync.classes import define, frozen
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, Record, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.reconcile import Action, Decision
from actorsync.planning.temporary_names import aside_name

__all__ = [
    "NAMES",
    "Dialogue",
    "ListNames",
    "Look",
    "NewSpelling",
    "Rename",
    "Twins",
    "change_spelling",
    "is_folding",
    "is_short_name",
    "loosest_key",
    "other_case",
    "other_form",
    "parting",
    "respelled",
    "seen_folding",
    "taken",
]

#: The trait of a target that says which names it takes for one: "case", "form", both with a comma, or "exact".
NAMES: Final = "names"

#: The short names that Windows gives to long ones, such as ``PROGRA~1`` or ``LONGNA~2.HTM``.
_SHORT_NAME: Final = re.compile(r"[^./]{1,6}~[0-9]{1,6}(\.[^./]{0,3})?")


def loosest_key(path: str) -> str:
    """Return the same text for all paths that some target takes for one.

    They differ in case, in Unicode form, or in dots and spaces at the end of names. The key of a path consists of the
    keys of its names.
    """
    if path.isascii():
        key = path.lower()
        if not ("./" in key or " /" in key or key.endswith((".", " "))):
            return key
    else:
        # Twice: folding the case of a composed letter can leave another form of it.
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    return "/".join(part.rstrip(". ") or part for part in key.split("/"))


def is_folding(trait: str) -> bool:
    """Return whether the trait `NAMES` says that a target takes different names for one."""
    return trait not in {"", "exact"}


def seen_folding(trait: str, *, case: bool | None, form: bool | None) -> str:
    """Return the trait `NAMES` of a target that was seen to fold case, or the Unicode form, or not.

    None stands for what was not seen: there, ``trait`` from an earlier run stays.
    """
    before = trait.split(",")
    seen = {"case": case, "form": form}
    folds = [name for name, is_folded in seen.items() if (name in before if is_folded is None else is_folded)]
    return ",".join(folds) or "exact"


def other_case(name: str) -> str:
    """Return a name with its ASCII letters in the other case.

    Other letters stay: a target may fold the case of ASCII letters only, and would not find the name with all changed.
    """
    return "".join(letter.swapcase() if letter.isascii() else letter for letter in name)


def other_form(name: str) -> str:
    """Return a name in its other Unicode form; the same name if it has only one."""
    decomposed = unicodedata.normalize("NFD", name)
    return decomposed if decomposed != name else unicodedata.normalize("NFC", name)


def is_short_name(path: str) -> bool:
    """Return whether the last component of ``path`` looks like the short name that Windows gives to a long one."""
    return _SHORT_NAME.fullmatch(name_of(path)) is not None


def taken(other: str | None) -> OperationRefused:
    """Return the refusal of an entry whose place is taken by ``other``, which the target takes for the same name.

    None stands for an entry with a longer name.
    """
    if other is None:
        return OperationRefused("the target takes it for the short form of a longer name; rename or exclude it")
    return OperationRefused(
        f"{display(other)!r} is in its place: the target takes both names for one; rename one of them, or exclude it"
    )


# The comparison: which entries of one directory only have another spelling.


def respelled(decisions: Iterable[Decision], present: Callable[[], Iterable[str]]) -> list[tuple[Entry, Record]]:
    """Return the new entries of one directory that may be entries of the target under another spelling.

    Each comes with the record of what is missing under the old spelling. ``present`` returns all names that the source
    has in this directory. No pair is made where the source has a third such name, which the target has as well: the
    target cannot hold all of them under one name, and only the new one is refused.
    """
    decisions = list(decisions)
    removed = [it.record for it in decisions if it.action is Action.REMOVE and it.record is not None]
    gone = [record for record in removed if record.source is not None]  # of a foreign entry, nothing is known
    new = [it.now for it in decisions if it.now is not None and _is_new(it)]
    if not (gone and new):
        return []
    missing: dict[str, list[Record]] = {}
    for record in gone:
        missing.setdefault(loosest_key(name_of(record.target.path)), []).append(record)
    pairs: dict[str, tuple[Entry, Record]] = {}
    for entry in sorted(new, key=lambda entry: entry.path):
        key = loosest_key(name_of(entry.path))
        records = missing.get(key)
        if records is not None and (key not in pairs or _is_likelier(entry, *pairs[key])):
            pairs[key] = entry, min(records, key=lambda record: not _is_same_kind(entry, record))
    if pairs:
        is_new = {name_of(entry.path) for entry in new}
        for key in {key for name in present() if name not in is_new and (key := loosest_key(name)) in pairs}:
            del pairs[key]
    return list(pairs.values())


def _is_new(decision: Decision) -> bool:
    is_sent = decision.action is Action.COPY or decision.action is Action.MAKE
    return is_sent and (decision.record is None or decision.record.is_removal_intended)


def _is_same_kind(entry: Entry, record: Record) -> bool:
    return record.source is not None and (entry.kind, entry.inode) == (record.source.kind, record.source.inode)


def _is_likelier(entry: Entry, other: Entry, record: Record) -> bool:
    return _is_same_kind(entry, record) and not _is_same_kind(other, record)


# Removals: which of them could take something that is wanted.


@define(eq=False)
class Twins:
    """Finds entries that the mirror keeps and that the target may take for one which is to be removed.

    ``names`` returns the names that the mirror has put into a directory of the target.
    """

    names: Callable[[str], Iterable[str]]
    _by_key: dict[str, Mapping[str, Sequence[str]]] = attrs.Factory(dict)
    _variants: dict[str, Sequence[str]] = attrs.Factory(dict)

    def of(self, path: str, going: Collection[str]) -> str | None:
        """Return another path with the key of ``path`` that is not among ``going``, or None."""
        return next((it for it in self._spellings(path) if it != path and it not in going), None)

    def _spellings(self, path: str) -> Sequence[str]:
        """Return all recorded paths with the key of ``path``."""
        if not path:
            return ("",)
        parent, key = parent_of(path), loosest_key(name_of(path))
        if parent not in self._variants:
            self._variants[parent] = self._spellings(parent)
        return [join(it, name) for it in self._variants[parent] for name in self._named(it).get(key, ())]

    def _named(self, directory: str) -> Mapping[str, Sequence[str]]:
        if directory not in self._by_key:
            found: dict[str, list[str]] = {}
            for name in self.names(directory):
                found.setdefault(loosest_key(name), []).append(name)
            self._by_key[directory] = found
        return self._by_key[directory]


def parting(path: str, twin: str) -> tuple[str, str, str]:
    """Return the directory in which two paths part, and the name of each in it.

    Only a listing of this directory that shows both names proves that the paths lead to two entries.
    """
    ours, theirs = path.split("/"), twin.split("/")
    depth = next(index for index, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    return "/".join(ours[:depth]), ours[depth], theirs[depth]


# The change of a spelling on the target.


@frozen
class NewSpelling:
    """An entry of the target that gets another spelling of its name, in the same directory.

    ``entry`` describes it under the old spelling. ``temporary`` is a path that the journal knows: the name beside it
    (see `aside_name`) is used where a target does not change the spelling in one step.
    """

    entry: Entry
    path: str
    temporary: str

    @property
    def aside(self) -> str:
        """The name between the old and the new spelling."""
        return join(parent_of(self.temporary), aside_name(name_of(self.temporary)))


@frozen
class ListNames:
    """Return the names in a directory, or an `OperationRefused` if they cannot be read completely."""

    directory: str


@frozen
class Look:
    """Return the entry that the target shows when it is asked for ``path`` by name, or None if there is none.

    The entry has ``path``, whatever its own spelling is.
    """

    path: str


@frozen
class Rename:
    """Rename ``old`` to ``new``. Return an `OperationRefused` if the target refuses, else None."""

    old: str
    new: str


Dialogue: TypeAlias = Generator["ListNames | Look | Rename", Any, list[Entry | OperationRefused]]
"""Yields what is to be done, and is sent the result. Returns the entries under the new spelling."""


def change_spelling(items: Sequence[NewSpelling]) -> Dialogue:
    """Change the spelling of names. A refused item keeps its name.

    An item is refused if the target has two entries, or finds nothing by the new spelling: then it tells the two names
    apart. The dialogue can be repeated over a new connection, with the same items. One rename is tried first, because
    the entry then has a name at every moment; some targets do nothing in it, and some refuse it. Only for those, the
    entry is renamed twice. A crash in between leaves it under the name beside the temporary, for `Session.sweep`.
    """
    listed = _Listed()
    results: dict[int, Entry | OperationRefused] = {}
    waiting: dict[int, NewSpelling] = {}
    for index, item in enumerate(items):
        refusal = yield from _prepare(item, listed)
        if refusal is not None:
            results[index] = refusal
        else:
            waiting[index] = item
    listed = _Listed()
    for item in waiting.values():
        names = yield from listed.names(parent_of(item.path))
        if isinstance(names, frozenset) and name_of(item.path) not in names:
            yield from _rename_twice(item, names)
    listed = _Listed()
    for index, item in waiting.items():
        results[index] = yield from _result(item, listed)
    return [results[index] for index in range(len(items))]


@define
class _Listed:
    """Names that were listed in one phase of the dialogue."""

    _known: dict[str, frozenset[str] | OperationRefused] = attrs.Factory(dict)

    def names(self, directory: str) -> Generator[ListNames, Any, frozenset[str] | OperationRefused]:
        if directory not in self._known:
            found = yield ListNames(directory)
            self._known[directory] = found if isinstance(found, OperationRefused) else frozenset(found)
        return self._known[directory]


_Step: TypeAlias = Generator["ListNames | Look | Rename", Any, "OperationRefused | None"]


def _prepare(item: NewSpelling, listed: _Listed) -> _Step:
    """Find out whether the target takes both spellings for one, and rename once. Returns a refusal, or None."""
    old, new = name_of(item.entry.path), name_of(item.path)
    names = yield from listed.names(parent_of(item.path))
    if isinstance(names, OperationRefused):
        return names
    if old in names and new in names:
        return OperationRefused("the target tells both spellings of its name apart")
    if new in names:
        return None  # an earlier call has renamed it
    if old not in names:
        if name_of(item.aside) in names:
            return None  # an earlier call has renamed it once
        return OperationRefused(f"not renamed: {display(item.entry.path)!r} no longer exists on the target")
    there = yield Look(item.path)
    if there is None:
        return OperationRefused("the target tells both spellings of its name apart")
    here = yield Look(item.entry.path)
    if not isinstance(here, Entry) or not _is_one(here, there):
        return OperationRefused("not renamed: both spellings of its name exist on the target")
    yield Rename(item.entry.path, item.path)  # a refusal shows in the listing that follows
    return None


def _is_one(here: Entry, there: Entry) -> bool:
    """Return whether two looks show one entry, as far as they tell."""
    return attrs.evolve(there, path=here.path) == here


def _rename_twice(item: NewSpelling, names: frozenset[str]) -> _Step:
    if name_of(item.entry.path) in names:
        refusal = yield Rename(item.entry.path, item.aside)
        if refusal is not None:
            return None  # `_result` reports what the target then shows
    refusal = yield Rename(item.aside, item.path)
    if refusal is not None:
        yield Rename(item.aside, item.entry.path)
    return None


def _result(item: NewSpelling, listed: _Listed) -> Generator[ListNames | Look, Any, Entry | OperationRefused]:
    names = yield from listed.names(parent_of(item.path))
    if isinstance(names, OperationRefused):
        return names
    if name_of(item.path) not in names:
        return OperationRefused(
            f"the target takes {display(name_of(item.entry.path))!r} and {display(name_of(item.path))!r} for one name, "
            "and did not change the spelling; rename one of them by hand, on the target or in the source"
        )
    found = yield Look(item.path)
    if not isinstance(found, Entry):
        return OperationRefused("after the rename the target does not show it")
    if found.kind is not item.entry.kind and Kind.DIRECTORY in {found.kind, item.entry.kind}:
        return OperationRefused("after the rename the target shows an entry of another kind")
    return found
