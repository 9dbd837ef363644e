"""A journal in memory, and one on disk with records in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorsync.journal import Journal, journal_path, open_journal, open_memory_journal
from actorsync.model.event import SurveyComplete
from tests.unit.journal.rows import adopted

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def journal() -> Iterator[Journal]:
    with closing(open_memory_journal()) as journal:
        yield journal


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A journal of 1000 records, closed."""
    with open_journal(tmp_path, "p") as journal:
        journal.apply([*adopted(*(f"d/{number:06d}" for number in range(1000))), SurveyComplete()])
    return journal_path(tmp_path, "p")
