"""The accounts at servers that several mirrors of a process log in to: together they have as many logins as one may."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import attrs

from actorsync.planning.admission.ceiling import Ceiling, Share, Shares
from actorsync.profile import Place
from actorsync.profile.values.place import PORTS
from actorsync.service.jobs import Job

__all__ = ["share_accounts"]

#: Schemes of one server program. A port tells implicit TLS from the others.
_FAMILIES: Final = {"ftp": "ftp", "ftpes": "ftp", "ftps": "ftp", "sftp": "sftp"}


def share_accounts(jobs: Sequence[Job]) -> None:
    """Let jobs with a side at the same account share its logins: the largest number that one of them may have.

    A run that has both sides there takes part twice. All jobs take part from now on, until their first pass
    has ended, and then from the beginning of each pass to its end: so none of them takes what another one needs that
    has not begun yet.
    """
    accounts: dict[Hashable, dict[str, int]] = {}
    for job in jobs:
        for place in (job.profile.target, job.profile.source):
            if (account := _account(place)) is not None:
                accounts.setdefault(account, {})[job.name] = job.options.policy.connections
    ceilings = {account: Ceiling(max(it.values())) for account, it in accounts.items() if len(it) > 1}
    for job in jobs:
        run = object()
        target, source = (
            Share(ceilings.get(_account(place)), run) for place in (job.profile.target, job.profile.source)
        )
        if target.ceiling is not None or source.ceiling is not None:
            job.options = attrs.evolve(job.options, shares=Shares(target, source))
            job.options.shares.join()


def _account(place: Place) -> Hashable | None:
    """Return what tells one account at a server from another; None for a place that limits no logins.

    Behind another jump host, the same address may be another server.
    """
    if place.scheme not in PORTS:
        return None
    jumps = tuple((jump.host, jump.port) for jump in place.ways.jump)
    return _FAMILIES[place.scheme], place.host, place.port, place.user, jumps
