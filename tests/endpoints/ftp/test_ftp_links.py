"""Links that a scripted FTP server lists as directories: found by what else it shows, where they have to be found."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest

from actorsync.endpoints.contract import Relocation
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from tests.support.servers.evil import Answer, EvilServer, evil_server
from tests.support.servers.ftp import endpoint_for

OTHER_GREETING = b"220 some server\r\n"
TIME_NS = 1_709_210_096 * 10**9  # of every file of the scripted server
LINK = "a symbolic link is where its directory 'link' should be"


@attrs.define
class Walker:
    """CWD and PWD of a server that walks along paths; ``names`` are what PWD prints for some places."""

    folders: frozenset[str]
    links: Mapping[str, str]
    names: Mapping[str, str] = attrs.Factory(dict)
    _place: str = "/"

    def answers(self) -> dict[str, Answer]:
        return {"CWD": self.enter, "PWD": self.tell}

    def enter(self, path: str) -> bytes:
        place = "/"
        for name in path.split("/"):
            if name == "..":
                place = place.rpartition("/")[0] or "/"
            elif name:
                place = f"{place.rstrip('/')}/{name}"
                place = self.links.get(place, place)
                if place not in self.folders:
                    return b"550 no"
        self._place = place
        return b"250 ok"

    def tell(self, _: str) -> bytes:
        return b'257 "%s"' % self.names.get(self._place, self._place).encode()


def finding(server: EvilServer) -> FtpEndpoint:
    endpoint = endpoint_for(server, "/")
    endpoint.find_links()
    return endpoint


def file(path: str) -> Entry:
    return Entry(path, Kind.FILE, 1, TIME_NS)


def kinds(entries: tuple[Entry, ...]) -> dict[str, Kind]:
    return {entry.path: entry.kind for entry in entries}


async def refusals(endpoint: FtpEndpoint, directory: str) -> list[str]:
    """Try to move and to remove a file of a directory; return the reasons."""
    async with endpoint.open_session() as session:
        (moved,) = await session.move([Relocation(file(f"{directory}/f"), f"{directory}/aside")])
        (removed,) = await session.remove([file(f"{directory}/f")])
    return [str(it) for it in (moved, removed) if isinstance(it, OperationRefused)]


async def test_m036_server_that_walks_along_paths_shows_links_by_pwd() -> None:
    folders = {"/", "/d", "/d/sub", "/elsewhere", "/link"}
    walker = Walker(frozenset(folders - {"/link"}), {"/link": "/elsewhere"})
    files = {"/link/f": b"x", "/elsewhere/f": b"x", "/d/f": b"x"}
    async with evil_server(walker.answers(), folders=folders, files=files, greeting=OTHER_GREETING) as server:
        endpoint = finding(server)
        async with endpoint.open_session() as session:
            listing = await session.list_directory("")
            assert (await session.list_directory("d")).problem is None
        assert listing.problem is None
        assert kinds(listing.entries) == {"d": Kind.DIRECTORY, "elsewhere": Kind.DIRECTORY, "link": Kind.LINK}
        assert not endpoint.hides_links
        assert server.count("LIST") == 0
        assert [LINK in reason for reason in await refusals(endpoint, "link")] == [True, True]
        assert server.files.keys() == files.keys()
        async with endpoint.open_session() as session:
            assert await session.remove([file("d/f")]) == [True]


async def test_m036_link_that_only_pwd_shows_is_not_used_by_a_mirror_either() -> None:
    walker = Walker(frozenset({"/", "/elsewhere"}), {"/link": "/elsewhere"})
    files = {"/link/f": b"x", "/elsewhere/f": b"x"}
    async with evil_server(walker.answers(), folders={"/", "/elsewhere", "/link"}, files=files) as server:
        reasons = await refusals(endpoint_for(server, "/"), "link")
        assert [LINK in reason for reason in reasons] == [True, True]
        assert server.files == files


async def test_name_that_pwd_prints_in_another_form_is_no_link() -> None:
    folders = {"/", "/d", "/d/sub"}
    walker = Walker(frozenset(folders), {}, {"/d": "/D?", "/d/sub": "/D?/sub"})
    async with evil_server(walker.answers(), folders=folders, files={"/d/sub/f": b"x"}) as server:
        endpoint = finding(server)
        async with endpoint.open_session() as session:
            for directory, expected in (("", {"d": Kind.DIRECTORY}), ("d", {"d/sub": Kind.DIRECTORY})):
                assert kinds((await session.list_directory(directory)).entries) == expected
            assert await session.remove([file("d/sub/f")]) == [True]


@pytest.mark.parametrize(
    ("greeting", "kind", "hides"),
    [
        (OTHER_GREETING, b"dir", True),
        (OTHER_GREETING, b"OS.unix=slink:/d", False),
        (b"220 pyftpdlib 2.0 ready\r\n", b"dir", False),
    ],
)
async def test_server_hides_links_unless_it_has_shown_one(greeting: bytes, kind: bytes, hides: bool) -> None:
    """The server reads only the text of a path, so PWD shows nothing."""
    listing = b"type=dir; d\r\ntype=%s; e\r\n" % kind
    folders = {"/", "/d", "/e", "/d/..", "/e/.."}
    async with evil_server(folders=folders, listing=listing, greeting=greeting) as server:
        endpoint = finding(server)
        server.answers = {"CWD": lambda path: b"250 ok" if path.endswith("..") else None}
        async with endpoint.open_session() as session:
            assert (await session.list_directory("")).problem is None
        assert endpoint.hides_links is hides
        assert server.count("LIST") == 1


async def test_m036_nothing_is_changed_in_a_directory_of_which_no_listing_can_tell() -> None:
    files = {"/d/f": b"x"}
    async with evil_server({"LIST": b"450 not now"}, folders={"/", "/d"}, files=files) as server:
        endpoint = finding(server)
        async with endpoint.open_session() as session:
            listing = await session.list_directory("")
        assert listing.problem is not None
        reasons = await refusals(endpoint, "d")
        doubt = "it cannot be told whether a symbolic link is where its directory 'd' should be"
        assert [doubt in reason for reason in reasons] == [True, True]
        assert server.files == files


async def test_a_mirror_asks_for_no_more_than_a_listing() -> None:
    async with evil_server(folders={"/", "/d"}) as server, endpoint_for(server, "/").open_session() as session:
        begun = len(server.commands)
        await session.list_directory("")
    assert [line.split()[0] for line in server.commands[begun:]] == ["EPSV", "MLSD", "QUIT"]
