"""Names of conflict copies: readable, never too long, never taken, and found again."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actorsync.model.entry import Entry, Kind
from actorsync.model.operation import Side
from actorsync.planning.pairs.copies import conflict_name, copies_of

_WHEN = 1_796_134_320 * 10**9  # 2026-12-01 14:12 UTC
#: Any name that a directory can have: up to 255 bytes, without "/" and NUL.
NAMES = st.text(
    st.characters(exclude_characters="/\0", codec="utf-8") | st.sampled_from(". ~\udce4é"), min_size=1, max_size=255
).filter(lambda name: name not in {".", ".."} and len(name.encode("utf-8", "surrogateescape")) <= 255)


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("report.ods", "report.conflict-target-20261201-1412.ods"),
        ("site.tar.gz", "site.tar.conflict-target-20261201-1412.gz"),
        ("Makefile", "Makefile.conflict-target-20261201-1412"),
        (".bashrc", ".bashrc.conflict-target-20261201-1412"),
        ("a.", "a.conflict-target-20261201-1412."),
        ("no. of an ending that is too long", "no. of an ending that is too long.conflict-target-20261201-1412"),
    ],
)
def test_copy_keeps_the_ending_so_that_programs_open_it(name: str, copy: str) -> None:
    assert conflict_name(name, Side.TARGET, _WHEN, ()) == copy


def test_name_that_is_taken_gets_a_number() -> None:
    taken = {"a.conflict-source-20261201-1412.txt", "a.conflict-source-20261201-1412-2.txt"}
    assert conflict_name("a.txt", Side.SOURCE, _WHEN, taken) == "a.conflict-source-20261201-1412-3.txt"


@example(name="x" * 251 + ".txt", copies=3)
@example(name="é" * 127, copies=12)
@given(name=NAMES, copies=st.integers(1, 12))
def test_copies_of_any_name_are_different_and_not_too_long_and_are_found_again(name: str, copies: int) -> None:
    taken: set[str] = set()
    for _ in range(copies):
        copy = conflict_name(name, Side.SOURCE, _WHEN, taken)
        assert copy not in taken
        assert len(copy.encode("utf-8", "surrogateescape")) <= 255
        taken.add(copy)
    entries = [Entry(f"d/{it}", Kind.FILE) for it in (name, *sorted(taken))]
    assert copies_of(f"d/{name}", entries) == entries[1:]


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("a.txt", "b.conflict-target-20261201-1412.txt"),
        ("a.txt", "aa.conflict-target-20261201-1412.txt"),
        ("aa.txt", "a.conflict-target-20261201-1412.txt"),
        ("a.txt", "a.conflict-target-20261201-1412.ods"),
        ("a.txt", "a.conflict-target-2026.txt"),
        ("a.txt", "a.txt"),
    ],
)
def test_file_of_another_name_is_no_copy(path: str, other: str) -> None:
    assert copies_of(path, [Entry(other, Kind.FILE)]) == []


def test_directory_is_no_copy() -> None:
    assert copies_of("a", [Entry("a.conflict-target-20261201-1412", Kind.DIRECTORY)]) == []
