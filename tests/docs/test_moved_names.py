"""The table "Names that moved" of the changelog, compared with the code and with the public names before the move."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.support.root import ROOT

CHANGELOG = ROOT / "CHANGELOG.md"
#: What ``public_api.txt`` named before the move: modules, names, and members of classes.
BEFORE = Path(__file__).with_name("public_names_before.txt")

_ROW = re.compile(r"^\| `(?P<old>[\w.]+)` \| (?:`(?P<new>[\w.]+)`|removed: .+) \|$", re.MULTILINE)


def table() -> dict[str, str | None]:
    """Return the table: the new name for each old one; None where nothing takes its place."""
    section = CHANGELOG.read_text("utf-8").partition("### Names that moved\n")[2].partition("\n### ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    found = [match for row in rows if (match := _ROW.match(row))]
    assert len(found) == len(rows), "a row is neither `old` | `new` nor `old` | removed: why"
    return {match["old"]: match["new"] for match in found}


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, a name that its module exports, or a member of an exported class."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        members = parts[count:]
        if members and members[0] not in getattr(found, "__all__", members):
            return False
        for member in members:
            if not hasattr(found, member):
                return False
            found = getattr(found, member)
        return True
    return False


@pytest.mark.parametrize("new", sorted({new for new in table().values() if new is not None}))
def test_new_name_can_be_imported(new: str) -> None:
    assert exists(new)


@pytest.mark.parametrize("old", sorted(table()))
def test_old_name_cannot_be_imported(old: str) -> None:
    assert not exists(old)


def test_every_public_name_that_left_is_in_the_table() -> None:
    before = [line for line in BEFORE.read_text("utf-8").splitlines() if not line.startswith("#")]
    left = {name for name in before if not exists(name)}
    assert left <= table().keys()
    assert {"actorsync.events.Doomed", "actorsync.testing.DEMANDS"} <= left


def test_names_are_found_in_modules_classes_and_nowhere_else() -> None:
    assert exists("actorsync.endpoints.contract")
    assert exists("actorsync.endpoints.contract.Session.stage")
    assert not exists("actorsync.endpoints.contract.Session.upload")
    assert not exists("actorsync.model.event.Report"), "it is imported there, and not exported"
    assert not exists("no_such_package.name")
