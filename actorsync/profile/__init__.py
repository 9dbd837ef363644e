"""The profile: the one file that says what is mirrored where, and how.

* ``schema``: what it says, as frozen classes, and how each key is read.
* ``target``, ``secret``, ``units``: the URL, where a password comes from, durations and shares.
* ``load``: from the file, the environment and ``--set`` to a ``Profile``, or to one line of error.
* ``template``: the profile to start from.
"""

from __future__ import annotations

from actorsync.profile.load import load_profile
from actorsync.profile.schema import IgnoreFile, Links, Profile, Shutdown, Source, Sync
from actorsync.profile.secret import (
    CommandSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    Secret,
    SecretSource,
    line_fault,
)
from actorsync.profile.target import Target
from actorsync.profile.template import TEMPLATE
from actorsync.profile.units import MaxDelete, format_duration, parse_duration

__all__ = [
    "TEMPLATE",
    "CommandSecret",
    "EnvSecret",
    "FileSecret",
    "IgnoreFile",
    "KeyringSecret",
    "Links",
    "MaxDelete",
    "Profile",
    "Secret",
    "SecretSource",
    "Shutdown",
    "Source",
    "Sync",
    "Target",
    "format_duration",
    "line_fault",
    "load_profile",
    "parse_duration",
]
