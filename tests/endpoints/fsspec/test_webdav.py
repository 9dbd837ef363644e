"""WebDAV: names in URLs and renames, directories with and without a slash, versions, and refusals."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx
import pytest

from actorsync.endpoints.contract import Relocation
from actorsync.errors import (
    ConnectionLost,
    FatalError,
    GuardRefused,
    LoginRefused,
    OperationRefused,
    TargetFull,
)
from actorsync.model.entry import Entry, Kind
from actorsync.testing import CHECKS, check_endpoint
from tests.endpoints.fsspec.stores import listed, put
from tests.support.servers.fake_dav import FakeDav


@pytest.mark.parametrize("check", CHECKS)
async def test_webdav_passes_the_suite(check: str) -> None:
    await check_endpoint(lambda: FakeDav(is_strict=True).endpoint(), only=check, keeps_times=False)


# Names.


@pytest.mark.parametrize(
    "name", ["%41.txt", "%2F.txt", "%", "#", "?", "a?b", "+", "&", " lead", "trail ", ";", "a\\b", "日", "\ufffd"]
)
async def test_unusual_name_arrives_beside_the_name_it_could_be_taken_for(name: str) -> None:
    server = FakeDav({"": None, "A.txt": b"other", "a": None, "a/b": b"deep"})
    entry = await put(server.endpoint(), name, b"new")
    assert isinstance(entry, Entry), entry
    assert server.tree == {"": None, "A.txt": b"other", "a": None, "a/b": b"deep", name: b"new"}
    endpoint = server.endpoint()
    async with endpoint.open_session() as session:
        async with session.open(name) as content:
            assert await content.read(10) == b"new"
        assert await session.remove([entry]) == [True]
    assert name not in server.tree


def cut(mark: str) -> Callable[[str], str]:
    """Return what a server makes of a path that it cuts at a character."""
    return lambda path: path.partition(mark)[0].strip("/")


async def test_name_that_a_rename_cuts_is_refused_and_leaves_everything_alone() -> None:
    before = {"": None, "a": b"precious", "d": None, "d/?": None, "d/?/in": b"old", "d/kept": b"kept"}
    server = FakeDav({**before}, destination=cut("?"))
    for path in ("a?b", "?", "d/?/in", "d/?/new"):
        refused = await put(server.endpoint(), path, b"new")
        assert isinstance(refused, OperationRefused), path
        assert "the server stores this name differently (it contains: ?); rename or exclude it" in str(refused)
        assert server.tree == before, path


async def test_file_is_not_moved_to_a_name_that_a_rename_cuts() -> None:
    server = FakeDav({"": None, "old": b"x", "d?": None}, destination=cut("?"))
    async with server.endpoint().open_session() as session:
        (entry,) = (one for one in (await session.list_directory("")).entries if one.path == "old")
        for path in ("new?", "d?/new"):
            (refused,) = await session.move([Relocation(entry, path)])
            assert isinstance(refused, OperationRefused)
    assert server.tree == {"": None, "old": b"x", "d?": None}


async def test_root_that_a_rename_cuts_is_refused_and_leaves_everything_alone() -> None:
    before = {"": None, "a": None, "a/kept": b"kept", "a?b": None}
    server = FakeDav({**before}, destination=cut("?"))
    refused = await put(server.endpoint("a?b"), "plain", b"new")
    assert isinstance(refused, OperationRefused)
    assert server.tree == before


@pytest.mark.parametrize(
    "fold", [lambda path: path.replace("é", "?").replace("è", "?"), lambda path: path.replace("%41", "A")]
)
async def test_name_that_the_server_changes_is_refused_and_leaves_no_temporary(fold: Callable[[str], str]) -> None:
    server = FakeDav({"": None, "menu-?": b"old", "A": b"old"}, stored=fold)
    for name in ("menu-\xe9", "menu-\xe8", "%41"):
        if fold(name) != name:
            refused = await put(server.endpoint(), name, b"new")
            assert isinstance(refused, OperationRefused)
    assert server.tree == {"": None, "menu-?": b"old", "A": b"old"}


async def test_sweep_of_a_name_that_the_server_rejects_ends() -> None:
    """Only a listing can tell that the temporary is not there."""
    temporary = ".actorsync-00000001-%41"
    server = FakeDav({"": None, ".actorsync-00000001-A": b"left", "A": b"kept"})
    server.override = lambda request: httpx.Response(400) if b"%2541" in request.url.raw_path else None
    async with server.endpoint().open_session() as session:
        assert await session.sweep([temporary]) == [True]
    assert server.tree == {"": None, "A": b"kept"}, "what it became is removed as well"


# Directories.


async def test_directory_that_needs_its_slash_is_found_and_removed() -> None:
    server = FakeDav({"": None, "site": None, "site/d": None}, is_strict=True)
    async with server.endpoint("site").open_session() as session:
        assert await session.remove([Entry("d", Kind.DIRECTORY)]) == [True]
    assert server.tree == {"": None, "site": None}


async def test_directory_that_is_gone_after_it_was_made_does_not_make_the_store_flat() -> None:
    server = FakeDav()
    server.override = lambda request: (
        httpx.Response(404) if request.method == "PROPFIND" and request.url.path.startswith("/d") else None
    )
    endpoint = server.endpoint()
    async with endpoint.open_session() as session:
        (refused,) = await session.make_directories(["d"])
    assert isinstance(refused, OperationRefused)
    assert endpoint._store is not None
    assert not endpoint._store.tree.is_flat


async def test_missing_root_of_a_target_is_made_with_its_parents() -> None:
    server = FakeDav(is_strict=True)
    async with server.endpoint("a/b/c").open_session() as session:
        (made,) = await session.make_directories([""])
    assert isinstance(made, Entry), made
    assert set(server.tree) == {"", "a", "a/b", "a/b/c"}


@pytest.mark.parametrize("lists_missing", [False, True])
async def test_missing_root_of_a_source_is_refused(lists_missing: bool) -> None:
    """Some servers list what does not exist as empty."""
    server = FakeDav()

    def empty(request: httpx.Request) -> httpx.Response | None:
        return server.answer_as_empty(request) if lists_missing and request.headers.get("Depth") == "1" else None

    server.override = empty
    with pytest.raises(GuardRefused, match="cannot be listed: the root does not exist"):
        await server.endpoint("typo", "source").identify()


async def test_listing_with_an_entry_from_elsewhere_is_a_problem() -> None:
    server = FakeDav({"": None, "d": None, "d/a": b"x"})
    server.override = lambda request: (
        server.listing_of("d") if request.headers.get("Depth") == "1" and request.url.path == "/" else None
    )
    async with server.endpoint().open_session() as session:
        listing = await session.list_directory("")
    assert listing.entries == ()
    assert listing.problem is not None


# Versions.


async def test_weak_version_that_became_strong_is_the_same_version() -> None:
    """Apache calls the version of a file weak during the second after its change (RFC 9110, 8.8.1)."""
    server = FakeDav({"": None, "a": b"x"}, etag=lambda _: 'W/"1"')
    endpoint = server.endpoint()
    async with endpoint.open_session() as session:
        (entry,) = (await session.list_directory("")).entries
        server.etag = lambda _: '"1"'
        assert await session.remove([entry]) == [True]


async def test_other_version_is_not_removed() -> None:
    server = FakeDav({"": None, "a": b"x"})
    async with server.endpoint().open_session() as session:
        (entry,) = (await session.list_directory("")).entries
        server.tree["a"] = b"y"
        (refused,) = await session.remove([entry])
    assert isinstance(refused, OperationRefused)
    assert server.tree["a"] == b"y"


async def test_file_that_another_program_makes_before_the_commit_is_not_replaced_blindly() -> None:
    server = FakeDav()

    def race(request: httpx.Request) -> None:
        if request.method == "MOVE":
            server.tree["a"] = b"theirs"

    server.override = race
    refused = await put(server.endpoint(), "a", b"ours")
    assert isinstance(refused, OperationRefused)
    assert refused.retry
    assert server.tree["a"] == b"theirs"


# Refusals.


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (httpx.Response(401), LoginRefused, r"rejects the login \(401 Unauthorized\); check user and password"),
        (httpx.Response(403), LoginRefused, r"forbids it \(403 Forbidden\); check the rights"),
        (httpx.Response(405), FatalError, r"does not support the method \(405 Method Not Allowed\); check that WebDAV"),
        (httpx.Response(200, text="<html>"), FatalError, r"does not speak WebDAV at this path \(answered 200"),
        (httpx.Response(207, text="<html/>"), FatalError, r"does not speak WebDAV at this path \(the answer is XML"),
        (
            httpx.Response(302, headers={"Location": "https://dav.test/login"}),
            FatalError,
            r"redirects to https://dav.test/login \(302 Found\); write the URL",
        ),
        (httpx.Response(503), ConnectionLost, r"is busy \(503 Service Unavailable\)"),
        (httpx.Response(500), ConnectionLost, r"failed \(500 Internal Server Error\); its log tells why"),
        (httpx.ConnectTimeout("timed out"), ConnectionLost, "did not answer in time; raise the option timeout"),
        (httpx.ConnectError("no route"), ConnectionLost, "the connection was lost: no route"),
    ],
)
async def test_answer_at_the_root_names_cause_and_way_out(
    answer: httpx.Response | Exception, kind: type[Exception], text: str
) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(kind, match=text):
        async with FakeDav(override=respond).endpoint("d").open_session():
            pass


async def test_invalid_certificate_is_a_rejected_login() -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
        cause.verify_message = "self-signed certificate"
        raise httpx.ConnectError("handshake") from cause

    with pytest.raises(LoginRefused, match=r"not valid \(self-signed certificate\); .* option verify"):
        async with FakeDav(override=respond).endpoint().open_session():
            pass


@pytest.mark.parametrize(
    ("status", "kind", "text", "retry"),
    [
        (507, TargetFull, "cannot write 'a': the target is full (507 Insufficient Storage)", False),
        (413, OperationRefused, "cannot write 'a': the server accepts no file of this size (413 ", False),
        (423, OperationRefused, "cannot write 'a': another program has locked it (423 Locked)", True),
        (400, OperationRefused, "cannot write 'a': the server rejects the request as invalid (400 Bad Request)", False),
        (418, OperationRefused, "cannot write 'a': the server refuses it (418 I'm a teapot)", False),
    ],
)
async def test_answer_to_an_upload_names_cause_and_way_out(
    status: int, kind: type[OperationRefused], text: str, retry: bool
) -> None:
    server = FakeDav(override=lambda request: httpx.Response(status) if request.method == "PUT" else None)
    refused = await put(server.endpoint(), "a", b"x")
    assert type(refused) is kind
    assert str(refused).startswith(text)
    assert refused.retry is retry
    assert await listed(server.endpoint()) == []


async def test_small_file_costs_five_requests() -> None:
    server = FakeDav()
    endpoint = server.endpoint()
    await put(endpoint, "first", b"x")
    server.requests.clear()
    await put(endpoint, "second", b"x")
    methods = [method for method, _ in server.requests]
    assert methods == ["PUT", "PROPFIND", "PROPFIND", "MOVE", "PROPFIND"]
