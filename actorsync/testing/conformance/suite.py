"""All checks of the conformance suite. See `actorsync.testing.check_endpoint`.

Each check is an async function of one `Place`: an endpoint rooted in an empty directory that exists, fresh for this
check. The first line of its documentation states what it checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Final

from actorsync.testing.conformance import listing, moves, names, reading, releases, removals, resuming, uploads
from actorsync.testing.conformance.place import Check

__all__ = ["CHECK_FUNCTIONS", "NEED_DIRECTORIES"]


def _checks_of(module: ModuleType) -> list[Check]:
    """Return the checks of a module, in the order of its text."""
    return [function for name, function in vars(module).items() if name.startswith("check_")]


#: The checks of a target that can also be read.
CHECK_FUNCTIONS: Final[Sequence[Check]] = tuple(
    check
    for module in (listing, uploads, resuming, reading, names, moves, releases, removals)
    for check in _checks_of(module)
)

#: The checks that need directories.
NEED_DIRECTORIES: Final[frozenset[Check]] = frozenset(
    {
        listing.check_long_listing_is_complete,
        listing.check_make_nested_directories,
        listing.check_make_directories_again,
        listing.check_refused_directories_do_not_hide_the_others,
        uploads.check_commits_ride_with_the_next_stage,
        uploads.check_refused_stage_does_not_hide_the_commits,
        names.check_odd_directory_names,
        removals.check_changed_file_is_not_removed,
        moves.check_changed_file_is_not_moved,
        moves.check_move_replaces_nothing,
        moves.check_refused_moves_do_not_hide_the_others,
        releases.check_old_file_stays_when_it_cannot_be_set_aside,
        releases.check_directory_in_the_way_of_a_release_refuses_one_file,
    }
)
