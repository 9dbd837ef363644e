"""The metadata of a field that is a key of a profile, and the readers of secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actorsync.profile.place import Options
from actorsync.profile.readers import Reader, Site, read_path, takes
from actorsync.profile.secret import (
    CommandSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    PromptSecret,
    Secret,
    SecretSource,
    looks_secret,
)

__all__ = ["key", "read_options", "secret_reader", "ssh_key", "tls_key"]

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
    """Return the metadata of a field.

    ``doc`` describes the key and ``example`` shows how it is written: in the template, in docs/profile.md, and in the
    error for a missing key. ``default`` describes a default that the field does not show. ``is_text`` and ``is_secret``
    are for overrides. If ``schemes`` are given, the key is only for them, and ``others`` is the error for other URLs.
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


def secret_reader(name: str) -> Reader:
    """Return the reader of the secret ``name``. Its errors do not quote the value, which may be a misplaced secret."""

    @takes("[secret](#secrets)")
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
        return _source(form, argument, site, f"{site.name}: {site.table}.{name}")

    return read


def _source(form: str, argument: object, site: Site, where: str) -> SecretSource:
    if form == "command":
        if not isinstance(argument, list) or not argument or not all(_is_name(one) for one in argument):
            raise ValueError('command must be a list of strings, run without a shell: { command = ["pass", "shop"] }')
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
    """Return the options of a plug-in. Errors do not quote values, which may be secrets."""
    if not isinstance(value, dict):
        raise ValueError('is not a table; write it like options = { region = "eu-central-1" }')  # noqa: TRY004
    values: list[tuple[str, str | int | float | bool]] = []
    secrets: list[tuple[str, SecretSource]] = []
    for name, one in sorted(value.items()):
        if isinstance(one, dict) or (isinstance(one, str) and looks_secret(name)):
            try:
                secrets.append((name, secret_reader(f"options.{name}")(one, site)))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        elif isinstance(one, str | int | float):
            values.append((name, one))
        else:
            raise ValueError(f'{name} is not a string, a number, true, false or a table such as {{ env = "..." }}')
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
    """Return the metadata of a field for ``sftp://`` only."""
    texts: dict[str, Any] = {"doc": doc, "default": default}
    return key(reader, example, **texts, is_text=is_text, is_secret=is_secret, schemes=("sftp",), others=others)


def tls_key(reader: Reader, others: str, example: str, *, doc: str, default: str | None = None) -> dict[str, Any]:
    """Return the metadata of a field for ``ftpes://`` and ``ftps://`` only."""
    return key(reader, example, doc=doc, default=default, is_text=True, schemes=("ftpes", "ftps"), others=others)
