"""Checks of listings and directories."""

from __future__ import annotations

from actorsync.model.entry import Kind
from actorsync.model.text import display
from actorsync.testing.conformance.place import (
    Place,
    accepted,
    assert_equal,
    assert_is_a,
    assert_refused,
    make,
    names_in,
    put,
)

__all__ = [
    "check_describe",
    "check_empty_listing",
    "check_identify",
    "check_listing_a_missing_path_or_a_file_is_a_problem",
    "check_long_listing_is_complete",
    "check_make_directories_again",
    "check_make_nested_directories",
    "check_refused_directories_do_not_hide_the_others",
]


async def check_empty_listing(place: Place) -> None:
    """An empty root is listed as empty."""
    async with place.endpoint.open_session() as session:
        assert_equal(await names_in(session), [])


async def check_identify(place: Place) -> None:
    """`Source.identify` describes the root: a directory, with the path ``""``."""
    root = await place.endpoint.identify()
    assert_equal((root.entry.path, root.entry.kind), ("", Kind.DIRECTORY))


async def check_describe(place: Place) -> None:
    """The display name is one line for a terminal, and the description is pairs of label and text."""
    assert_equal(display(place.endpoint.display), place.endpoint.display)
    async with place.endpoint.open_session() as session:
        for label, text in session.describe():
            assert label, "a label is empty"
            assert_is_a(text, str)


async def check_listing_a_missing_path_or_a_file_is_a_problem(place: Place) -> None:
    """Listing a missing path or a file returns a listing with a problem, never an empty one."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"not a directory")
        for directory in ("missing", "missing/below", "file", "file/below"):
            listing = await session.list_directory(directory)
            assert listing.problem is not None, f"{directory!r} was listed"
            assert_equal((listing.directory, listing.problem.path, listing.entries), (directory, directory, ()))


async def check_long_listing_is_complete(place: Place) -> None:
    """A listing of 300 entries has all of them."""
    names = [f"{number:03}" for number in range(300)]
    async with place.endpoint.open_session() as session:
        await make(session, *names)
        assert_equal(await names_in(session), names)


async def check_make_nested_directories(place: Place) -> None:
    """One batch makes directories, parents before children."""
    async with place.endpoint.open_session() as session:
        await make(session, "a", "a/b", "a/b/c", "d")
        found = [await names_in(session, path) for path in ("", "a", "a/b", "a/b/c")]
        assert_equal(found, [["a", "d"], ["b"], ["c"], []])


async def check_make_directories_again(place: Place) -> None:
    """Making an existing directory succeeds and changes nothing in it."""
    async with place.endpoint.open_session() as session:
        await make(session, "", "a", "a/b")
        await put(session, "a/kept", b"kept")
        await make(session, "", "a", "a/b", "a/c")
        assert_equal(await names_in(session, "a"), ["b", "c", "kept"])


async def check_refused_directories_do_not_hide_the_others(place: Place) -> None:
    """Each directory has one result, in order; a refusal is a value, and the others are made."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"in the way")
        results = await session.make_directories(["before", "file", "file/below", "missing/below", "after"])
        assert_refused(*results[1:4])
        assert_equal(accepted(results), ["before", "after"])
        assert_equal(await names_in(session), ["after", "before", "file"])
