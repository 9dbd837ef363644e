"""A run of a rehearsal that has less patience with a silent server: half a second, where a user waits for a minute."""

from __future__ import annotations

import sys

import attrs

from actorsync.cli.rehearsal_child import main
from actorsync.endpoints.contract import Endpoint
from actorsync.profile import BothSecrets, Profile
from actorsync.runs import runner

open_endpoints = runner.open_endpoints


def hasty(profile: Profile, secrets: BothSecrets | None = None) -> tuple[Endpoint, Endpoint]:
    source, target = open_endpoints(profile, secrets)
    return source, attrs.evolve(target, stall_seconds=0.5)  # type: ignore[misc]


if __name__ == "__main__":
    runner.open_endpoints = hasty
    sys.exit(main(sys.argv[1:]))
