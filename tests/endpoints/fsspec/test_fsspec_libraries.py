"""Facts and errors of the libraries of fsspec, and what the endpoint makes of them."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint, open_fsspec
from actorsync.endpoints.fsspec.entries import entry_of, version_of
from actorsync.endpoints.fsspec.names import azure_fault, smb_fault
from actorsync.endpoints.plugins import Location, Reveal, Unusable
from actorsync.errors import (
    ConnectionLost,
    GuardRefused,
    LoginRefused,
    OperationRefused,
    OwnLimit,
    ProfileError,
    TargetFull,
)
from actorsync.model.entry import Entry, Kind
from tests.endpoints.fsspec.stores import (
    at,
    listed,
    put,
)

# Facts from a library, and the entries made from them.


@pytest.mark.parametrize(
    ("info", "entry"),
    [
        ({"type": "directory", "size": 0, "mtime": 3.0}, Entry("p", Kind.DIRECTORY)),
        ({"type": "file", "size": 3, "islink": True}, Entry("p", Kind.LINK)),
        ({"type": "link", "size": 3}, Entry("p", Kind.LINK)),
        ({"type": "other", "size": 3}, Entry("p", Kind.OTHER)),
        ({"type": "file", "size": 3}, Entry("p", Kind.FILE, 3)),
        ({"type": "file", "size": 3, "mtime": 12.75, "ino": 7}, Entry("p", Kind.FILE, 3, 12 * 10**9, inode=7)),
        ({"type": "file", "size": 3, "created": 1.5}, Entry("p", Kind.FILE, 3, inode=1_500_000_000)),
        ({"type": "file", "size": 3, "modified": "1970-01-01T00:01:00Z"}, Entry("p", Kind.FILE, 3, 60 * 10**9)),
        ({"type": "file", "size": 3, "modified": "yesterday"}, Entry("p", Kind.FILE, 3)),
        (
            {"type": "file", "size": 3, "LastModified": datetime(1970, 1, 1, 1, 0, 2, 9, timezone(timedelta(hours=1)))},
            Entry("p", Kind.FILE, 3, 2 * 10**9),
        ),
        ({"type": "file", "size": 3, "modified": "1970-01-01 00:00:05"}, Entry("p", Kind.FILE, 3, 5 * 10**9)),
        ({"type": "file", "size": None}, None),
    ],
)
def test_info_becomes_an_entry(info: dict[str, Any], entry: Entry | None) -> None:
    assert entry_of("p", info) == entry


def test_version_changes_with_each_fact() -> None:
    base = {"type": "file", "size": 3, "ETag": '"a"', "LastModified": datetime(2024, 1, 1, tzinfo=UTC)}
    other = entry_of("p", {**base, "ETag": '"b"'})
    assert other is not None
    assert other != entry_of("p", base), "two versions of one second differ"
    assert 0 <= (other.inode or -1) < 2**63
    later = {**base, "LastModified": datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=UTC)}
    assert entry_of("p", later) == entry_of("p", base)
    assert version_of(later) != version_of(base)


class Lies(MemoryFileSystem):  # type: ignore[misc]
    """A store that returns a given listing, or raises a given error."""

    def __init__(self, given: list[dict[str, Any]] | Exception) -> None:
        super().__init__(skip_instance_cache=True)
        self.given = given

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[dict[str, Any]]:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


async def session_of(fs: Any, endpoint: FsspecEndpoint) -> FsspecEndpoint:
    async with endpoint.open_session():
        assert endpoint._store is not None
        endpoint._store.tree.fs = fs
    return endpoint


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([("a", "file", 1), ("a", "directory", 0)], "a file and a directory are both called 'a'"),
        ([("../b", "file", 1)], "the store lists '"),
        ([("..", "file", 1)], "the store lists '"),
        ([("e/f", "file", 1)], "the store lists '"),
        ([("a", "file", None)], "the store does not report the size of 'a'"),
        (PermissionError(errno.EACCES, "x"), "cannot list 'd': Permission denied"),
        (KeyError("a"), "cannot list 'd': KeyError: 'a'"),
    ],
)
async def test_unusable_listing_is_a_problem(given: Any, problem: str) -> None:
    infos = given
    if isinstance(given, list):
        infos = [{"name": f"/b/site/d/{name}", "type": kind, "size": size} for name, kind, size in given]
    endpoint = await session_of(Lies(infos), open_fsspec(Location(scheme="memory", host="b", path="site")))
    async with endpoint.open_session() as session:
        listing = await session.list_directory("d")
    assert listing.entries == ()
    assert listing.problem is not None
    assert problem in listing.problem.reason


async def test_marker_of_an_empty_directory_is_not_listed() -> None:
    infos = [{"name": "/b/site/d/", "type": "directory", "size": 0}, {"name": "/b/site/d/a", "type": "file", "size": 1}]
    endpoint = await session_of(Lies(infos), open_fsspec(Location(scheme="memory", host="b", path="site")))
    assert await listed(endpoint, "d") == ["d/a"]


async def test_empty_listing_of_a_directory_that_an_object_store_has_is_a_problem() -> None:
    """Such a directory has something in it. adlfs lists none whose name ends with a space."""
    lies = Lies([])
    lies.pipe_file("/b/site/d/a", b"x")
    endpoint = await session_of(lies, open_fsspec(Location(scheme="memory", host="b", path="site")))
    async with endpoint.open_session() as session:
        assert endpoint._store is not None
        endpoint._store.tree.is_flat = True
        listing = await session.list_directory("d")
        assert listing.problem is not None
        assert not listing.problem.vanished
        assert "has it, but lists nothing in it" in listing.problem.reason
        missing = await session.list_directory("gone")
    assert missing.problem is not None
    assert missing.problem.vanished


async def test_empty_listing_of_a_missing_source_root_is_refused() -> None:
    location = Location(scheme="memory", host="b", path="typo", table="source")
    endpoint = await session_of(Lies([]), open_fsspec(location))
    with pytest.raises(GuardRefused, match="cannot be listed: the root does not exist"):
        await endpoint.identify()


class SMBOSError(OSError):
    """Named as in smbprotocol: its class does not follow from its number."""


async def test_missing_root_that_a_class_of_its_own_reports_is_made(tmp_path: Path) -> None:
    class Odd(LocalFileSystem):  # type: ignore[misc]
        protocol = "odd"

        def info(self, path: str, **kwargs: Any) -> Any:
            try:
                return super().info(path, **kwargs)
            except FileNotFoundError:
                raise SMBOSError(errno.ENOENT, "No such file or directory", path) from None

    fsspec.register_implementation("odd", Odd, clobber=True)
    endpoint = open_fsspec(Location(scheme="fsspec+odd", path=f"{tmp_path}/new".lstrip("/")))
    async with endpoint.open_session() as session:
        (made,) = await session.make_directories([""])
    assert isinstance(made, Entry), made
    assert isinstance(await put(endpoint, "a", b"x"), Entry)


@pytest.mark.parametrize(
    ("name", "smb", "azure"),
    [
        ("plain", None, None),
        ("%41", None, None),
        ("a:b", "has the character ':'", None),
        ("a\\b", "has the character '\\\\'", "has the character '\\\\'"),
        ("a\tb", "has the character '\\t'", "has the control character '\\t'"),
        ("a\x80b", None, "has the control character '\\x80'"),
        ("a#b", None, "has the character '#'"),
        ("dot.", "ends with a space or a dot", None),
        ("trail ", "ends with a space or a dot", "ends with a space"),
        ("Con.txt", "is the name of a device", None),
        ("lpt1", "is the name of a device", None),
        ("console", None, None),
    ],
)
def test_name_that_a_protocol_cannot_carry(name: str, smb: str | None, azure: str | None) -> None:
    for found, expected in ((smb_fault(name), smb), (azure_fault(name), azure)):
        assert (found is None) is (expected is None)
        assert found is None or found.startswith(expected or "")


class ClientConnectionError(Exception):
    """Named as in aiohttp."""


class NoCredentialsError(Exception):
    """Named as in botocore."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(errno.ECONNRESET, "x"), ConnectionLost),
        (TimeoutError(), ConnectionLost),
        (OSError(errno.EHOSTUNREACH, "x"), ConnectionLost),
        (ClientConnectionError("x"), ConnectionLost),
        (OSError(errno.EMFILE, "x"), OwnLimit),
    ],
)
async def test_error_of_a_library_becomes_an_error_of_the_contract(error: Exception, kind: type[Exception]) -> None:
    endpoint = await session_of(Lies(error), open_fsspec(Location(scheme="memory", host="b", path="site")))
    async with endpoint.open_session() as session:
        with pytest.raises(kind):
            await session.list_directory("")


async def test_full_disk_is_target_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, path: str, value: bytes, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(LocalFileSystem, "pipe_file", full)
    refused = await put(at(tmp_path), "a", b"x")
    assert isinstance(refused, TargetFull)
    assert str(refused) == "cannot write 'a': No space left on device"


async def test_short_upload_is_refused_with_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFileSystem, "pipe_file", lambda self, path, value: Path(path).write_bytes(value[:-1]))
    refused = await put(at(tmp_path), "a", b"four")
    assert isinstance(refused, OperationRefused)
    assert (str(refused), refused.retry) == ("cannot write 'a': 3 of 4 bytes arrived", True)
    assert os.listdir(tmp_path) == []


# Connecting.


def opened_with(error: Exception, secret: Reveal) -> FsspecEndpoint:
    class Closed(LocalFileSystem):  # type: ignore[misc]
        protocol = "closed"

        def __init__(self, password: str = "", **kwargs: Any) -> None:
            super().__init__(**kwargs)

        def info(self, path: str, **kwargs: Any) -> Any:
            raise error

    fsspec.register_implementation("closed", Closed, clobber=True)
    return open_fsspec(Location(scheme="fsspec+closed", host="h", path="srv", password=secret))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("bad key hunter2"), LoginRefused),
        (NoCredentialsError("bad key hunter2"), LoginRefused),
        (RuntimeError("bad key hunter2"), ConnectionLost),
    ],
)
async def test_error_while_connecting_becomes_an_error_of_the_contract(error: Exception, kind: type[Exception]) -> None:
    asked: list[str] = []

    def secret() -> str:
        asked.append("x")
        return "hunter2"

    endpoint = opened_with(error, secret)
    for _ in range(2):
        with pytest.raises(kind, match=r"bad key \*\*\*"):
            async with endpoint.open_session():
                pass
    assert len(asked) == (1 if kind is LoginRefused else 2), "a rejected login is not tried again"


async def test_option_that_the_library_rejects_is_a_profile_error(tmp_path: Path) -> None:
    class Plain(LocalFileSystem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

    fsspec.register_implementation("plain", Plain, clobber=True)
    endpoint = open_fsspec(Location(scheme="fsspec+plain", path="x", options={"region": "eu"}))
    with pytest.raises(ProfileError, match=r"target\.options: TypeError: .*'region'"):
        async with endpoint.open_session():
            pass


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (Location(scheme="fsspec"), "url: names no protocol; write fsspec+NAME://"),
        (Location(scheme="fsspec+https", host="h"), "url: https:// has no complete listings"),
        (Location(scheme="fsspec+nosuch", host="h"), "url: fsspec has no protocol 'nosuch'"),
        (Location(scheme="gs", host="h"), "url: gs:// needs a library: ImportError: "),
        (Location(scheme="memory", user="u"), "url: memory:// has no user, password or port"),
        (Location(scheme="fsspec+file", host="h"), "url: fsspec+file:// has no user, password or port"),
        (Location(scheme="memory", options={"siz": 1}), "options.siz: unknown option; known: "),
        (
            Location(scheme="fsspec+flat", host="h", path="a?b"),
            "url: has a ? in its path, which fsspec does not",
        ),
    ],
)
def test_unusable_location_is_refused(location: Location, line: str) -> None:
    with pytest.raises(Unusable) as caught:
        open_fsspec(location)
    assert str(caught.value).startswith(line)


async def test_missing_source_root_is_refused() -> None:
    endpoint = open_fsspec(Location(scheme="memory", host="missing", path="x", table="source"))
    with pytest.raises(GuardRefused, match="memory://missing/x cannot be listed: the root does not exist"):
        await endpoint.identify()
