"""A run of a rehearsal with a short timeout: it gives up on a silent server after half a second, not a minute."""

from __future__ import annotations

import sys
from unittest.mock import patch

import attrs

from actorsync.cli.rehearsal_child import main
from actorsync.endpoints.contract import Endpoint
from actorsync.profile import BothSecrets, Profile
from actorsync.runs import mirror
from actorsync.runs.open_endpoints import open_endpoints


def open_with_short_timeout(profile: Profile, secrets: BothSecrets | None = None) -> tuple[Endpoint, Endpoint]:
    source, target = open_endpoints(profile, secrets)
    return source, attrs.evolve(target, stall_seconds=0.5)  # type: ignore[misc]


if __name__ == "__main__":
    with patch.object(mirror, "open_endpoints", open_with_short_timeout):
        sys.exit(main(sys.argv[1:]))
