"""The profile: the file that says what to mirror where, and how.

* ``schema``, ``login``: its tables as frozen classes; ``readers``: how the value of each key is read.
* ``place``, ``url``, ``secret``, ``units``: a place, its URL, the source of a password, durations, rates, percentages.
* ``terminal``: questions on the terminal.
* ``load``: from the file, the environment and ``--set`` to a `Profile` for each target, or to a one-line error.
* ``document``: the tables of the file; ``target_keys``: which target a key is for.
* ``template``: the starter profile.
"""

from __future__ import annotations

from actorsync.profile.load import MADE, load_profile, load_profiles, make_profile, make_profiles
from actorsync.profile.schema import Links, Profile, Shutdown, Sync
from actorsync.profile.secrets.secret import (
    CommandSecret,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    PromptSecret,
    Secret,
    SecretSource,
    line_fault,
    text_fault,
)
from actorsync.profile.secrets.terminal import ask
from actorsync.profile.values.place import BothSecrets, Options, Place, Secrets
from actorsync.profile.values.readers import IgnoreFile
from actorsync.profile.values.units import MaxDelete, format_duration, parse_duration, parse_fingerprint, parse_rate

__all__ = [
    "MADE",
    "BothSecrets",
    "CommandSecret",
    "CredentialSecret",
    "EnvSecret",
    "FileSecret",
    "IgnoreFile",
    "KeyringSecret",
    "Links",
    "MaxDelete",
    "Options",
    "Place",
    "Profile",
    "PromptSecret",
    "Secret",
    "SecretSource",
    "Secrets",
    "Shutdown",
    "Sync",
    "ask",
    "format_duration",
    "line_fault",
    "load_profile",
    "load_profiles",
    "make_profile",
    "make_profiles",
    "parse_duration",
    "parse_fingerprint",
    "parse_rate",
    "text_fault",
]
