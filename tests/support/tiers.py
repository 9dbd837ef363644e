"""The tests that run before a commit (``make test``), and those that run in CI as well (``make test-rest``).

``make test`` takes minutes. It leaves out tests marked ``full``:

* Tests against a real daemon (vsftpd, ProFTPD, Pure-FTPd, OpenSSH's sshd). `is_real_server` finds them by their id, so
  it is enough to parametrize a test with the name of a daemon.
* Slow tests that are marked by hand, and cases that `spread` marks. A faster test, or another case of the same sweep,
  can catch the same fault.

Sweeps and random tests run in a short form in ``make test``; `amount` returns their size. The mark ``scaled`` makes
``make test-rest`` run them again in full, with ``ACTORSYNC_TESTS=all``. ``make test-all`` runs both commands.
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

__all__ = ["IS_FULL", "amount", "diagonals", "mark", "spread"]

T = TypeVar("T")

IS_FULL: Final = os.environ.get("ACTORSYNC_TESTS") == "all"

_DAEMON: Final = re.compile(rf"(^|-)({'|'.join([*debian_servers.NAMES, OPENSSH])})(-|\])")

#: Modules that call `amount`. Each must have a test marked ``scaled``; otherwise CI never runs it in full.
_SCALED_MODULES: Final[set[str]] = set()


def amount(name: str, *, short: int, full: int) -> int:
    """Return the number of cases of a random test or a sweep. The variable ``ACTORSYNC_<name>`` overrides it."""
    _SCALED_MODULES.add(sys._getframe(1).f_globals["__name__"])
    return int(os.environ.get(f"ACTORSYNC_{name}", full if IS_FULL else short))


def spread(cases: Sequence[T], *, short: int) -> list[object]:
    """Return the cases as parameters. All but ``short`` of them, evenly spread, are marked ``full``."""
    kept = {round(n * (len(cases) - 1) / max(short - 1, 1)) for n in range(short)}
    return [
        case if number in kept else pytest.param(*_values(case), marks=pytest.mark.full)
        for number, case in enumerate(cases)
    ]


def diagonals(first: Iterable[object], second: Iterable[object], *, every: int) -> list[object]:
    """Return all pairs as parameters. All but one in ``every`` are marked ``full``.

    Those that stay lie on diagonals of the table of pairs. So each value stays, with some values of the other list, if
    that list has at least ``every`` values.
    """
    pairs = [(row + column, one, two) for row, one in enumerate(first) for column, two in enumerate(second)]
    return [pytest.param(one, two, marks=() if place % every == 0 else pytest.mark.full) for place, one, two in pairs]


def _values(case: object) -> Sequence[object]:
    return case if isinstance(case, tuple) else (case,)


def is_real_server(item: pytest.Item) -> bool:
    """Return whether a test is parametrized with a real daemon. In unit tests, the name of a daemon is only data."""
    is_data = item.nodeid.startswith(("tests/unit/", "tests/docs/"))
    return not is_data and _DAEMON.search(item.name.partition("[")[2]) is not None


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark the tests against real servers as ``full``.

    Raises:
        pytest.UsageError: a module calls `amount` and has no test marked ``scaled``.
    """
    scaled = set()
    for item in items:
        if is_real_server(item):
            item.add_marker(pytest.mark.full)
        if item.get_closest_marker("scaled") is not None:
            scaled.add(item.nodeid.partition("::")[0].removesuffix(".py").replace("/", "."))
    collected = {item.nodeid.partition("::")[0].removesuffix(".py").replace("/", ".") for item in items}
    forgotten = (_SCALED_MODULES & collected) - scaled
    if forgotten:
        modules = ", ".join(sorted(forgotten))
        raise pytest.UsageError(f"CI never runs these in full; mark a test in each as `scaled`: {modules}")
