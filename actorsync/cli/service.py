"""``actorsync service``: the units of systemd for a profile, written after they were shown."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from actorsync.cli.options import print_lines, profile_argument, set_option
from actorsync.errors import FatalError, ProfileError

if TYPE_CHECKING:
    from actorsync.service.manager.unit import Scope, Units

__all__ = ["service"]

_SYSTEM: Final = Path("/etc/systemd/system")

_for_system = click.option("--system/--user", "is_system", default=False, help="For the system, or for this user.")
_name_option = click.option("--name", default="", help="Name of the unit, after actorsync-. Default: that of the file.")
_into_option = click.option(
    "--into", type=click.Path(path_type=Path), metavar="DIR", help="Directory of the units, if not that of systemd."
)


@click.group()
def service() -> None:
    """Run a profile as a service of systemd: install, uninstall, status."""


@service.command()
@profile_argument
@_for_system
@_name_option
@_into_option
@click.option("-n", "--dry-run", is_flag=True, help="Show the units and write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Write them without a question.")
@set_option
def install(
    profile: Path,
    is_system: bool,
    name: str,
    into: Path | None,
    dry_run: bool,
    yes: bool,
    overrides: tuple[str, ...],
) -> int:
    """Show the units for a profile, and write them after a question.

    A profile with sync.every or sync.watch gets a service, any other a service and an hourly timer. Nothing is started.
    """
    if overrides:
        raise click.UsageError("--set would not be part of the service; write the key into the profile.")
    scope, directory, units = _planned(profile, is_system, name, into)
    for file, text in units.files.items():
        print_lines([f"{directory / file}:", *text.splitlines(), ""])
        _refuse_other(directory / file, profile)
    if dry_run:
        return 0
    if not yes and not click.confirm("Write?", default=False, err=True):
        return 0
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in units.files.items():
            _replace(directory / file, text)
    except OSError as error:
        raise FatalError(f"cannot write {directory}: {error.strerror}; {_as_root(scope)}") from None
    control = _systemctl(scope)
    lines = [f"wrote {directory / file}" for file in units.files]
    lines.append(f"next, run: {control} daemon-reload && {control} enable --now {units.enabled}")
    if scope == "user":
        lines.append("to run it without a login, also run: loginctl enable-linger")
    return print_lines(lines)


@service.command()
@profile_argument
@_for_system
@_name_option
@_into_option
def uninstall(profile: Path, is_system: bool, name: str, into: Path | None) -> int:
    """Remove the units that install has written for a profile. They must be disabled before."""
    scope, directory, units = _planned(profile, is_system, name, into, is_needed=False)
    control = _systemctl(scope)
    found = [directory / file for file in _both(units) if (directory / file).exists()]
    if not found:
        raise ProfileError(f"{directory / next(iter(units.files))}: no such unit; nothing to remove")
    for file in found:
        _refuse_other(file, profile)
        if any(directory.glob(f"*.wants/{file.name}")):
            raise ProfileError(f"{file.name} is enabled; first run: {control} disable --now {file.name}")
    for file in found:
        try:
            file.unlink()
        except OSError as error:
            raise FatalError(f"cannot remove {file}: {error.strerror}; {_as_root(scope)}") from None
    return print_lines([*(f"removed {file}" for file in found), f"next, run: {control} daemon-reload"])


@service.command(name="status")
@profile_argument
@_for_system
@_name_option
@_into_option
def status_of_units(profile: Path, is_system: bool, name: str, into: Path | None) -> int:
    """Show whether the units of a profile are installed, enabled, and as install would write them now."""
    scope, directory, units = _planned(profile, is_system, name, into)
    lines = []
    for file, text in units.files.items():
        path = directory / file
        if not path.exists():
            lines.append(f"{path}: not installed; run: actorsync service install {profile}")
            continue
        enabled = "enabled" if any(directory.glob(f"*.wants/{file}")) else "not enabled"
        now = "up to date" if path.read_text() == text else "differs from what install would write now"
        lines.append(f"{path}: {enabled if file == units.enabled else 'installed'}, {now}")
    lines.append(f"what systemd knows: {_systemctl(scope)} status {units.enabled}")
    return print_lines(lines)


def _planned(
    profile: Path, is_system: bool, name: str, into: Path | None, *, is_needed: bool = True
) -> tuple[Scope, Path, Units]:
    """Return the scope, the directory of the units, and the units. Without ``is_needed`` keys may be missing."""
    if not sys.platform.startswith("linux"):
        raise ProfileError("this system has no systemd; docs/recipes.md has recipes for launchd and the Task Scheduler")
    from actorsync.profile import load_profiles
    from actorsync.service.manager.unit import Start, unit_name, units_for

    profiles = load_profiles(profile, needs_keys=is_needed)
    scope: Scope = "system" if is_system else "user"
    directory = into or (_SYSTEM if is_system else _user_directory())
    account = pwd.getpwuid(profile.stat().st_uid if is_system else os.geteuid())
    # A service has the environment of its user, and not that of the shell that installs it.
    configured = "" if is_system else os.environ.get("XDG_STATE_HOME", "")
    home = account.pw_dir if is_system else str(Path.home())
    state = Path(configured if os.path.isabs(configured) else f"{home}/.local/state")
    start = Start([sys.executable, "-P", "-m", "actorsync"], account.pw_name, state, is_configured=bool(configured))
    return scope, directory, units_for(profiles, scope, unit_name(profiles[0], name), start)


def _user_directory() -> Path:
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(configured) if os.path.isabs(configured) else Path.home() / ".config"
    return base / "systemd" / "user"


def _both(units: Units) -> Sequence[str]:
    """Return the names of the service and of a timer that an earlier form of the profile may have had."""
    service_file = next(iter(units.files))
    return [service_file, f"{service_file.removesuffix('.service')}.timer"]


def _refuse_other(path: Path, profile: Path) -> None:
    """Raise `ProfileError` if a file is there that was not written for this profile."""
    from actorsync.service.manager.unit import is_ours

    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise FatalError(f"cannot read {path}: {error.strerror}; make it readable, or use --name") from None
    if not is_ours(text):
        raise ProfileError(f"{path}: not written by actorsync service install; remove it, or use --name")
    if not is_ours(text, Path(os.path.abspath(profile))):
        raise ProfileError(f"{path}: belongs to another profile (see its first line); use --name")


def _replace(path: Path, text: str) -> None:
    """Write a file beside, and rename it: systemd never reads a part of it."""
    new = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


def _systemctl(scope: Scope) -> str:
    return "sudo systemctl" if scope == "system" else "systemctl --user"


def _as_root(scope: Scope) -> str:
    return "run it as root, with sudo" if scope == "system" else "make it writable, or use --into"
