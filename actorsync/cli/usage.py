"""Usage errors as one line that says what to type instead, also for what users know from other programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

import click

__all__ = ["usage_text"]

#: What to type instead of a command that does not exist.
_COMMANDS: Final = {
    name: way_out
    for names, way_out in (
        ("sync mirror push upload deploy copy start put", "actorsync run mirrors the source to the target"),
        ("pull download get", "actorsync run does it: the server is the [source] of the profile"),
        ("diff preview dry-run dryrun show list", "actorsync plan shows what a run would change"),
        ("test doctor verify ping login connect", "actorsync check logs in and lists both sides"),
        ("new create setup config configure", "actorsync init writes a profile"),
        ("help", "actorsync --help lists the commands"),
        ("version", "actorsync --version shows the version"),
        ("watch follow live monitor", "actorsync run --watch mirrors each change as it happens"),
        ("serve web dashboard metrics", 'a run has a status page with listen = "127.0.0.1:9417" in [observe]'),
        ("daemon systemd install enable", "actorsync service install writes a service of systemd"),
        ("pause resume stop drain cancel bwlimit retry rescan reload", "actorsync ctl shop.toml {command} does it"),
        ("log logs", "actorsync status shows the last runs"),
        ("repair fix restore heal", "actorsync run --set audit.repair=fix restores what others have changed"),
        ("rm delete remove clean prune", "actorsync run removes what is gone from the source, with sync.delete = true"),
        ("compare verify-target", "actorsync audit compares the target with what runs have put there"),
    )
    for name in names.split()
}


#: The same for an option.
_OPTIONS: Final = {
    **dict.fromkeys(
        ("profile", "config", "c", "f", "file"), "the profile has no option in front: actorsync run shop.toml"
    ),
    **dict.fromkeys(
        ("force", "yes", "y", "no-confirm"), "nothing is asked; a guard that refuses says which key allows it"
    ),
    **dict.fromkeys(("fix", "repair", "restore"), "it is a key of the profile: --set audit.repair=fix"),
    "all": "run, plan, check and status take --all DIRECTORY",
    **dict.fromkeys(("daemon", "background", "d"), "actorsync service install writes a service of systemd"),
    **dict.fromkeys(("target", "name"), "--only NAME takes one of several targets"),
    "p": 'the port is part of target.url: "sftp://user@host:2222/dir"',
}

#: What systemd does with a service, and `actorsync service` does not.
_OF_SYSTEMD: Final = frozenset({"start", "stop", "restart", "reload", "enable", "disable"})

#: How alike an option has to be that is suggested.
_ALIKE: Final = 0.7


def usage_text(error: click.ClickException) -> str:
    """Return a usage error as one line that ends with the command that shows the help."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context is not None else "actorsync"
    text = " ".join((_instead(error) or error.format_message()).split())
    return f"{text.rstrip('.')} (see: {command} --help)"


def _instead(error: click.ClickException) -> str | None:
    """Return the error with what to type instead; None where click says it well."""
    if isinstance(error, click.NoSuchOption):
        return _for_option(error.option_name, error.possibilities or ())
    words = error.format_message().split("'")
    if isinstance(error, click.UsageError) and error.message.startswith("No such command") and len(words) > 1:
        way_out = _COMMANDS.get(words[1], "").format(command=words[1]) or None
        if error.ctx is not None and error.ctx.info_name == "service":
            way_out = f"run: systemctl --user {words[1]} actorsync-NAME" if words[1] in _OF_SYSTEMD else None
        if way_out is None and (words[1].endswith(".toml") or "/" in words[1] or os.path.lexists(words[1])):
            way_out = "the command comes first: actorsync run shop.toml"
        return None if way_out is None else f"No such command '{words[1]}'; {way_out}"
    if isinstance(error, click.UsageError) and error.message.startswith("Got unexpected extra argument"):
        return f"{error.message}; source and target are in the profile, which actorsync init writes"
    return None


def _for_option(option: str, possibilities: Sequence[str]) -> str | None:
    """Return the error for an option that is a key of the profile, or that other programs have."""
    from actorsync.profile.known_keys import keys
    from actorsync.profile.values.key import hint_for

    name = option.lstrip("-")
    if name in _OPTIONS:
        return f"No such option '{option}'; {_OPTIONS[name]}"
    found = [key for key in keys() if key.partition(".")[2] == name and not key.startswith("source.")]
    if found:
        return f"No such option '{option}'; it is a key of the profile: --set {found[0]}=VALUE"
    hint = hint_for(name)
    if hint is not None:
        return f"No such option '{option}'; {hint}"
    alike = [it for it in possibilities if SequenceMatcher(None, name, it.lstrip("-")).ratio() >= _ALIKE]
    return None if alike == [*possibilities] else f"No such option '{option}'"
