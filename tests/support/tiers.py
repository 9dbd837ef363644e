"""Which tests run before a commit and which run in CI: the two commands ``make test`` and ``make test-rest``.

``make test`` takes minutes and leaves out what is marked ``full``:

* a test against a real daemon (vsftpd, ProFTPD, Pure-FTPd, OpenSSH's sshd). `is_real_server` finds these by their id,
  so parametrizing a test with a daemon is all that it takes.
* a test that is marked by hand, or a case that `spread` has marked, because it takes long and a shorter test or
  another case of the same sweep can catch the same fault.

Sweeps and random tests run a short form in ``make test``: `amount` gives their size, and their mark ``scaled`` has
``make test-rest`` run them again in full. ``make test-rest`` sets ``ACTORSYNC_TESTS=all``. ``make test-all`` is both.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import pytest

from tests.support.servers import debian_servers
from tests.support.servers.ssh_target import OPENSSH

__all__ = ["IS_FULL", "amount", "mark", "spread"]

T = TypeVar("T")

IS_FULL: Final = os.environ.get("ACTORSYNC_TESTS") == "all"

_DAEMON: Final = re.compile(rf"(^|-)({'|'.join([*debian_servers.NAMES, OPENSSH])})(-|\])")

#: Modules that have asked for an amount; each must have a test that is marked ``scaled``, or CI would never run it all.
_SCALED_MODULES: Final[set[str]] = set()


def amount(name: str, *, short: int, full: int) -> int:
    """Return how many cases a random test or a sweep takes; the variable ``ACTORSYNC_<name>`` overrides it."""
    _SCALED_MODULES.add(sys._getframe(1).f_globals["__name__"])
    return int(os.environ.get(f"ACTORSYNC_{name}", full if IS_FULL else short))


def spread(cases: Sequence[T], *, short: int) -> list[object]:
    """Return the cases as parameters; all but ``short`` of them, evenly spread, are marked ``full``."""
    kept = {round(n * (len(cases) - 1) / max(short - 1, 1)) for n in range(short)}
    return [
        case if number in kept else pytest.param(*_values(case), marks=pytest.mark.full)
        for number, case in enumerate(cases)
    ]


def _values(case: object) -> Sequence[object]:
    return case if isinstance(case, tuple) else (case,)


def is_real_server(item: pytest.Item) -> bool:
    """Return whether a test is parametrized with a daemon of the machine; in unit tests such a name is only data."""
    return "tests/unit/" not in item.nodeid and _DAEMON.search(item.name.partition("[")[2]) is not None


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark the tests against real servers, and see that every test with an amount is run in full somewhere."""
    scaled = set()
    for item in items:
        if is_real_server(item):
            item.add_marker(pytest.mark.full)
        if item.get_closest_marker("scaled") is not None:
            scaled.add(item.nodeid.partition("::")[0].removesuffix(".py").replace("/", "."))
    collected = {item.nodeid.partition("::")[0].removesuffix(".py").replace("/", ".") for item in items}
    forgotten = (_SCALED_MODULES & collected) - scaled
    if forgotten:
        raise pytest.UsageError(f"mark a test as `scaled`, or CI never runs it in full: {', '.join(sorted(forgotten))}")
