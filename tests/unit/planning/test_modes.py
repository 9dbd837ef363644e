"""Rules for permissions: what a profile may say, what is wanted, and when a mode has to be set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from actorsync.model.entry import Entry, Kind, Record
from actorsync.planning.modes import ALONE, KEEP, SOURCE, Modes, mode_to_set, read_modes
from actorsync.planning.reconcile import Action, decide

FIXED = Modes("fixed", 0o640, 0o750)
SECOND = 10**9


def file(mode: int | None, mtime_ns: int = 5 * SECOND + 1, ctime_ns: int | None = None, path: str = "x") -> Entry:
    return Entry(path, Kind.FILE, 3, mtime_ns, ctime_ns, 7, mode)


def folder(mode: int | None, path: str = "d") -> Entry:
    return Entry(path, Kind.DIRECTORY, mode=mode)


@pytest.mark.parametrize("text", ["source", "keep", "0644/0755", "0600/0700", "0444/0777"])
def test_rule_is_read_and_written_alike(text: str) -> None:
    assert str(read_modes(text)) == text


@pytest.mark.parametrize("text", ["644/755", "00644/0755"])
def test_modes_may_have_three_to_five_digits(text: str) -> None:
    assert read_modes(text) == Modes("fixed", 0o644, 0o755)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not"),
        ("Source", "is not"),
        ("0644", "is not"),
        ("0644/", "is not"),
        ("0684/0755", "is not"),
        ("rw-r--r--/0755", "is not"),
        ("4755/0755", "setuid"),
        ("0644/2755", "setgid"),
        ("0644/0644", "the owner"),
        ("0044/0755", "the owner"),
        ("0644/0755/0", "is not"),
        ("+644/0755", "is not"),
    ],
)
def test_rule_that_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_modes(text)


@pytest.mark.parametrize(
    ("modes", "of_file", "of_folder"),
    [(ALONE, None, None), (KEEP, None, None), (SOURCE, 0o604, 0o755), (FIXED, 0o640, 0o750)],
    ids=str,
)
def test_wanted_mode(modes: Modes, of_file: int | None, of_folder: int | None) -> None:
    assert modes.wanted(file(0o604)) == of_file
    assert modes.wanted(folder(0o055)) == of_folder, "the owner of a directory keeps every right to it"
    assert modes.wanted(folder(0o700, path="")) is None, "the root is the user's own"


def test_source_without_modes_wants_none() -> None:
    assert SOURCE.wanted(file(None)) is None
    assert FIXED.wanted(file(None)) == 0o640


@pytest.mark.parametrize("bits", [0o4755, 0o2755, 0o1755, 0o7755])
def test_upper_bits_are_never_wanted(bits: int) -> None:
    assert SOURCE.wanted(file(bits)) == 0o755


@pytest.mark.parametrize("kind", [file, folder])
@pytest.mark.parametrize(
    ("now", "then", "there", "expected"),
    [
        (0o755, 0o755, 0o755, None),
        (0o755, 0o755, 0o711, None),
        (0o755, 0o755, None, None),
        (0o755, 0o700, 0o755, None),
        (0o755, 0o700, 0o700, 0o755),
        (0o755, 0o700, None, 0o755),
        (0o755, None, 0o755, None),
        (0o755, None, 0o700, 0o755),
        (0o755, None, None, None),
        (None, 0o755, 0o755, None),
    ],
)
def test_mode_is_set_when_it_changed_and_differs(
    kind: Callable[[int | None], Entry], now: int | None, then: int | None, there: int | None, expected: int | None
) -> None:
    record = Record(kind(then), kind(there))
    assert mode_to_set(kind(now), record, SOURCE) == expected
    assert mode_to_set(kind(now), record, KEEP) is None
    assert mode_to_set(kind(now), record, ALONE) is None


@pytest.mark.parametrize("there", [0o644, None])
def test_new_rule_concerns_every_entry_once(there: int | None) -> None:
    record = Record(file(0o644), file(there))
    assert mode_to_set(file(0o644), record, FIXED) is None
    assert mode_to_set(file(0o644), record, FIXED, is_new_rule=True) == 0o640
    assert mode_to_set(file(0o644), attrs.evolve(record, target=file(0o640)), FIXED, is_new_rule=True) is None


def test_foreign_file_gets_the_mode_and_a_foreign_directory_keeps_its_own() -> None:
    assert mode_to_set(file(0o755), Record(None, file(0o644)), SOURCE) == 0o755
    assert mode_to_set(file(0o755), Record(None, file(None)), SOURCE) is None
    assert mode_to_set(folder(0o700), Record(None, folder(0o775)), SOURCE) is None
    assert mode_to_set(folder(0o700), Record(None, folder(0o775)), FIXED) == 0o750


# What a change of the mode alone is taken for.

WAS = Record(file(0o644, ctime_ns=1), file(0o644))


def test_chmod_alone_is_no_upload() -> None:
    assert decide(file(0o755, ctime_ns=2), WAS, modes=SOURCE) is Action.SET_MODE
    assert decide(file(0o755, ctime_ns=2), WAS, modes=KEEP) is Action.NOTE
    assert decide(file(0o755, ctime_ns=2), WAS, modes=ALONE) is Action.NOTE


@pytest.mark.parametrize("change", [{"size": 4}, {"mtime_ns": 5 * SECOND + 2}, {"inode": 8}], ids=str)
def test_chmod_of_a_file_that_was_written_is_an_upload(change: dict[str, Any]) -> None:
    assert decide(attrs.evolve(file(0o755, ctime_ns=2), **change), WAS, modes=SOURCE) is Action.COPY


def test_chmod_does_not_prove_the_content_of_a_file_whose_time_may_have_been_given_back() -> None:
    """Its time is a whole second: of an archive or a build, which give it to every version of the file."""
    was = Record(file(0o644, 5 * SECOND, 1), file(0o644))
    now = file(0o755, 5 * SECOND, 2)
    assert decide(now, was, modes=SOURCE) is Action.COPY
    assert decide(now, attrs.evolve(was, checksum=b"sum"), modes=SOURCE) is Action.VERIFY
    assert decide(now, attrs.evolve(was, digest=b"sum"), modes=SOURCE) is Action.VERIFY


def test_change_of_the_inode_alone_is_still_an_upload() -> None:
    assert decide(file(0o644, ctime_ns=2), WAS, modes=SOURCE) is Action.COPY
    assert decide(file(None, ctime_ns=2), WAS, modes=SOURCE) is Action.COPY


def test_mode_of_a_directory_is_set_and_its_times_mean_nothing() -> None:
    record = Record(folder(0o700), folder(0o700))
    touched = attrs.evolve(folder(0o700), mtime_ns=9, ctime_ns=9)
    assert decide(touched, record, modes=SOURCE) is Action.NOTHING
    assert decide(attrs.evolve(touched, mode=0o755), record, modes=SOURCE) is Action.SET_MODE


def test_row_without_a_mode_is_recorded_and_nothing_else() -> None:
    """As a journal of a version that kept no modes has it: the first run after the update changes no mode."""
    for now, then in ((file(0o640), file(None)), (folder(0o750), folder(None))):
        assert decide(now, Record(then, then), modes=SOURCE) is Action.NOTE
