"""The keys that say how to log in to a server, and what is believed to be it: the same for every table with a URL."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs

from actorsync.profile.files import is_private, regular_status
from actorsync.profile.place import ANONYMOUS, ANONYMOUS_PASSWORD, PORTS, Place, TlsVersion
from actorsync.profile.readers import (
    Reader,
    Site,
    choice_reader,
    read_certificate,
    read_host_key,
    read_path,
    read_switch,
    whole_reader,
)
from actorsync.profile.secret import (
    CommandSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    PromptSecret,
    Secret,
    SecretSource,
    line_fault,
    text_fault,
)

__all__ = ["LoginTable", "Misfit", "key", "ssh_key", "with_login"]

_MAX_LANES = 64
_FORMS = ("env", "file", "command", "keyring", "prompt")


def key(
    reader: Reader,
    example: str = "",
    *,
    is_text: bool = False,
    is_secret: bool = False,
    schemes: Sequence[str] = (),
    others: str = "",
) -> dict[str, Any]:
    """A field's metadata.

    ``example`` is shown when a required key is missing, ``is_text`` and ``is_secret`` are for overrides. Where there
    are ``schemes``, the key belongs to them only, and ``others`` is what to say when the URL has another.
    """
    return {
        "reader": reader,
        "example": example,
        "is_text": is_text,
        "is_secret": is_secret,
        "schemes": schemes,
        "others": others,
    }


def _secret_reader(name: str) -> Reader:
    """Give the reader of the key ``name``. No error quotes the value: it may be the secret, in the wrong place."""

    def read(value: object, site: Site) -> SecretSource:
        if isinstance(value, str):
            if not value:
                raise ValueError("is empty")
            return Secret(value)
        if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _FORMS:
            raise ValueError(
                'must be one of { env = "NAME" }, { file = "..." }, { command = ["..."] }, { keyring = "..." }, '
                "{ prompt = true }"
            )
        form, argument = next(iter(value.items()))
        return _place(form, argument, site, f"{site.name}: {site.table}.{name}")

    return read


def _place(form: str, argument: object, site: Site, where: str) -> SecretSource:
    if form == "command":
        if not isinstance(argument, list) or not argument or not all(_is_name(one) for one in argument):
            raise ValueError('command must be a list of texts, without a shell: { command = ["pass", "shop"] }')
        return CommandSecret(tuple(argument), site.base, where=where)
    if form == "prompt":
        if argument is not True:
            raise ValueError("prompt must be true: { prompt = true }")
        return PromptSecret(where=where)
    if not isinstance(argument, str) or not _is_name(argument):
        raise ValueError(f'{form} must be text: {{ {form} = "..." }}')
    if form == "env":
        return EnvSecret(argument, where=where)
    if form == "file":
        return FileSecret(read_path(argument, site), where=where)
    return KeyringSecret(argument, where=where)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def ssh_key(reader: Reader, others: str, *, is_text: bool = False, is_secret: bool = False) -> dict[str, Any]:
    """A field's metadata, where it belongs to ``sftp://`` only."""
    return key(reader, is_text=is_text, is_secret=is_secret, schemes=("sftp",), others=others)


def _tls_key(reader: Reader, others: str) -> dict[str, Any]:
    return key(reader, is_text=True, schemes=("ftpes", "ftps"), others=others)


_NO_KEY = "only sftp:// logs in with a key"
_NO_CERTIFICATE = "only ftpes:// and ftps:// have certificates; sftp:// has host-key and known-hosts"
_NO_HOST_KEY = "only sftp:// has host keys; ftpes:// and ftps:// have ca-file and certificate-sha256"


@attrs.frozen(kw_only=True)
class LoginTable:
    """What a table with a URL says of the server; None is what it does not say."""

    password: SecretSource | None = attrs.field(
        default=None,
        metadata=key(
            _secret_reader("password"), is_secret=True, schemes=tuple(PORTS), others="a directory needs no password"
        ),
    )
    key_file: Path | None = attrs.field(default=None, metadata=ssh_key(read_path, _NO_KEY, is_text=True))
    passphrase: SecretSource | None = attrs.field(
        default=None, metadata=ssh_key(_secret_reader("passphrase"), _NO_KEY, is_secret=True)
    )
    agent: bool | None = attrs.field(default=None, metadata=ssh_key(read_switch, _NO_KEY))
    known_hosts: Path | None = attrs.field(default=None, metadata=ssh_key(read_path, _NO_HOST_KEY, is_text=True))
    host_key: str | None = attrs.field(default=None, metadata=ssh_key(read_host_key, _NO_HOST_KEY, is_text=True))
    lanes: int | None = attrs.field(
        default=None,
        metadata=ssh_key(whole_reader(1, _MAX_LANES), "only sftp:// has more than one file in flight on a connection"),
    )
    ca_file: Path | None = attrs.field(default=None, metadata=_tls_key(read_path, _NO_CERTIFICATE))
    certificate_sha256: str | None = attrs.field(default=None, metadata=_tls_key(read_certificate, _NO_CERTIFICATE))
    tls_min_version: TlsVersion | None = attrs.field(
        default=None, metadata=_tls_key(choice_reader(get_args(TlsVersion)), "only ftpes:// and ftps:// have TLS")
    )


class Misfit(ValueError):
    """A key that does not go with the URL; ``key`` is its name, the text the reason and the way out."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def with_login(place: Place, table: LoginTable, name: str, *, needs_keys: bool = True) -> Place:
    """The place of a URL with what its table says, and what goes without saying; `Misfit` if they do not agree.

    ``name`` is the table's. Without ``needs_keys`` the files of keys and certificates are not looked at.
    """
    fields = {field.name: field for field in attrs.fields(type(table)) if field.metadata["schemes"]}
    given = {key: value for key in fields if (value := getattr(table, key)) is not None}
    for key in given:
        if place.scheme not in fields[key].metadata["schemes"]:
            raise Misfit(key, f"{fields[key].metadata['others']}; leave it out")
    for key in ("key_file", "ca_file") if needs_keys else ():
        if key in given and (fault := _file_fault(given[key], is_key=key == "key_file")):
            raise Misfit(key, fault)
    if place.scheme == "file":
        return place
    place = attrs.evolve(place, **given)
    if place.scheme == "sftp":
        return _with_ssh_login(place, name)
    if place.password is None and place.user != ANONYMOUS:
        reason = f'missing, and {name}.url names a user; write password = {{ env = "..." }} in [{name}]'
        raise Misfit("password", reason)
    return _with_password(attrs.evolve(place, password=place.password or ANONYMOUS_PASSWORD), line_fault)


def _file_fault(path: Path, *, is_key: bool) -> str | None:
    """Why a file cannot be used, or None. As with ssh, a key of ours may be open to nobody else."""
    try:
        status = regular_status(path)
    except OSError as error:
        return f"cannot read {path}: {error.strerror}; name a file that you can read"
    if is_key and status.st_uid == os.geteuid() and not is_private(status):
        return f"{path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}); run: chmod 600 {path}"
    return None


def _with_ssh_login(place: Place, table: str) -> Place:
    known_hosts = place.known_hosts or Path(os.path.expanduser("~/.ssh/known_hosts"))
    place = _with_password(attrs.evolve(place, known_hosts=known_hosts), text_fault)
    if place.passphrase is None:
        return place
    if place.key_file is None:
        raise Misfit("passphrase", f'there is no key for it; write key-file = "~/.ssh/id_ed25519" in [{table}]')
    question = f"passphrase of {place.key_file} for {place.user}@{place.host}: "
    origin = _told("passphrase", place.passphrase, text_fault, str(place.key_file), question)
    return attrs.evolve(place, passphrase=origin)


def _with_password(place: Place, fault: Callable[[str], str | None]) -> Place:
    if place.password is None:
        return place
    question = f"password of {place.user}@{place.host}: "
    return attrs.evolve(place, password=_told("password", place.password, fault, place.user, question))


def _told(name: str, place: SecretSource, fault: Callable[[str], str | None], user: str, question: str) -> SecretSource:
    """Tell a place what could not be known before the URL was read, and check a secret that is there already."""
    if isinstance(place, Secret):
        if reason := fault(place.reveal()):
            raise Misfit(name, reason)
        return place
    if isinstance(place, KeyringSecret):
        return attrs.evolve(place, user=user, fault=fault)
    if isinstance(place, PromptSecret):
        return attrs.evolve(place, question=question, fault=fault)
    return attrs.evolve(place, fault=fault)
