"""The keys that say how to log in to a server, and what is believed to be it: the same for every table with a URL."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import attrs

from actorsync.profile.files import is_private, regular_status
from actorsync.profile.place import ANONYMOUS, ANONYMOUS_PASSWORD, PLUGGED, PORTS, Options, Place, TlsVersion
from actorsync.profile.readers import (
    Reader,
    Site,
    choice_reader,
    read_certificate,
    read_host_key,
    read_path,
    read_switch,
    takes,
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
    looks_secret,
    text_fault,
    utf8_fault,
)

__all__ = ["LoginTable", "Misfit", "key", "ssh_key", "with_login"]

_MAX_LANES = 64
_FORMS = ("env", "file", "command", "keyring", "prompt")


def key(
    reader: Reader,
    example: str = "",
    *,
    doc: str = "",
    default: str | None = None,
    is_text: bool = False,
    is_secret: bool = False,
    schemes: Sequence[str] = (),
    others: str = "",
) -> dict[str, Any]:
    """A field's metadata.

    ``doc`` says what the key is for and ``example`` how it is written: in the template, at the head of its section in
    docs/profile.md, and where a required one is missing. ``default`` is for defaults that the field does not show.
    ``is_text`` and ``is_secret`` are for overrides. Where there are ``schemes``, the key belongs to them only, and
    ``others`` is what to say when the URL has another.
    """
    return {
        "reader": reader,
        "example": example,
        "doc": doc,
        "default": default,
        "is_text": is_text,
        "is_secret": is_secret,
        "schemes": schemes,
        "others": others,
    }


def _secret_reader(name: str) -> Reader:
    """Give the reader of the key ``name``. No error quotes the value: it may be the secret, in the wrong place."""

    @takes("place that a secret comes from")
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


@takes("table")
def read_options(value: object, site: Site) -> Options:
    """What an endpoint that is not built in takes beside its URL. No error quotes a value: it may be a secret."""
    if not isinstance(value, dict):
        raise ValueError('is not a table; write it like options = { region = "eu-central-1" }')  # noqa: TRY004
    values: list[tuple[str, str | int | float | bool]] = []
    secrets: list[tuple[str, SecretSource]] = []
    for name, one in sorted(value.items()):
        if isinstance(one, dict) or (isinstance(one, str) and looks_secret(name)):
            try:
                secrets.append((name, _secret_reader(f"options.{name}")(one, site)))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        elif isinstance(one, str | int | float):
            values.append((name, one))
        else:
            raise ValueError(f"{name} is neither a text, a number, true or false, nor a place that a secret comes from")
    return Options(tuple(values), tuple(secrets))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def ssh_key(
    reader: Reader,
    others: str,
    example: str = "",
    *,
    doc: str = "",
    default: str | None = None,
    is_text: bool = False,
    is_secret: bool = False,
) -> dict[str, Any]:
    """A field's metadata, where it belongs to ``sftp://`` only."""
    told: dict[str, Any] = {"doc": doc, "default": default}
    return key(reader, example, **told, is_text=is_text, is_secret=is_secret, schemes=("sftp",), others=others)


def _tls_key(reader: Reader, others: str, example: str, *, doc: str, default: str | None = None) -> dict[str, Any]:
    return key(reader, example, doc=doc, default=default, is_text=True, schemes=("ftpes", "ftps"), others=others)


_CERTIFICATE = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
_NO_KEY = "only sftp:// logs in with a key"
_NO_CERTIFICATE = "only ftpes:// and ftps:// have certificates; sftp:// has host-key and known-hosts"
_NO_HOST_KEY = "only sftp:// has host keys; ftpes:// and ftps:// have ca-file and certificate-sha256"


@attrs.frozen(kw_only=True)
class LoginTable:
    """What a table with a URL says of the server; None is what it does not say."""

    password: SecretSource | None = attrs.field(
        default=None,
        metadata=key(
            _secret_reader("password"),
            'password = { env = "SHOP_PASSWORD" }',
            doc="The password, by where it comes from: `env` (the name of a variable), `file` (a path), `command` "
            "(a list of texts), `keyring` (the name of a service), or `{ prompt = true }`: you are asked.",
            is_secret=True,
            schemes=(*PORTS, PLUGGED),
            others="a directory needs no password",
        ),
    )
    key_file: Path | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_path,
            _NO_KEY,
            'key-file = "~/.ssh/id_ed25519"',
            doc="The private key to log in with. Without it and without a password, the agent and `~/.ssh/id_ed25519`, "
            "`id_ecdsa`, `id_rsa` are tried.",
            is_text=True,
        ),
    )
    passphrase: SecretSource | None = attrs.field(
        default=None,
        metadata=ssh_key(
            _secret_reader("passphrase"),
            _NO_KEY,
            "passphrase = { prompt = true }",
            doc="The passphrase of `key-file`, in the forms of a password.",
            is_secret=True,
        ),
    )
    agent: bool | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_switch,
            _NO_KEY,
            "agent = true",
            doc="Whether the keys of the SSH agent (`$SSH_AUTH_SOCK`) are tried.",
            default="`true` without a `key-file` and a `password`",
        ),
    )
    known_hosts: Path | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_path,
            _NO_HOST_KEY,
            'known-hosts = "known_hosts"',
            doc="The file of the host keys that are believed; `actorsync trust` adds one.",
            default='`"~/.ssh/known_hosts"`',
            is_text=True,
        ),
    )
    host_key: str | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_host_key,
            _NO_HOST_KEY,
            'host-key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"',
            doc="The fingerprint of the one host key that is believed, as `actorsync trust` and `ssh-keygen -l` show "
            "it.",
            is_text=True,
        ),
    )
    lanes: int | None = attrs.field(
        default=None,
        metadata=ssh_key(
            whole_reader(1, _MAX_LANES),
            "only sftp:// has more than one file in flight on a connection",
            "lanes = 8",
            doc="How many files are in flight on each connection.",
            default=f"{_MAX_LANES}",
        ),
    )
    ca_file: Path | None = attrs.field(
        default=None,
        metadata=_tls_key(
            read_path,
            _NO_CERTIFICATE,
            'ca-file = "ca.pem"',
            doc="A file of the certificates (PEM) that may sign the server's own.",
            default="what the system trusts",
        ),
    )
    certificate_sha256: str | None = attrs.field(
        default=None,
        metadata=_tls_key(
            read_certificate,
            _NO_CERTIFICATE,
            f'certificate-sha256 = "{_CERTIFICATE}"',
            doc="The SHA-256 of the one certificate that is accepted, whoever signed it and whatever name is in it.",
        ),
    )
    tls_min_version: TlsVersion | None = attrs.field(
        default=None,
        metadata=_tls_key(
            choice_reader(get_args(TlsVersion)),
            "only ftpes:// and ftps:// have TLS",
            'tls-min-version = "1.3"',
            doc="The oldest TLS that is spoken; there is nothing older.",
            default='`"1.2"`',
        ),
    )
    options: Options | None = attrs.field(
        default=None,
        metadata=key(
            read_options,
            'options = { endpoint_url = "https://s3.example.com", token = { env = "S3_TOKEN" } }',
            doc="What the endpoint of a scheme that is plugged in takes beside the URL.",
            schemes=(PLUGGED,),
            others="only a scheme that is plugged in has options",
        ),
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
    scheme = PLUGGED if place.is_plugged else place.scheme
    for key in given:
        if scheme not in fields[key].metadata["schemes"]:
            raise Misfit(key, f"{fields[key].metadata['others']}; leave it out")
    for key in ("key_file", "ca_file") if needs_keys else ():
        if key in given and (fault := _file_fault(given[key], is_key=key == "key_file")):
            raise Misfit(key, fault)
    if place.scheme == "file":
        return place
    place = attrs.evolve(place, **given)
    if place.is_plugged:
        return _with_options(_with_password(place, utf8_fault))
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


def _with_options(place: Place) -> Place:
    secrets = []
    for name, source in place.options.secrets:
        told = _told(f"options.{name}", source, utf8_fault, place.user or name, f"{name} for {place.display}: ")
        secrets.append((name, told))
    return attrs.evolve(place, options=attrs.evolve(place.options, secrets=tuple(secrets)))


def _with_password(place: Place, fault: Callable[[str], str | None]) -> Place:
    if place.password is None:
        return place
    question = f"password for {place.display}: " if place.is_plugged else f"password of {place.user}@{place.host}: "
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
