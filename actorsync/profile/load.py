"""Load a profile: from the TOML file, the environment and ``--set`` to a `Profile`, or to a one-line error."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import attrs

from actorsync.classes import frozen
from actorsync.planning.doubts import variable_in
from actorsync.profile.audit import AuditTable
from actorsync.profile.consistency import fault_of, fault_of_all
from actorsync.profile.document import plain_secrets, read_document, refuse
from actorsync.profile.known_keys import KEYS, SECTIONS, kebab, unknown_key, with_name
from actorsync.profile.login import LoginTable, Misfit, with_login
from actorsync.profile.release import HooksTable, PublishTable, TrashTable
from actorsync.profile.schema import Profile, Shutdown, Sync
from actorsync.profile.service import ObserveTable, WatchTable
from actorsync.profile.sides import SourceTable, TargetTable
from actorsync.profile.target_keys import TargetKeys, names_of, nearest_name
from actorsync.profile.values.place import Place
from actorsync.profile.values.readers import Site

__all__ = ["MADE", "load_profile", "load_profiles", "make_profile", "make_profiles"]

#: What stands for the path of a profile that a program makes.
MADE = "<program>"


@frozen
class _Document:
    source: SourceTable
    target: TargetTable
    sync: Sync
    audit: AuditTable
    shutdown: Shutdown
    publish: PublishTable
    hooks: HooksTable
    trash: TrashTable
    watch: WatchTable
    observe: ObserveTable


def load_profile(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, object] = MappingProxyType({}),
    needs_keys: bool = True,
    only: Sequence[str] = (),
) -> Profile:
    """Read and check the profile at ``path``, which has one target, or of which ``only`` names one.

    Raises `ProfileError`, with a message of one line, for every mistake. The arguments are as in `load_profiles`.
    """
    profiles = load_profiles(path, overrides, values=values, needs_keys=needs_keys, only=only)
    if len(profiles) > 1:
        names = ", ".join(profile.name for profile in profiles)
        refuse(str(path), "", f"has several targets, and this works on one; add --only NAME, with one of {names}")
    return profiles[0]


def load_profiles(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, object] = MappingProxyType({}),
    needs_keys: bool = True,
    only: Sequence[str] = (),
) -> tuple[Profile, ...]:
    """Read and check the profile at ``path``, and return a profile for each of its targets, in the order of the file.

    Raises `ProfileError`, with a message of one line, for every mistake.

    ``overrides`` are ``section.key=value``, as ``--set`` takes them. ``values`` are the same for a program: a value is
    what TOML would make of it, or a text as in ``overrides``. Both take precedence over the environment
    (``ACTORSYNC_SECTION_KEY``), and the environment over the file. ``target.NAME.key`` is for one target,
    ``target.key`` for all of them. Without ``needs_keys``, key and certificate files need not exist; that is for
    callers that do not log in. With ``only``, the targets of these names are returned; the others are checked, but for
    their key and certificate files. Blocks: call it before trio runs, or in a worker thread.
    """
    file = str(path)
    document = read_document(path)
    keys = TargetKeys(names_of(Site(file, path.parent), document.targets))
    for name in only:
        if name not in keys.names or not name:
            named = [one for one in keys.names if one]
            more = nearest_name(name, named) if named else "; the profile has one target, without a name"
            refuse(file, "", f"no target is named {name}{more}")
    found = []
    for number, name in enumerate(keys.names):
        loader = _Loader(path, keys, name, needs_keys=needs_keys and (not only or name in only))
        tables = document.of_target(number)
        loader.apply_environment(tables, os.environ)
        loader.apply_overrides(tables, overrides)
        loader.apply_values(tables, values)
        found.append(loader.load(tables))
    return _checked(file, found, only)


def make_profile(tables: Mapping[str, Mapping[str, object]]) -> Profile:
    """Check a profile that a program gives as its tables, by name. No file and no environment variable takes part.

    A relative path is relative to the current directory. Raises and blocks as `load_profile` does.
    """
    (profile,) = make_profiles(tables)
    return profile


def make_profiles(tables: Mapping[str, Mapping[str, object] | Sequence[Mapping[str, object]]]) -> tuple[Profile, ...]:
    """Check a profile that a program gives, as `make_profile` does. ``target`` may be a sequence of tables.

    Returns a profile for each target.
    """
    rest = {section: table for section, table in tables.items() if section != "target" and isinstance(table, Mapping)}
    given = tables.get("target", {})
    targets = [given] if isinstance(given, Mapping) else list(given)
    keys = TargetKeys(names_of(Site(MADE, Path()), targets))
    found = []
    for name, target in zip(keys.names, targets, strict=True):
        loader = _Loader(Path(MADE), keys, name)
        document: dict[str, Any] = {section: {} for section in SECTIONS}
        for section, table in rest.items():
            loader.put_table(document, section, table)
        loader.put_table(document, "target", target)
        found.append(loader.load(document))
    return _checked(MADE, found, ())


def _checked(file: str, profiles: Sequence[Profile], only: Sequence[str]) -> tuple[Profile, ...]:
    """Return the profiles that ``only`` names, or all, once they are known to go together."""
    if (fault := fault_of_all(profiles)) is not None:
        name, key, reason = fault
        refuse(file, with_name(key, name), reason)
    chosen = []
    for profile in profiles:
        siblings = tuple(other.target for other in profiles if other is not profile)
        if not only or profile.name in only:
            chosen.append(attrs.evolve(profile, siblings=siblings))
    return tuple(chosen)


class _Loader:
    """The state of one load of one target: the names in its errors, and the origin of each overridden key."""

    def __init__(self, path: Path, keys: TargetKeys, name: str, *, needs_keys: bool = True) -> None:
        self._path, self._keys, self._name, self._needs_keys = path, keys, name, needs_keys
        self._shown = name if keys.is_several else ""
        self._site = Site(str(path), Path(os.path.realpath(path.parent)))
        self._origins: dict[str, str] = {}
        self._document: dict[str, Any] = {}

    def load(self, document: dict[str, Any]) -> Profile:
        """Return the profile that the tables of ``document`` describe."""
        self._document = document
        structured = self._structure(document)
        profile = Profile(
            path=self._site.base / self._path.name,
            source=self._source(structured.source),
            target=self._place("target", structured.target.url, structured.target),
            sync=structured.sync,
            audit=structured.audit,
            shutdown=structured.shutdown,
            publish=structured.publish,
            hooks=structured.hooks,
            trash=structured.trash,
            watch=structured.watch,
            observe=structured.observe,
            name=structured.target.name,
            is_canary=structured.target.canary,
            canary_check=structured.target.canary_check,
        )
        if (fault := fault_of(profile, _given(document, structured))) is not None:
            self._fail(*fault)
        return profile

    def _fail(self, key: str, reason: str) -> NoReturn:
        """Raise a one-line error about a key. Line breaks and control characters in names and values are escaped."""
        if variable := self._variable(key):
            reason += f" ({variable} is taken literally: variables are not replaced in a profile)"
        refuse(self._site.name, self._origins.get(key, with_name(key, self._shown)), reason)

    def _variable(self, key: str) -> str | None:
        """Return the variable that was written for a path or a URL, and that may be what is wrong with it."""
        if key not in KEYS or KEYS[key].metadata["is_secret"]:
            return None
        section, _, name = key.partition(".")
        value = self._document.get(section, {}).get(name)
        return variable_in(value, os.environ.__contains__) if isinstance(value, str) else None

    def apply_environment(self, document: dict[str, Any], environ: Mapping[str, str]) -> None:
        """Replace values by those of variables ``ACTORSYNC_SECTION_KEY`` or ``ACTORSYNC_TARGET_NAME_KEY``."""
        variables = self._keys.variables()
        sections = tuple(f"ACTORSYNC_{section.upper()}_" for section in SECTIONS)
        given = sorted(variable for variable in environ if variable.startswith(sections))
        for variable in given:
            if variable not in variables:
                nearest = self._keys.nearest_variable(variable)
                self._fail(variable, f"environment variable for an unknown key{nearest}")
            if (fault := self._keys.variable_fault(variable)) is not None:
                self._fail(variable, fault)
        # What is for one target comes after what is for all.
        for variable in sorted(given, key=lambda one: bool(variables[one][1])):
            key, name = variables[variable]
            if name not in {"", self._name}:
                continue
            self._origins[key] = f"{variable} ({with_name(key, name)})"
            # A secret is taken literally: `true` and `12` are valid passwords.
            is_secret = KEYS[key].metadata["is_secret"]
            _put(document, key, environ[variable] if is_secret else _override_value(key, environ[variable]))

    def apply_overrides(self, document: dict[str, Any], overrides: Sequence[str]) -> None:
        """Replace values by those of texts ``section.key=value`` or ``target.NAME.key=value``."""
        given = []
        for text in overrides:
            written, equals, value = text.partition("=")
            written = written.strip()
            if not equals:
                # The error does not quote the text: it may be a password.
                self._fail("--set", "has no value; write it like --set sync.connections=2")
            key, name = self._parted(written, f"--set {written}")
            parsed = _override_value(key, value)
            secrets = [kebab(KEYS[key].name)] if KEYS[key].metadata["is_secret"] and isinstance(parsed, str) else []
            for noun in secrets or (plain_secrets(parsed) if KEYS[key].name == "options" else []):
                reason = f"a {noun} here would be visible to others in the process list"
                self._fail(f"--set {written}", f"{reason}; set it in the profile")
            given.append((key, name, written, parsed))
        for key, name, written, parsed in sorted(given, key=lambda one: bool(one[1])):
            if name in {"", self._name}:
                self._origins[key] = f"--set {written}"
                _put(document, key, parsed)

    def apply_values(self, document: dict[str, Any], values: Mapping[str, object]) -> None:
        """Replace values by those of a program, by ``section.key`` or ``target.NAME.key``."""
        given = [(*self._parted(written, written), value) for written, value in values.items()]
        for key, name, value in sorted(given, key=lambda one: bool(one[1])):
            if name in {"", self._name}:
                self._put_value(document, key, value)

    def put_table(self, document: dict[str, Any], section: str, table: Mapping[str, object]) -> None:
        """Put the values of a program for one table, whose keys may be written with ``_``."""
        for noun, value in table.items():
            key = f"{section}.{noun.replace('_', '-')}"
            if key not in KEYS:
                self._fail(key, unknown_key(key))
            self._put_value(document, key, value)

    def _put_value(self, document: dict[str, Any], key: str, value: object) -> None:
        if value is None:
            self._fail(key, "None is no value; leave the key out")
        given = _override_value(key, value) if isinstance(value, str) else _as_in_toml(value)
        # A secret is taken literally, as from the environment; a table says where it comes from.
        _put(document, key, value if KEYS[key].metadata["is_secret"] and not isinstance(given, dict) else given)

    def _parted(self, written: str, origin: str) -> tuple[str, str]:
        try:
            return self._keys.parted(written)
        except ValueError as error:
            refuse(self._site.name, origin, str(error))

    def _structure(self, document: dict[str, Any]) -> _Document:
        """Return the tables as classes. Each field's reader reads its value."""
        unknown: list[str] = []
        unread: list[tuple[str, str]] = []
        tables: dict[str, Any] = {}
        for section, table in SECTIONS.items():
            values: dict[str, object] = {}
            fields = {kebab(field.name): field for field in attrs.fields(table)}
            unknown += [f"{section}.{noun}" for noun in sorted(document[section].keys() - fields.keys())]
            site = attrs.evolve(self._site, table=section, target=self._shown if section == "target" else "")
            for noun, field in fields.items():
                key = f"{section}.{noun}"
                if noun in document[section]:
                    try:
                        values[field.name] = field.metadata["reader"](document[section][noun], site)
                    except ValueError as error:
                        unread.append((key, str(error)))
                elif field.default is attrs.NOTHING:
                    unread.append((key, _missing(key)))
            tables[section] = (table, values)
        unknown += sorted(document.keys() - SECTIONS.keys())
        if unknown:  # a misspelt key first: often another key is missing because of it
            self._fail(unknown[0], unknown_key(unknown[0]))
        if not document["source"].keys() & {"path", "url"}:
            self._fail("source.path", _missing("source.path"))
        if unread:
            self._fail(*unread[0])
        return _Document(**{section: table(**values) for section, (table, values) in tables.items()})

    def _source(self, table: SourceTable) -> Place:
        """Return the place that the keys of ``[source]`` describe."""
        if table.path is not None and table.url is not None:
            self._fail("source.url", "source.path is set as well; remove one of them")
        if table.url is not None:
            return self._place("source", table.url, table)
        if table.path is None:
            self._fail("source.path", _missing("source.path"))
        return self._place("source", Place("file", os.fspath(table.path)), table)

    def _place(self, name: str, place: Place, table: LoginTable) -> Place:
        try:
            named = f"{name}.{self._shown}" if self._shown and name == "target" else name
            where = f"{self._site.name}: {named}"
            return with_login(attrs.evolve(place, where=where), table, name, needs_keys=self._needs_keys)
        except Misfit as misfit:
            self._fail(f"{name}.{kebab(misfit.key)}", str(misfit))


def _given(document: Mapping[str, Any], structured: _Document) -> dict[str, object]:
    """Return the keys that ``document`` has, with the values that were read."""
    return {
        key: getattr(getattr(structured, section), field.name)
        for key, field in KEYS.items()
        for section, _, noun in [key.partition(".")]
        if noun in document[section]
    }


def _missing(key: str) -> str:
    """Return the reason of the error for a key that has to be there."""
    return f"missing; add {KEYS[key].metadata['example']} to [{key.partition('.')[0]}]"


def _override_value(key: str, text: str) -> Any:
    """Return the value of ``text``: read as TOML; if that fails, or if the key takes strings, ``text`` itself."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if len(document) != 1 or (KEYS[key].metadata["is_text"] and not isinstance(document["value"], str)):
        return text
    return document["value"]


def _as_in_toml(value: object) -> object:
    """Return a value of a program in the form that `tomllib` would return."""
    match value:
        case os.PathLike():
            return os.fspath(value)
        case list() | tuple() | set() | frozenset():
            return [_as_in_toml(one) for one in value]
        case dict():
            return {str(name): _as_in_toml(one) for name, one in value.items()}
        case _:
            return value


def _put(document: dict[str, Any], key: str, value: object) -> None:
    section, _, name = key.partition(".")
    document[section][name] = value
