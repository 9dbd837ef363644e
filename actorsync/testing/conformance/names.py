"""Checks of names and paths: each arrives exactly, or is refused."""

from __future__ import annotations

import unicodedata
from typing import Final

import attrs

from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, join, parent_of
from actorsync.testing.conformance.contents import MemoryContent
from actorsync.testing.conformance.place import (
    Place,
    assert_equal,
    assert_file,
    assert_refused,
    make,
    names_in,
    put,
    upload_of,
)

__all__ = [
    "HOSTILE_NAMES",
    "ODD_NAMES",
    "check_another_spelling_is_another_entry",
    "check_composed_and_decomposed_names",
    "check_hostile_names",
    "check_odd_directory_names",
    "check_odd_names",
    "check_paths_never_leave_the_root",
]

#: Names that have failed on some server: each must arrive exactly, or be refused.
ODD_NAMES: Final = (
    *(
        "two  words",
        " lead",
        "trail ",
        "a\tb",
        "a\x01b",
        "a\x7fb",
        ".hidden",
        "..twice",
        "trailing.",
        "-rf",
        "%41",
        "*",
    ),
    *(
        "[a]",
        "?",
        "~",
        "~root",
        '"',
        'quo"te',
        "'",
        ";",
        "|",
        "$(id)",
        "a;type=i",
        "a:b",
        "a\\b",
        "CON",
        "#",
        "&",
        "{x}",
    ),
    *(unicodedata.normalize("NFC", "Zürich é"), unicodedata.normalize("NFD", "Zürich é"), "日本語", "\N{PILE OF POO}"),
    *("x" * 255, "日" * 85, "x" * 256),
)


#: Names that a protocol or a store may refuse.
HOSTILE_NAMES: Final = ("a\nb", "a\rb", "a\r\nDELE kept", "a\0b", "a\n-rw-r--r-- 1 0 0 5 Jan 1 00:00 forged", "x\udcff")


async def _arrives_or_is_refused(session: Session, directory: str, name: str) -> bool:
    """Upload a file of that name into an empty directory, and assert that nothing else is there afterwards."""
    await make(session, directory)
    path = join(directory, name)
    upload = upload_of(path, b"named")
    result: object
    result, _ = await session.stage(upload)
    if isinstance(result, Staged):
        (result,) = await session.commit([result])
    if isinstance(result, Entry):
        assert_equal(result.path, path)
        assert_equal(await names_in(session, directory), [name])
        return True
    assert_refused(result)
    await session.sweep([upload.temporary])
    assert_equal(await names_in(session, directory), [], f"{name!r} was refused, but an entry appeared")
    return False


async def check_odd_names(place: Place) -> None:
    """A name that has failed on some server arrives exactly or is refused, and nothing else appears."""
    async with place.endpoint.open_session() as session:
        for number, name in enumerate(ODD_NAMES):
            await _arrives_or_is_refused(session, f"d{number}", name)
        assert await _arrives_or_is_refused(session, "spaces", "two words"), "a name with a space inside was refused"


async def check_hostile_names(place: Place) -> None:
    """A name that could be a command arrives exactly or is refused, and nothing else is changed."""
    async with place.endpoint.open_session() as session:
        await put(session, "kept", b"kept")
        for number, name in enumerate(HOSTILE_NAMES):
            await _arrives_or_is_refused(session, f"d{number}", name)
        await assert_file(place, session, "kept", b"kept")


async def check_odd_directory_names(place: Place) -> None:
    """A directory with such a name is made exactly, and can be removed by that name, or is refused."""
    async with place.endpoint.open_session() as session:
        for number, name in enumerate((*ODD_NAMES, *HOSTILE_NAMES)):
            parent = f"d{number}"
            await make(session, parent)
            (result,) = await session.make_directories([join(parent, name)])
            if isinstance(result, OperationRefused):
                assert_refused(result)
            assert_equal(await names_in(session, parent), ([name] if isinstance(result, Entry) else []))
            if isinstance(result, Entry):
                assert_equal(await session.remove([result]), [True])
                assert_equal(await names_in(session, parent), [])


async def check_composed_and_decomposed_names(place: Place) -> None:
    """Two names that look alike never get each other's content."""
    async with place.endpoint.open_session() as session:
        sent = {unicodedata.normalize(form, "Zürich"): form.encode() for form in ("NFC", "NFD")}
        for name, data in sent.items():
            result: object
            result, _ = await session.stage(upload_of(name, data))
            if isinstance(result, Staged):
                (result,) = await session.commit([result])
            if isinstance(result, Entry):
                await assert_file(place, session, name, data)
            else:
                assert_refused(result)


async def check_another_spelling_is_another_entry(place: Place) -> None:
    """An entry is neither made, replaced nor removed by another spelling of its name."""
    async with place.endpoint.open_session() as session:
        await make(session, "Docs")
        kept = await put(session, "Docs/File", b"kept")
        for entry in (attrs.evolve(kept, path="Docs/FILE"), attrs.evolve(kept, path="DOCS/File")):
            assert_equal(await session.remove([entry]), [True], f"{entry.path!r} does not exist")
        results = await session.make_directories(["docs", "docs/deep"])
        is_apart = isinstance(results[0], Entry)
        assert_equal([isinstance(it, Entry) for it in results], [is_apart] * 2)
        if not is_apart:
            assert_refused(*results)
        result: object
        upload = upload_of("Docs/FILE", b"another")
        result, _ = await session.stage(upload)
        if isinstance(result, Staged):
            (result,) = await session.commit([result])
        await session.sweep([upload.temporary])
        if not is_apart:
            assert_refused(result)
        await assert_file(place, session, "Docs/File", b"kept")
        both = is_apart and place.keeps_directories
        assert_equal(await names_in(session), ["Docs", "docs"] if both else ["Docs"])


async def check_paths_never_leave_the_root(place: Place) -> None:
    """A path that leads out of the root, or is not normalized, is refused."""
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        await put(session, "d/kept", b"kept")
        for path in ("../out", "d/../../out", "d/../in", "/out", "d//in", "./in", "d/.", "d/.."):
            upload = Upload(path, join(parent_of(path), "temporary"), MemoryContent(b"x"))
            result: object
            result, _ = await session.stage(upload)
            if isinstance(result, Staged):
                (result,) = await session.commit([result])
            await session.sweep([upload.temporary])
            assert_refused(result, *await session.make_directories([path]))
        assert_equal([await names_in(session), await names_in(session, "d")], [["d"], ["kept"]])
