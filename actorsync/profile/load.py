"""Load a profile: from the TOML file, the environment and ``--set`` to a `Profile`, or to a one-line error."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from actorsync.endpoints.shared.private_files import is_exposed, is_mounted_secret
from actorsync.errors import ProfileError
from actorsync.planning.doubts import variable_in
from actorsync.profile.audit import AuditTable
from actorsync.profile.consistency import fault_of
from actorsync.profile.known_keys import KEYS, SECTIONS, kebab, suggestion, unknown_key, variable_name
from actorsync.profile.login import LoginTable, Misfit, with_login
from actorsync.profile.release import HooksTable, PublishTable, TrashTable
from actorsync.profile.schema import Profile, Shutdown, Sync
from actorsync.profile.secrets.files import PLAN_BEGINNING, one_line, read_regular, toml_fault
from actorsync.profile.secrets.secret import looks_secret
from actorsync.profile.service import ObserveTable, WatchTable
from actorsync.profile.sides import SourceTable, TargetTable
from actorsync.profile.values.place import Place
from actorsync.profile.values.readers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MADE", "load_profile", "make_profile"]

#: What stands for the path of a profile that a program makes.
MADE = "<program>"
_MAX_BYTES = 1_048_576


@attrs.frozen
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
) -> Profile:
    """Read and check the profile at ``path``. Raises `ProfileError`, with a message of one line, for every mistake.

    ``overrides`` are ``section.key=value``, as ``--set`` takes them. ``values`` are the same for a program: a value is
    what TOML would make of it, or a text as in ``overrides``. Both take precedence over the environment
    (``ACTORSYNC_SECTION_KEY``), and the environment over the file. Without ``needs_keys``, key and certificate files
    need not exist; that is for callers that do not log in. Blocks: call it before trio runs, or in a worker thread.
    """
    loader = _Loader(path, needs_keys=needs_keys)
    document = loader.read()
    loader.apply_environment(document, os.environ)
    loader.apply_overrides(document, overrides)
    loader.apply_values(document, values)
    return loader.load(document)


def make_profile(tables: Mapping[str, Mapping[str, object]]) -> Profile:
    """Check a profile that a program gives as its tables, by name. No file and no environment variable takes part.

    A relative path is relative to the current directory. Raises and blocks as `load_profile` does.
    """
    loader = _Loader(Path(MADE))
    document: dict[str, Any] = {section: {} for section in SECTIONS}
    for section, table in tables.items():
        loader.apply_values(document, {f"{section}.{name.replace('_', '-')}": value for name, value in table.items()})
    return loader.load(document)


class _Loader:
    """The state of one load: the file's name, and for each overridden key the name of its origin."""

    def __init__(self, path: Path, *, needs_keys: bool = True) -> None:
        self._path, self._needs_keys = path, needs_keys
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
        if (fault := fault_of(profile)) is not None:
            self._fail(*fault)
        return profile

    def _fail(self, key: str, reason: str) -> NoReturn:
        """Raise a one-line error. Line breaks and control characters in names and values are escaped."""
        origin = self._origins.get(key, key)
        if variable := self._variable(key):
            reason += f" ({variable} is taken literally: variables are not replaced in a profile)"
        line = f"{self._site.name}: {origin}: {reason}" if origin else f"{self._site.name}: {reason}"
        raise ProfileError(one_line(line)) from None

    def _variable(self, key: str) -> str | None:
        """Return the variable that was written for a path or a URL, and that may be what is wrong with it."""
        if key not in KEYS or KEYS[key].metadata["is_secret"]:
            return None
        section, _, name = key.partition(".")
        value = self._document.get(section, {}).get(name)
        return variable_in(value, os.environ.__contains__) if isinstance(value, str) else None

    def read(self) -> dict[str, Any]:
        """Return the tables of the file. Every table that can have keys is there."""
        try:
            raw, status = read_regular(self._path, _MAX_BYTES)
        except FileNotFoundError:
            if ":/" in str(self._path):
                self._fail("", "is a URL, not a profile; run: actorsync init, and set target.url in the new profile")
            self._fail("", "no such file; create one with: actorsync init")
        except OSError as error:
            if os.path.isdir(self._path):
                self._fail("", "is a directory, not a profile; run: actorsync init, and set source.path there")
            self._fail("", f"cannot be read: {error.strerror}; name a profile that can be read")
        if raw.startswith(PLAN_BEGINNING):
            self._fail("", f"is a saved plan, not a profile; run: actorsync apply PROFILE {self._site.name}")
        try:
            document = tomllib.loads(raw.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            self._fail("", f"is not UTF-8 text (byte {error.start}); save it as UTF-8")
        except RecursionError:
            self._fail("", "is not valid TOML: nested too deeply")
        except ValueError as error:  # TOMLDecodeError is one, and a number of thousands of digits raises a bare one
            self._fail("", f"is not valid TOML: {toml_fault(error, raw)}")
        for section in SECTIONS:
            if not isinstance(document.setdefault(section, {}), dict):
                self._fail(section, f"is not a table; write it as [{section}]")
        for key, field in KEYS.items():
            table = document.get(key.partition(".")[0])
            noun = kebab(field.name)
            if field.metadata["is_secret"] and isinstance(table, dict) and isinstance(table.get(noun), str):
                self._check_private(key, noun, status)
            if field.name == "options" and isinstance(table, dict):
                for name in _plain_secrets(table.get("options")):
                    self._check_private(f"{key}.{name}", name, status)
        return document

    def _check_private(self, key: str, noun: str, status: os.stat_result) -> None:
        """Reject a secret in a profile that other users can access, as ssh does with keys.

        A profile that is itself a mounted secret may belong to root, and be reached through a symbolic link.
        """
        instead = f'use {noun} = {{ env = "..." }}'
        if is_mounted_secret(self._path, status):
            return
        if is_exposed(self._path, status):
            mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
            way_out = f"run: chmod 600 {self._site.name}, or {instead}"
            self._fail(key, f"the profile contains a {noun}, and other users can access it ({mode}); {way_out}")
        if status.st_uid != os.geteuid():
            self._fail(key, f"the profile contains a {noun}, and another user owns it; {instead}")
        if self._path.is_symlink():
            self._fail(key, f"the profile contains a {noun}, and it is a symbolic link; use the path of its target")

    def apply_environment(self, document: dict[str, Any], environ: Mapping[str, str]) -> None:
        """Replace values by those of variables ``ACTORSYNC_SECTION_KEY``."""
        names = {variable_name(key): key for key in KEYS}
        sections = tuple(f"ACTORSYNC_{section.upper()}_" for section in SECTIONS)
        for name in sorted(name for name in environ if name.startswith(sections)):
            if name not in names:
                section, _, key = name.removeprefix("ACTORSYNC_").lower().replace("_", "-").partition("-")
                nearest = suggestion(f"{section}.{key}", variable_name)
                self._fail(name, f"environment variable for an unknown key{nearest}")
            key = names[name]
            self._origins[key] = f"{name} ({key})"
            # A secret is taken literally: `true` and `12` are valid passwords.
            is_secret = KEYS[key].metadata["is_secret"]
            _put(document, key, environ[name] if is_secret else _override_value(key, environ[name]))

    def apply_overrides(self, document: dict[str, Any], overrides: Sequence[str]) -> None:
        """Replace values by those of texts ``section.key=value``."""
        for text in overrides:
            key, equals, value = text.partition("=")
            key = key.strip()
            if not equals:
                # The error does not quote the text: it may be a password.
                self._fail("--set", "has no value; write it like --set sync.connections=2")
            if key not in KEYS:
                self._fail(f"--set {key}", unknown_key(key))
            self._origins[key] = f"--set {key}"
            parsed = _override_value(key, value)
            secrets = [kebab(KEYS[key].name)] if KEYS[key].metadata["is_secret"] and isinstance(parsed, str) else []
            for name in secrets or (_plain_secrets(parsed) if KEYS[key].name == "options" else []):
                reason = f"a {name} here would be visible to others in the process list"
                self._fail(key, f"{reason}; set it in the profile")
            _put(document, key, parsed)

    def apply_values(self, document: dict[str, Any], values: Mapping[str, object]) -> None:
        """Replace values by those of a program, by ``section.key``."""
        for key, value in values.items():
            if key not in KEYS:
                self._fail(key, unknown_key(key))
            if value is None:
                self._fail(key, "None is no value; leave the key out")
            given = _override_value(key, value) if isinstance(value, str) else _as_in_toml(value)
            # A secret is taken literally, as from the environment; a table says where it comes from.
            _put(document, key, value if KEYS[key].metadata["is_secret"] and not isinstance(given, dict) else given)

    def _structure(self, document: dict[str, Any]) -> _Document:
        try:
            structured = _converter(self._site).structure(document, _Document)
        except cattrs.ClassValidationError as group:
            faults = list(_faults(group))
            if not document["source"].keys() & {"path", "url"}:
                faults.insert(0, ("source.path", KeyError("path")))  # report the first missing key of the file
            self._explain(faults)
        return structured

    def _explain(self, faults: list[tuple[str, Exception]]) -> NoReturn:
        """Raise the error in ``faults`` that most likely causes the others."""
        # A misspelt key first: often another key is missing because of it.
        faults.sort(key=lambda fault: not isinstance(fault[1], cattrs.ForbiddenExtraKeysError))
        key, error = faults[0]
        if isinstance(error, cattrs.ForbiddenExtraKeysError):
            unknown = ".".join(filter(None, (key, min(error.extra_fields))))
            self._fail(unknown, unknown_key(unknown))
        if isinstance(error, KeyError):
            self._fail(key, f"missing; add {KEYS[key].metadata['example']} to [{key.partition('.')[0]}]")
        self._fail(key, str(error))

    def _source(self, table: SourceTable) -> Place:
        """Return the place that the keys of ``[source]`` describe."""
        if table.path is not None and table.url is not None:
            self._fail("source.url", "source.path is set as well; remove one of them")
        if table.url is not None:
            return self._place("source", table.url, table)
        if table.path is None:
            self._fail("source.path", f"missing; add {KEYS['source.path'].metadata['example']} to [source]")
        return self._place("source", Place("file", os.fspath(table.path)), table)

    def _place(self, name: str, place: Place, table: LoginTable) -> Place:
        try:
            where = f"{self._site.name}: {name}"
            return with_login(attrs.evolve(place, where=where), table, name, needs_keys=self._needs_keys)
        except Misfit as misfit:
            self._fail(f"{name}.{kebab(misfit.key)}", str(misfit))


def _plain_secrets(options: object) -> list[str]:
    """Return the names of the options that hold a secret in clear text."""
    table = options if isinstance(options, dict) else {}
    return [name for name, value in table.items() if isinstance(value, str) and looks_secret(name)]


def _converter(site: Site) -> cattrs.Converter:
    """Return a converter from tables to classes. Each field's reader reads its value."""
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    for name, table in SECTIONS.items():
        at = attrs.evolve(site, table=name)
        overrides = {
            field.name: override(rename=kebab(field.name), struct_hook=_reader(field, at))
            for field in attrs.fields(table)
        }
        hook = make_dict_structure_fn(table, converter, **overrides)  # type: ignore[arg-type]
        converter.register_structure_hook(table, hook)
    return converter


def _reader(field: attrs.Attribute[Any], site: Site) -> Any:
    read = field.metadata["reader"]
    return lambda value, _: read(value, site)


def _faults(group: cattrs.ClassValidationError, section: str = "") -> Iterator[tuple[str, Exception]]:
    """Yield each error in ``group`` with its key, or with the name of its table."""
    noted, bare = group.group_exceptions()
    for error, note in noted:
        key = f"{section}.{kebab(note.name)}" if section else kebab(note.name)
        if isinstance(error, cattrs.ClassValidationError):
            yield from _faults(error, key)
        else:
            yield key, error
    for error in bare:
        yield section, error


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
