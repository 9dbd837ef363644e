"""Jump hosts, certificates, codes and the files of ssh: how an SSH server is reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.shared.home import home_directory
from actorsync.endpoints.ssh.settings import JumpHost
from actorsync.profile.secrets.one_time_code import OneTimeCode
from actorsync.profile.secrets.secret import CommandSecret, PromptSecret, text_fault
from actorsync.profile.values.place import Place, SshWays
from actorsync.profile.values.readers import Site, takes
from actorsync.profile.values.url import local_user, parse_location, ssh_user_fault, writes_port

if TYPE_CHECKING:
    from actorsync.profile.ssh_config import SshConfig

__all__ = ["WaysIn", "WrittenHost", "parse_host", "read_jump", "read_otp", "with_ways"]

_MOST_JUMPS: Final = 8


@frozen
class WrittenHost:
    """A jump host as it is written: None for what is left out."""

    host: str
    port: int | None = None
    user: str | None = None


def parse_host(text: str) -> WrittenHost:
    """Parse ``user@host:port``, as ``ssh -J`` takes it. Raises `ValueError` with a reason that does not quote it."""
    userinfo, _, location = text.strip().removeprefix("ssh://").removesuffix("/").rpartition("@")
    if ":" in userinfo:
        raise ValueError("contains a password; jump hosts get keys only: write user@host:port, and set key-file")
    if fault := ssh_user_fault(userinfo):
        raise ValueError(f"the user {fault}")
    host, port = parse_location("sftp", location)
    return WrittenHost(host, port if writes_port(location) else None, userinfo or None)


@takes("list of strings")
def read_jump(value: object, _: Site) -> tuple[WrittenHost, ...]:
    """Return the jump hosts, the first one to connect to at the beginning."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError('is not a list of strings; write it like ["user@bastion.example.com:22"]')
    if len(value) > _MOST_JUMPS:
        raise ValueError(f"has more than {_MOST_JUMPS} jump hosts; name only those on the way")
    hosts = []
    for number, one in enumerate(value, 1):
        try:
            hosts.append(parse_host(one))
        except ValueError as error:
            raise ValueError(f"jump host {number} {error}") from None
    return tuple(hosts)


@takes("`{ prompt = true }` or `{ command = [...] }`")
def read_otp(value: object, site: Site) -> OneTimeCode:
    """Return the source of one-time codes. Errors do not quote the value, which may be a misplaced secret."""
    form, argument = next(iter(value.items())) if isinstance(value, dict) and len(value) == 1 else ("", None)
    where = site.where("otp")
    if form == "prompt" and argument is True:
        instead = '{ command = ["..."] }'
        return OneTimeCode(PromptSecret(where=where, fault=text_fault, instead=instead))
    is_command = isinstance(argument, list) and argument and all(isinstance(one, str) and one for one in argument)
    if form == "command" and isinstance(argument, list) and is_command:
        return OneTimeCode(CommandSecret(tuple(argument), site.base, where=where, fault=text_fault))
    raise ValueError(
        'must be { prompt = true }, or { command = ["..."] } with a command that prints a new code each time, such as '
        '{ command = ["oathtool", "--totp", "--base32", "@shop.otp"] }'
    )


@frozen(kw_only=True)
class WaysIn:
    """The keys of a table that say how its server is reached; None for those that it does not set."""

    jump: Sequence[WrittenHost] | None
    certificate_file: Path | None
    codes: OneTimeCode | None
    follows_ssh_config: bool


def with_ways(place: Place, keys: WaysIn) -> Place:
    """Return ``place`` with the keys of its table, and with what the files of ssh say where they are followed.

    What the profile says counts before what the files say. Raises `ValueError` for files that cannot be followed.
    """
    files: SshConfig | None = None
    if keys.follows_ssh_config:
        from actorsync.profile.ssh_config import SshConfig  # seldom needed, and imports much

        home = home_directory()
        if home is None:
            raise ValueError("needs a home directory for ~/.ssh/config; set HOME, or remove the key")
        files = SshConfig.read(Path(home))
    certificates: tuple[Path, ...] = () if keys.certificate_file is None else (keys.certificate_file,)
    identities: tuple[Path, ...] | None = None
    jump = [] if keys.jump is None else [_jump_host(one, files) for one in keys.jump]
    if files is not None:
        written, name = place.ways, place.host
        of_files = files.settings(
            name, place.user if written.has_user else None, place.port if written.has_port else None
        )
        host, port, user = of_files.host, of_files.port or place.port, of_files.user or place.user
        if place.key_file is None:
            identities, certificates = of_files.identity_files, certificates or of_files.certificate_files
        if keys.jump is None:
            jump = list(_jump_hosts(of_files.jump or (), files, (name,)))
        place = attrs.evolve(place, host=host, port=port, user=user)
    codes = keys.codes
    if codes is not None and isinstance(codes.source, PromptSecret):
        codes.source = attrs.evolve(codes.source, question=f"one-time code for {place.user}@{place.host}: ")
    return attrs.evolve(place, ways=SshWays(tuple(jump), certificates, identities, codes))


def _jump_hosts(names: Sequence[str], files: SshConfig, way: tuple[str, ...]) -> Iterator[JumpHost]:
    """Yield the jump hosts of a ProxyJump. As in ssh, the first one may have a ProxyJump of its own.

    ``way`` are the hosts that this is the way to, the last one first. A host that would be its own jump host, because
    the setting is for all hosts, is connected to directly.
    """
    for number, name in enumerate(names):
        try:
            written = parse_host(name)
        except ValueError as error:
            raise ValueError(f"ProxyJump {name}: {error}") from None
        if number == 0:
            if written.host == way[0]:
                return
            if written.host in way or len(way) > _MOST_JUMPS:
                raise ValueError(f"ProxyJump {name}: it leads back to itself, or over too many hosts; correct it")
            before = files.settings(written.host, written.user, written.port).jump or ()
            yield from _jump_hosts(before, files, (written.host, *way))
        yield _jump_host(written, files)


def _jump_host(written: WrittenHost, files: SshConfig | None) -> JumpHost:
    if files is None:
        return JumpHost(written.host, written.port or 22, written.user or local_user())
    found = files.settings(written.host, written.user, written.port)
    return JumpHost(found.host, found.port or 22, found.user or local_user(), found.identity_files)
