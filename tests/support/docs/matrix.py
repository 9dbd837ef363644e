"""The fault matrix: the tests that cover each row, their servers and their results.

A test that covers row 18 has ``m018`` in its name; one that covers rows 4 to 10 has ``m004_to_m010``. ``pytest
--matrix`` writes the results of a test run to the tables of ``docs/reliability.md``. The first three columns are
written by hand.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from tests.support.root import ROOT

__all__ = ["DOCUMENT", "ROWS", "Matrix", "Row", "note_server", "rows_in", "rows_of", "servers_noted"]

DOCUMENT: Final = ROOT / "docs/reliability.md"
ROWS: Final = range(1, 137)

_NUMBERS: Final = re.compile(r"_m(\d{3})(?:_to_m(\d{3}))?(?=_|$)")
_LINE: Final = re.compile(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
#: Names of servers in the parameters of tests.
_SERVERS: Final = ("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib", "openssh", "asyncssh")
_SHOWN: Final = {
    "vsftpd": "vsftpd",
    "proftpd": "ProFTPD",
    "pure-ftpd": "Pure-FTPd",
    "pyftpdlib": "pyftpdlib",
    "openssh": "OpenSSH",
    "asyncssh": "asyncssh",
    "scripted": "scripted",
}


@attrs.frozen
class Row:
    """One line of the tables: three columns written by hand, and the results of a test run."""

    number: int
    fault: str
    answer: str
    tests: str = "-"
    servers: str = "-"
    result: str = "-"

    @property
    def names(self) -> set[str]:
        """The names of the tests in the row."""
        return set(re.findall(r"`(test_\w+)`", self.tests))

    def __str__(self) -> str:
        return f"| {self.number} | {self.fault} | {self.answer} | {self.tests} | {self.servers} | {self.result} |"


def rows_of(test: str) -> set[int]:
    """Return the rows that the name of a test claims to cover."""
    rows: set[int] = set()
    for first, last in _NUMBERS.findall(test):
        rows |= set(range(int(first), int(last or first) + 1))
    return rows


def rows_in(text: str) -> Iterator[Row]:
    """Yield the rows of a document."""
    for number, *cells in _LINE.findall(text):
        yield Row(int(number), *cells)


# The servers that a test uses.

_noted: set[str] = set()


def note_server(name: str) -> None:
    """Record that the running test uses a server of this name."""
    _noted.add(name)


def servers_noted() -> frozenset[str]:
    """Return the servers recorded since the last call, and clear the record."""
    noted = frozenset(_noted)
    _noted.clear()
    return noted


@attrs.define
class Matrix:
    """The results of a test run, by test."""

    ended: dict[str, Counter[str]] = attrs.Factory(lambda: defaultdict(Counter))
    servers: dict[str, set[str]] = attrs.Factory(lambda: defaultdict(set))

    def add(self, nodeid: str, outcome: str, servers: Iterable[str]) -> None:
        """Add the result of one test."""
        name, _, parameters = nodeid.rpartition("::")[2].partition("[")
        if not rows_of(name):
            return
        self.ended[name][outcome] += 1
        words = {word for word in _SERVERS if word in parameters}
        self.servers[name] |= words | (set(servers) & _SHOWN.keys())

    def fill(self, text: str) -> str:
        """Return a document with the results in its tables. Rows that no test of this run covers do not change."""
        return _LINE.sub(lambda found: str(self._filled(next(rows_in(found[0])))), text)

    def _filled(self, row: Row) -> Row:
        names = sorted(name for name in self.ended if row.number in rows_of(name))
        if not names:
            return row
        ended: Counter[str] = Counter()
        for name in names:
            ended += self.ended[name]
        servers = set().union(*(self.servers[name] for name in names))
        return attrs.evolve(
            row,
            tests="<br>".join(f"`{name}`" for name in names),
            servers=", ".join(shown for name, shown in _SHOWN.items() if name in servers) or "-",
            result=", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.items(), reverse=True)),
        )
