"""Profiles that load, and the one line that each mistake gives."""

from __future__ import annotations

import os
import pickle
import pwd
import re
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.errors import ProfileError
from actorsync.planning.selection import Selection
from actorsync.profile import (
    TEMPLATE,
    CommandSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    MaxDelete,
    Profile,
    PromptSecret,
    Secret,
    Secrets,
    format_duration,
    load_profile,
    parse_duration,
    parse_rate,
    secret,
)
from actorsync.profile.load import keys as every_key
from actorsync.profile.schema import Shutdown, Sync, TargetTable
from actorsync.profile.template import is_described
from tests.support.docs import reference
from tests.support.root import ROOT

CANARY = "CANARY-4711"
MINIMAL = """
[source]
path = "public"
[target]
url = "ftp://deploy@ftp.example.com:2121/www"
password = { env = "SHOP_PASSWORD" }
"""


#: The keys that are told of one by one; what [source] has for a login is what [target] has.
KEYS = every_key()
TOLD = [key for key in KEYS if is_described(key)]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ACTORSYNC_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.touch(0o600)
    return path


def loaded(path: Path, text: str = MINIMAL, overrides: list[str] | None = None) -> Profile:
    path.write_text(textwrap.dedent(text))
    return load_profile(path, overrides or [])


def refused(path: Path, text: str = MINIMAL, overrides: list[str] | None = None) -> str:
    """The error's line, without the name of the file that it starts with."""
    with pytest.raises(ProfileError) as caught:
        loaded(path, text, overrides)
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    assert CANARY not in line
    return line.removeprefix(f"{path}: ")


def with_url(url: str, password: str = "") -> str:
    return f'[source]\npath = "public"\n[target]\nurl = "{url}"\n{password}\n'


class TestWhatLoads:
    def test_defaults(self, shop: Path) -> None:
        profile = loaded(shop)
        assert profile.path == shop
        assert Path(profile.source.path) == shop.parent / "public"
        assert attrs.astuple(profile.sync, recurse=False) == (
            *(4, None, None, None, "times", False, MaxDelete(50, is_percent=True), (), (), None, (), None, "skip"),
        )
        assert (profile.shutdown.drain, profile.shutdown.cancel) == (30.0, 5.0)
        assert profile.sync.selection() == Selection()

    def test_every_key(self, shop: Path) -> None:
        (shop.parent / ".deployignore").write_bytes(b"\xef\xbb\xbf*.old\r\n# note\r\ncaf\xe9\r\n")
        profile = loaded(
            shop,
            MINIMAL
            + """
            [sync]
            connections = 8
            bwlimit = "1.5M"
            every = "15m"
            delete = true
            max-delete = 500
            exclude = [".git/", "*.tmp", "!keep.tmp", "!first.old"]
            include = ["x.tmp"]
            exclude-from = ".deployignore"
            exclude-extensions = [".bak"]
            max-depth = 12
            links = "follow"
            [shutdown]
            drain = "1m"
            cancel = "0.5s"
            """,
        )
        sync = profile.sync
        assert (sync.connections, sync.every, sync.delete, sync.links) == (8, 900.0, True, "follow")
        assert sync.bwlimit == 1.5 * 1024 * 1024
        assert sync.max_delete == MaxDelete(500, is_percent=False)
        assert (profile.shutdown.drain, profile.shutdown.cancel) == (60.0, 0.5)
        selection = sync.selection()
        assert selection.max_depth == 12
        for name, included in {
            "a.tmp": False, "keep.tmp": True, "x.tmp": True, "a.old": False, "first.old": True, "caf\udce9": False,
            "a.BAK": False, "a": True,
        }.items():  # fmt: skip
            assert selection.is_included(name, is_directory=False) is included, name

    def test_connections_that_are_found_out(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def seen(text: str = "", overrides: list[str] | None = None) -> tuple[bool, int]:
            sync = loaded(shop, MINIMAL + text, overrides).sync
            return sync.is_automatic, sync.most_connections

        assert seen() == (False, 4)
        assert seen("[sync]\nconnections = 64") == (False, 64)
        assert seen('[sync]\nconnections = "auto"') == (True, 16)
        assert seen('[sync]\nconnections = "auto"\nmax-connections = 64') == (True, 64)
        assert seen("", ["sync.connections=auto"]) == (True, 16)
        assert seen("", ['sync.connections="auto"', "sync.max-connections=1"]) == (True, 1)
        assert seen('[sync]\nconnections = "auto"', ["sync.connections=2"]) == (False, 2)
        monkeypatch.setenv("ACTORSYNC_SYNC_CONNECTIONS", "auto")
        assert seen() == (True, 16)
        monkeypatch.setenv("ACTORSYNC_SYNC_MAX_CONNECTIONS", "9")
        assert seen("[sync]\nconnections = 2") == (True, 9)
        assert seen("", ["sync.connections=auto"]) == (True, 9)
        line = 'ACTORSYNC_SYNC_MAX_CONNECTIONS (sync.max-connections): only used with connections = "auto"'
        assert refused(shop, MINIMAL, ["sync.connections=2"]).startswith(line)

    def test_paths_are_relative_to_the_profile(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        loaded(shop)
        monkeypatch.chdir("/")
        assert Path(load_profile(shop).source.path) == shop.parent / "public"
        monkeypatch.chdir(shop.parent)
        assert Path(load_profile(Path("shop.toml")).source.path) == shop.parent / "public"

    @pytest.mark.parametrize("scheme", ["sftp", "ftpes", "ftps", "ftp"])
    def test_the_template_loads_as_it_is_and_with_everything_uncommented(
        self, shop: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(shop.parent))
        for name in (".deployignore", "ca.pem", ".ssh/id_ed25519"):
            (shop.parent / name).parent.mkdir(exist_ok=True)
            (shop.parent / name).touch(0o600)
        as_it_is = loaded(shop, TEMPLATE)
        lines = [
            line.removeprefix("# ") if re.match(r"# [a-z0-9-]+ = ", line) else line for line in TEMPLATE.splitlines()
        ]
        keys = [key for line in lines if (key := line.partition(" = ")[0]) != line and not line.startswith("#")]
        assert keys == [key.partition(".")[2] for key in TOLD]
        foreign = {
            field.name.replace("_", "-")
            for field in attrs.fields(TargetTable)
            if field.metadata["schemes"] and scheme not in field.metadata["schemes"]
        }
        lines.remove('url = "sftp://deploy@www.example.com/www"')  # the first, which is the source's
        text = "\n".join(line for line in lines if line.partition(" = ")[0] not in foreign)
        uncommented = loaded(shop, text.replace('url = "sftp:', f'url = "{scheme}:'))
        assert (as_it_is.sync, as_it_is.shutdown) == (Sync(), Shutdown())
        for table, defaults in ((uncommented.sync, Sync()), (uncommented.shutdown, Shutdown())):
            values = attrs.asdict(table, recurse=False).items()
            assert [name for name, value in values if value == getattr(defaults, name)] == []
        assert (uncommented.sync.is_automatic, uncommented.sync.most_connections) == (True, 32)
        assert (uncommented.identity == as_it_is.identity) is (scheme == "sftp")

    def test_the_template_has_every_key(self) -> None:
        written = re.findall(r"^(?:# )?([a-z0-9-]+) = ", TEMPLATE, re.MULTILINE)
        assert written == [key.partition(".")[2] for key in TOLD]


@pytest.mark.parametrize(
    ("addition", "reason"),
    [
        ("[sync]\nmax-delte = 5", "sync.max-delte: unknown key; did you mean sync.max-delete?"),
        ("[sync]\nmax_delete = 5", "sync.max_delete: unknown key; did you mean sync.max-delete?"),
        ("[sync]\npath = 'x'", "sync.path: unknown key; did you mean source.path?"),
        ("[synk]\ndelete = true", "synk: unknown key; did you mean sync?"),
        ("[hooks]\nafter = 1", "hooks: unknown key; known: source, target, sync, shutdown"),
        ("[shutdown]\nxyzzy = 1", "shutdown.xyzzy: unknown key; known: shutdown.drain, shutdown.cancel"),
        ("[sync]\n'a\\nb' = 1", "sync.a\\nb: unknown key; known: "),
        ("[sync]\nconnections = 0", "sync.connections: 0 is not a whole number from 1 to 64"),
        ("[sync]\nconnections = 65", "sync.connections: 65 is not a whole number from 1 to 64"),
        ("[sync]\nconnections = true", "sync.connections: true is not a whole number from 1 to 64"),
        ("[sync]\nconnections = '8'", 'sync.connections: "8" is not a whole number from 1 to 64, or "auto"'),
        ("[sync]\nconnections = 'Auto'", 'sync.connections: "Auto" is not a whole number from 1 to 64, or "auto"'),
        ("[sync]\nconnections = 'auto'\nmax-connections = 0", "sync.max-connections: 0 is not a whole number from 1 "),
        ("[sync]\nconnections = 'auto'\nmax-connections = 65", "sync.max-connections: 65 is not a whole number from "),
        ("[sync]\nconnections = 8\nmax-connections = 16", 'sync.max-connections: only used with connections = "auto"'),
        ("[sync]\nmax-connections = 16", 'sync.max-connections: only used with connections = "auto"; '),
        ("[sync]\nmax-depth = 0", "sync.max-depth: 0 is not a whole number of at least 1"),
        ("[sync]\nbwlimit = 512", 'sync.bwlimit: 512 is not text; write it in quotes: "2M"'),
        (
            "[sync]\nbwlimit = '512'",
            'sync.bwlimit: "512" is not a rate; write it like "512K", "2M" or "1.5M" (bytes a ',
        ),
        ("[sync]\nbwlimit = '2Mbit'", 'sync.bwlimit: "2Mbit" is not a rate; write it like '),
        ("[sync]\nbwlimit = '-1M'", 'sync.bwlimit: "-1M" is not a rate; '),
        ("[sync]\nbwlimit = '0.5K'", 'sync.bwlimit: "0.5K" is too low; the minimum is "1K", and "off" means no limit'),
        ("[sync]\nbwlimit = '1025G'", 'sync.bwlimit: "1025G" is too high; the maximum is "1024G", and "off" means no '),
        ("[sync]\ndelete = 'yes'", 'sync.delete: "yes" is not true or false; write it without quotes'),
        ("[sync]\nevery = 15", 'sync.every: 15 is not text; write it in quotes: "30s"'),
        ("[sync]\nevery = '15'", 'sync.every: "15" is not a duration; write it like "30s", "5m" or "1h30m"'),
        ("[sync]\nmax-delete = '101%'", 'sync.max-delete: "101%" is not a count such as 500 or a percentage'),
        ("[sync]\nmax-delete = -1", "sync.max-delete: -1 is not a count"),
        ("[sync]\nlinks = 'copy'", 'sync.links: "copy" is not one of "skip", "follow", "error"'),
        ("[sync]\ncompare = 'size'", 'sync.compare: "size" is not one of "times", "checksum"'),
        ("[sync]\nexclude = '*.tmp'", 'sync.exclude: "*.tmp" is not a list of strings; write it like [".git/", '),
        ("[sync]\nexclude = ['a\\']", "sync.exclude: 'a\\\\' is not a valid gitignore pattern"),
        ("[sync]\ninclude = [1]", "sync.include: [1] is not a list of strings"),
        ("[sync]\nexclude-from = 'none'", "sync.exclude-from: cannot read "),
        ("[sync]\nexclude-extensions = ['.']", 'sync.exclude-extensions: "." is not a file extension'),
        ("[shutdown]\ndrain = '9999999d'", 'shutdown.drain: "9999999d" is too long; the maximum is 36500d'),
        ("[sync]\nevery = 1979-05-27", 'sync.every: "1979-05-27" is not text'),
        ("[sync", "is not valid TOML: "),
        ("[sync]\na = 1\na = 2\n", "is not valid TOML: Cannot overwrite a value (at line 9, column 6)"),
        ("x = " + "[" * 5000, "is not valid TOML: "),
        ("x = " + "9" * 5000, "is not valid TOML: "),
    ],
)
def test_each_mistake_is_one_line_with_the_key_and_the_way_out(shop: Path, addition: str, reason: str) -> None:
    text = addition + MINIMAL if addition.startswith("x = ") else MINIMAL + addition
    assert refused(shop, text).startswith(reason)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 'source.path: missing; add path = "./public" to [source]'),
        ("[source]\npath = 'a'", 'target.url: missing; add url = "sftp://deploy@www.example.com/www" to [target]'),
        ("[source]\npth = 'a'", "source.pth: unknown key; did you mean source.path?"),
        ("source = 5", "source: is not a table; write it as [source]"),
        ("[[sync]]\n", "sync: is not a table; write it as [sync]"),
        (MINIMAL.replace('"public"', "5"), 'source.path: 5 is not text; write it in quotes: "./public"'),
        (MINIMAL.replace('"public"', '"a\\u0000b"'), "source.path: is not a path: it is empty or contains a NUL"),
    ],
)
def test_what_is_missing_or_in_the_wrong_shape(shop: Path, text: str, line: str) -> None:
    assert refused(shop, text) == line


def test_files_that_are_no_profile(tmp_path: Path) -> None:
    def line(path: Path) -> str:
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        return str(caught.value).removeprefix(f"{path}: ")

    assert line(tmp_path / "none.toml") == "no such file; create one with: actorsync init"
    assert line(tmp_path) == "cannot be read: Not a regular file"
    assert line(tmp_path / ("n" * 300)) == "cannot be read: File name too long"
    (tmp_path / "line\nfeed").write_bytes(b"\xff")
    with pytest.raises(ProfileError, match=r"line\\nfeed: is not UTF-8 text \(byte 0\); save it as UTF-8"):
        load_profile(tmp_path / "line\nfeed")
    os.mkfifo(tmp_path / "fifo")
    assert line(tmp_path / "fifo") == "cannot be read: Not a regular file"
    (tmp_path / "large").write_bytes(b"#" * 2_000_000)
    assert line(tmp_path / "large") == "cannot be read: Longer than 1048576 bytes"


class TestTarget:
    @pytest.mark.parametrize(
        ("url", "expected", "display"),
        [
            ("ftp://h", ("", "h", 21, "anonymous"), "ftp://h/"),
            ("FTP://H.Example/", ("", "h.example", 21, "anonymous"), "ftp://h.example/"),
            ("ftp://h:2121/www", ("www", "h", 2121, "anonymous"), "ftp://h:2121/www"),
            ("ftp://h:/www//sub/./", ("www/sub", "h", 21, "anonymous"), "ftp://h/www/sub"),
            ("ftp://h//www", ("/www", "h", 21, "anonymous"), "ftp://h//www"),
            ("ftp://h/%2Fwww", ("/www", "h", 21, "anonymous"), "ftp://h//www"),
            ("ftp://h//", ("/", "h", 21, "anonymous"), "ftp://h//"),
            ("ftp://h/a%20b%3Fc", ("a b?c", "h", 21, "anonymous"), "ftp://h/a%20b%3Fc"),
            ("ftp://h/caf%E9", ("caf\udce9", "h", 21, "anonymous"), "ftp://h/caf%E9"),
            ("ftp://@h/", ("", "h", 21, "anonymous"), "ftp://h/"),
            ("ftp://[2001:DB8::1]:2121/w", ("w", "2001:db8::1", 2121, "anonymous"), "ftp://[2001:db8::1]:2121/w"),
            ("ftp://[fe80::1%25eth0]/", ("", "fe80::1%eth0", 21, "anonymous"), "ftp://[fe80::1%25eth0]/"),
        ],
    )
    def test_urls(self, shop: Path, url: str, expected: tuple[str, str, int, str], display: str) -> None:
        target = loaded(shop, with_url(url)).target
        assert (target.path, target.host, target.port, target.user) == expected
        assert target.scheme == "ftp"
        assert target.password == Secret("anonymous@")
        assert target.display == display
        assert loaded(shop, with_url(display)).target == target

    @pytest.mark.parametrize(
        ("url", "expected", "display"),
        [
            ("sftp://deploy@h/www", ("sftp", "www", 22, "deploy"), "sftp://deploy@h/www"),
            ("sftp://deploy@h:2222//srv/www", ("sftp", "/srv/www", 2222, "deploy"), "sftp://deploy@h:2222//srv/www"),
            ("sftp://anonymous@h/", ("sftp", "", 22, "anonymous"), "sftp://anonymous@h/"),
            ("sftp://d@h/caf%E9%FF", ("sftp", "caf\udce9\udcff", 22, "d"), "sftp://d@h/caf%E9%FF"),
            ("sftp://d@h//~/www", ("sftp", "/~/www", 22, "d"), "sftp://d@h//~/www"),
            ("FTPES://h:21/www", ("ftpes", "www", 21, "anonymous"), "ftpes://h/www"),
            ("ftpes://h:990/", ("ftpes", "", 990, "anonymous"), "ftpes://h:990/"),
            ("ftps://h/~/x", ("ftps", "~/x", 990, "anonymous"), "ftps://h/~/x"),
            ("ftps://h:21//", ("ftps", "/", 21, "anonymous"), "ftps://h:21//"),
        ],
    )
    def test_every_scheme_has_the_same_rules(
        self, shop: Path, url: str, expected: tuple[str, str, int, str], display: str
    ) -> None:
        target = loaded(shop, with_url(url)).target
        assert (target.scheme, target.path, target.port, target.user) == expected
        assert target.display == display
        assert loaded(shop, with_url(display)).target == target

    def test_without_a_user_sftp_takes_yours_as_ssh_does(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("USER", "LOGNAME"):
            monkeypatch.setenv(variable, "somebody-else")
        target = loaded(shop, with_url("sftp://h/")).target
        assert target.user == pwd.getpwuid(os.geteuid()).pw_name
        assert (target.password, target.passphrase) == (None, None)

    def test_a_user_that_has_no_name_must_give_one(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
        assert refused(shop, with_url("sftp://h/")) == (
            "target.url: has no user, and your user id has no name here; write sftp://user@host/dir"
        )

    def test_a_named_user(self, shop: Path) -> None:
        target = loaded(shop, with_url("ftp://a%40b%3Ac@h/", 'password = { env = "E" }')).target
        assert target.user == "a@b:c"
        assert target.display == "ftp://a%40b%3Ac@h/"
        line = refused(shop, with_url("ftp://deploy@h/"))
        assert line == (
            'target.password: missing, but target.url names a user; add password = { env = "..." } to [target]'
        )

    @pytest.mark.parametrize("url", ["mirror", "./mirror", "file://{}/mirror", "file://localhost{}/mirror"])
    def test_directories(self, shop: Path, url: str) -> None:
        target = loaded(shop, with_url(url.format(shop.parent))).target
        assert (target.scheme, target.path, target.password) == ("file", str(shop.parent / "mirror"), None)
        assert target.display == target.path

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", 'is empty; write a URL like "sftp://user@host/dir", or a directory'),
            (
                "https://h/",
                (
                    "not supported: https:// (use sftp://, ftpes://, ftps:// or ftp://, a directory for a mirror on "
                    "this machine, or a plug-in: abfs://, abfss://, az://, gcs://, gs://, hdfs://, memory://, "
                    "s3://, smb://, webdav://, webdavs://; for other protocols of fsspec, "
                    "pip install 'actorsync[fsspec]' and write fsspec+NAME://)"
                ),
            ),
            ("sftp:///www", "has no host; write it like sftp://user@host/dir"),
            ("ftps://2001:db8::1/", "has too many colons; an IPv6 address goes in brackets: ftps://[2001:db8::1]/dir"),
            ("sftp://h/a%0Ab", "the path contains a line feed, which is not allowed in a path"),
            (
                "sftp://h/~/www",
                (
                    "has ~ in its path, which is not needed: paths start in the login directory (sftp://host/www); "
                    "an absolute path needs two slashes (sftp://host//srv/www)"
                ),
            ),
            ("ftp:///www", "has no host; write it like ftp://user@host/dir"),
            ("ftp://h:x/", "has a port that is not a number from 1 to 65535"),
            ("ftp://h:65536/", "has a port that is not a number from 1 to 65535"),
            ("ftp://2001:db8::1/", "has too many colons; an IPv6 address goes in brackets: ftp://[2001:db8::1]/dir"),
            ("ftp://[::g]/", "has brackets without a valid IPv6 address"),
            ("ftp://[::1]x/", "has something other than a port after the brackets"),
            ("ftp://[::1", "has something other than a port after the brackets"),
            ("ftp://a b/", "has a host name with an invalid character"),
            ("ftp://h/a/../b", "has .. in its path; write the path that it leads to"),
            ("ftp://h/a#b", "has a # in its path; write it as %23"),
            ("ftp://h/a%0Ab", "the path contains a line feed, which cannot be sent in an FTP command"),
            ("deploy@h:/www", "is not a URL; write sftp://host/dir, or ./ before a directory with a colon in its name"),
            ("file://h/www", "a file URL has three slashes and an absolute path: file:///srv/www"),
            ("file:///a%00b", "contains a NUL"),
        ],
    )
    def test_urls_that_cannot_be_used(self, shop: Path, url: str, reason: str) -> None:
        assert refused(shop, with_url(url)) == f"target.url: {reason}"

    @pytest.mark.parametrize(
        "url",
        [f"ftp://deploy:{CANARY}@h/", f"ftp://deploy:{CANARY}/x@h/", f"ftp://:{CANARY}@h", f"FTP://a:b@{CANARY}@h/"],
    )
    @pytest.mark.parametrize("scheme", ["ftp", "ftpes", "ftps", "sftp"])
    def test_m106_password_in_url_is_refused(self, shop: Path, url: str, scheme: str) -> None:
        url = scheme + url[3:]
        line = refused(shop, with_url(url))
        assert line.startswith("target.url: contains a password, which process lists and logs would show")
        assert 'use password = { env = "..." } in [target]' in line
        line = refused(shop, MINIMAL, [f"target.url={url}"])
        assert line.startswith("--set target.url: contains a password")

    @pytest.mark.parametrize(
        ("code", "name"),
        [("%0D", "a carriage return"), ("%0A", "a line feed"), ("%00", "a NUL"), ("%FF", "a 0xFF byte")],
    )
    @pytest.mark.parametrize("scheme", ["ftp", "ftpes", "ftps"])
    def test_m110_a_user_that_would_break_the_command_line_is_refused(
        self, shop: Path, code: str, name: str, scheme: str
    ) -> None:
        line = refused(shop, with_url(f"{scheme}://dep{code}loy@h/", 'password = { env = "E" }'))
        assert line == f"target.url: the user contains {name}, which cannot be sent in an FTP command"

    @pytest.mark.parametrize(
        ("code", "fault"),
        [
            ("%0D", "contains a carriage return, which is not allowed in a user name"),
            ("%0A", "contains a line feed, which is not allowed in a user name"),
            ("%00", "contains a NUL, which is not allowed in a user name"),
            ("%FF", "is not UTF-8 text, which SSH requires"),
        ],
    )
    def test_m110_a_user_that_no_ssh_server_has_is_refused(self, shop: Path, code: str, fault: str) -> None:
        assert refused(shop, with_url(f"sftp://dep{code}loy@h/")) == f"target.url: the user {fault}"

    def test_m071_a_target_that_overlaps_the_source_is_refused(self, shop: Path) -> None:
        public = shop.parent / "public"
        (public / "sub").mkdir(parents=True)
        (shop.parent / "link").symlink_to(public)
        expected = {
            "public": "target.url: is the same directory as the source; use another one",
            "link": "target.url: is the same directory as the source; use another one",
            "link/new": "target.url: is inside the source; use a directory outside it",
            "public/sub": "target.url: is inside the source; use a directory outside it",
            ".": "target.url: contains the source; use a directory that does not",
            "/": "target.url: contains the source; use a directory that does not",
        }
        for url, line in expected.items():
            assert refused(shop, with_url(url)) == line, url
        assert loaded(shop, with_url("public-2")).target.path == f"{public}-2"

    def test_a_directory_takes_no_password(self, shop: Path) -> None:
        line = refused(shop, with_url("mirror", 'password = { env = "E" }'))
        assert line == "target.password: a directory needs no password; remove it"


class TestLogin:
    """The keys of ``[target]`` that say how to log in, and what is believed to be the server."""

    PIN = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"

    def test_the_keys_of_sftp(self, shop: Path) -> None:
        (shop.parent / "id").touch(0o600)
        target = loaded(
            shop,
            with_url(
                "sftp://deploy@h/",
                f"""key-file = "id"
                passphrase = {{ env = "P" }}
                agent = false
                known-hosts = "hosts"
                host-key = "{self.PIN}"
                lanes = 8
                fsync = true""",
            ),
        ).target
        assert (target.key_file, target.known_hosts) == (shop.parent / "id", shop.parent / "hosts")
        assert (target.passphrase, target.password) == (EnvSecret("P"), None)
        assert (target.agent, target.host_key, target.lanes, target.fsync) == (False, self.PIN, 8, True)

    def test_what_goes_without_saying(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/x")
        target = loaded(shop, with_url("sftp://deploy@h/")).target
        assert target.known_hosts == Path("/home/x/.ssh/known_hosts")
        assert (target.agent, target.lanes, target.fsync, target.host_key) == (None, None, False, None)
        assert loaded(shop, with_url("ftpes://h/")).target.tls_min_version == "1.2"
        assert loaded(shop, with_url("ftpes://h/")).target.known_hosts is None

    @pytest.mark.parametrize("written", [":".join(["AB"] * 32), "ab" * 32, "AB" * 32])
    def test_the_keys_of_tls(self, shop: Path, written: str) -> None:
        (shop.parent / "ca.pem").touch()
        text = with_url("ftps://h/", f'ca-file = "ca.pem"\ncertificate-sha256 = "{written}"\ntls-min-version = "1.3"')
        target = loaded(shop, text).target
        assert (target.ca_file, target.tls_min_version) == (shop.parent / "ca.pem", "1.3")
        assert target.certificate_sha256 == "ab" * 32

    @pytest.mark.parametrize(
        ("url", "key", "line"),
        [
            ("ftp", "key-file = 'none'", "key-file: only sftp:// uses keys; remove it"),
            ("ftps", "passphrase = { env = 'E' }", "passphrase: only sftp:// uses keys; remove it"),
            ("ftpes", "agent = true", "agent: only sftp:// uses keys; remove it"),
            ("ftp", "known-hosts = 'x'", "known-hosts: only sftp:// has host keys; ftpes:// and ftps:// have ca-file "),
            ("ftp", "lanes = 2", "lanes: only sftp:// transfers several files at once on a connection; remove it"),
            (
                "ftp",
                "fsync = false",
                "fsync: only sftp:// can ask the server to flush a file to its disk; remove it",
            ),
            (
                "sftp",
                "ca-file = 'x'",
                "ca-file: only ftpes:// and ftps:// have certificates; sftp:// has host-key and ",
            ),
            ("ftp", "tls-min-version = '1.3'", "tls-min-version: only ftpes:// and ftps:// have TLS; remove it"),
            ("file", "agent = true", "agent: only sftp:// uses keys; remove it"),
            ("sftp", "key-file = 'none'", "key-file: cannot read {}/none: No such file or directory; name a file that"),
            ("sftp", "key-file = 'open'", "key-file: other users can access {0}/open (mode 0644); run: chmod 600 "),
            ("ftps", "ca-file = '.'", "ca-file: cannot read {}: Not a regular file; name a file that you can read"),
            ("sftp", "host-key = 'MD5:00'", 'host-key: "MD5:00" is not the fingerprint of a host key; write it as '),
            ("sftp", "lanes = 65", "lanes: 65 is not a whole number from 1 to 64"),
            ("ftps", "tls-min-version = 1.2", 'tls-min-version: 1.2 is not one of "1.2", "1.3"'),
            ("ftps", "certificate-sha256 = 'ab'", 'certificate-sha256: "ab" is not the SHA-256 fingerprint of a cert'),
            ("sftp", "passphrase = { env = 'E' }", "passphrase: only used with a key file; add key-file = "),
            ("sftp", "host-keys = 'x'", "host-keys: unknown key; did you mean target.host-key?"),
        ],
    )
    def test_what_does_not_fit(self, shop: Path, url: str, key: str, line: str) -> None:
        (shop.parent / "open").touch()
        (shop.parent / "open").chmod(0o644)
        url = str(shop.parent / "mirror") if url == "file" else f"{url}://h/"
        assert refused(shop, with_url(url, key)).startswith(f"target.{line.format(shop.parent)}")

    @pytest.mark.parametrize("scheme", ["ftpes", "ftps"])
    def test_a_named_user_of_ftps_has_a_password(self, shop: Path, scheme: str) -> None:
        assert refused(shop, with_url(f"{scheme}://deploy@h/")).startswith("target.password: missing, but target.url")
        assert loaded(shop, with_url(f"{scheme}://h/")).target.password == Secret("anonymous@")


class TestSourceOnAServer:
    PULL = """
    [source]
    url = "sftp://deploy@example.com/www"
    password = { env = "SHOP_PASSWORD" }
    lanes = 4
    [target]
    url = "mirror"
    """

    def test_it_has_what_a_target_has(self, shop: Path) -> None:
        (shop.parent / "ca.pem").touch()
        source = loaded(shop, self.PULL).source
        assert (source.scheme, source.user, source.host, source.path, source.lanes) == (
            *("sftp", "deploy", "example.com", "www", 4),
        )
        assert isinstance(source.password, EnvSecret)
        assert source.password.where == f"{shop}: source.password"
        both = self.PULL.replace('"mirror"', '"ftpes://h/www"\nca-file = "ca.pem"').replace(
            "lanes = 4", "host-key = 'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU'"
        )
        profile = loaded(shop, both)
        assert (profile.source.host_key is None, profile.target.ca_file) == (False, shop.parent / "ca.pem")

    def test_a_directory_as_url_is_a_directory(self, shop: Path) -> None:
        by_url = loaded(shop, MINIMAL.replace('path = "public"', 'url = "public"'))
        assert by_url.source == loaded(shop).source
        assert by_url.identity == loaded(shop).identity

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                "[source]\nurl = 'ftp://u@h/'",
                "source.password: missing, but source.url names a user; add password = ",
            ),
            ("[source]\nurl = 'sftp://h/'\nfsync = true", "source.fsync: unknown key; did you mean target.fsync?"),
            ("[source]\nurl = 'sftp://h/'\nca-file = 'ca.pem'", "source.ca-file: only ftpes:// and ftps:// have"),
            ("[source]\nurl = 'sftp://u:secret@h/'", "source.url: contains a password, which process lists"),
            ("[source]\nurl = 'https://h/'", "source.url: not supported: https://"),
            (
                "[source]\nurl = 'sftp://h/'\n[sync]\nlinks = 'follow'",
                "sync.links: links can only be followed in a source",
            ),
            ("[source]\npath = 'x'\nkey-file = 'y'", "source.key-file: only sftp:// uses keys; remove it"),
        ],
    )
    def test_mistakes_name_the_source(self, shop: Path, text: str, line: str) -> None:
        assert refused(shop, f"{text}\n[target]\nurl = 'mirror'\n").startswith(line)

    def test_a_password_in_a_readable_profile(self, shop: Path) -> None:
        text = self.PULL.replace('{ env = "SHOP_PASSWORD" }', f'"{CANARY}"')
        assert loaded(shop, text).source.look_up().password == Secret(CANARY)
        shop.chmod(0o640)
        assert refused(shop, text).startswith("source.password: the profile contains a password, and other ")

    def test_overrides(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACTORSYNC_SOURCE_PASSWORD", CANARY)
        assert loaded(shop, self.PULL, ["source.url=ftp://h2/x", "source.lanes=1"][:0]).look_up().source == Secrets(
            Secret(CANARY)
        )
        assert refused(shop, self.PULL, [f"source.password={CANARY}"]).startswith(
            "--set source.password: a password here"
        )

    @pytest.mark.parametrize(
        ("source", "target", "fault"),
        [
            ("ftp://h/www", "ftp://h/www", "is the same directory as the source"),
            ("ftp://h/www", "ftp://h/www/sub", "is inside the source"),
            ("ftp://h/www/sub", "ftp://h/www", "contains the source"),
            ("ftp://h/", "ftp://h/www", "is inside the source"),
            ("ftp://h//", "ftp://h//srv", "is inside the source"),
            ("ftp://h/www", "ftp://h/www2", None),
            ("ftp://h/www", "ftp://h//www", None),
            ("ftp://h/www", "ftp://h:2121/www", None),
            ("ftp://h/www", "sftp://h/www", None),
        ],
    )
    def test_the_same_place_is_refused(self, shop: Path, source: str, target: str, fault: str | None) -> None:
        text = f"[source]\nurl = '{source}'\n[target]\nurl = '{target}'\n"
        if fault is None:
            loaded(shop, text)
        else:
            assert refused(shop, text).startswith(f"target.url: {fault}")

    def test_identity(self, shop: Path) -> None:
        one = loaded(shop, self.PULL).identity
        assert loaded(shop, self.PULL.replace("lanes = 4", "lanes = 5")).identity == one
        changed = [("sftp:", "ftpes:"), ("deploy", "eva"), ("example.com", "example.org"), ("/www", "//www")]
        changed += [("example.com", "example.com:2222"), ('"mirror"', '"mirror2"')]
        texts = [self.PULL.replace("lanes = 4\n", "").replace(*change) for change in changed]
        assert len({one, *(loaded(shop, text).identity for text in texts)}) == 7


class TestIdentity:
    def test_of_earlier_profiles_is_what_it_was(self, shop: Path) -> None:
        text = MINIMAL.replace('"public"', '"/srv/public"')
        assert loaded(shop, text).identity == "53ee09599467d4cf"
        assert loaded(shop, text.replace("/www", "//www")).identity == "f4347b5f42fedc5d"

    def test_the_same_place_by_another_way_is_another_pair(self, shop: Path) -> None:
        ways = {
            loaded(shop, MINIMAL.replace("ftp://deploy", f"{scheme}://deploy")).identity
            for scheme in ("ftp", "ftpes", "ftps", "sftp")
        }
        assert len(ways) == 4

    def test_stays_with_the_pair_and_changes_with_any_part_of_it(self, shop: Path) -> None:
        first = loaded(shop)
        assert first.identity == loaded(shop, MINIMAL + "[sync]\nconnections = 1").identity
        assert len(bytes.fromhex(first.identity)) == 8
        changed = [("public", "other"), ("deploy", "eva"), ("ftp.ex", "ex"), (":2121", ""), ("/www", "//www")]
        identities = {loaded(shop, MINIMAL.replace(*change)).identity for change in changed}
        assert len({*identities, first.identity}) == 6

    def test_a_link_to_the_source_is_the_source(self, shop: Path) -> None:
        (shop.parent / "public").mkdir()
        (shop.parent / "link").symlink_to("public")
        assert loaded(shop).identity == loaded(shop, MINIMAL.replace('"public"', '"link"')).identity


class TestOverrides:
    def test_set_wins_over_the_environment_and_that_over_the_file(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = MINIMAL + "[sync]\nconnections = 1\nmax-depth = 1\n"
        monkeypatch.setenv("ACTORSYNC_SYNC_CONNECTIONS", "2")
        monkeypatch.setenv("ACTORSYNC_SYNC_MAX_DEPTH", "2")
        monkeypatch.setenv("ACTORSYNC_SYNC_EVERY", "15m")
        monkeypatch.setenv("ACTORSYNC_OTHER", "not about a key")
        sync = loaded(shop, text, ["sync.connections=3", "sync.connections=5", "sync.max-delete=20%"]).sync
        assert (sync.connections, sync.max_depth, sync.every) == (5, 2, 900.0)
        assert str(sync.max_delete) == "20%"

    def test_values_are_toml_or_else_text(self, shop: Path) -> None:
        profile = loaded(shop, MINIMAL, ['sync.exclude=["a", "b"]', "sync.delete=true", "source.path=2024"])
        assert profile.sync.exclude == ("a", "b")
        assert profile.sync.delete is True
        assert Path(profile.source.path) == shop.parent / "2024"
        assert Path(loaded(shop, MINIMAL, ['source.path="quoted"']).source.path) == shop.parent / "quoted"

    def test_overrides_can_make_up_for_what_is_missing(self, shop: Path) -> None:
        assert loaded(shop, "", ["source.path=a", "target.url=ftp://h/"]).target.host == "h"

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("sync.connections=99", "--set sync.connections: 99 is not a whole number from 1 to 64"),
            ("sync.connections", "--set: has no value; write it like --set sync.connections=2"),
            ("sync.conections=2", "--set sync.conections: unknown key; did you mean sync.connections?"),
            ("connections=2", "--set connections: unknown key; did you mean sync.connections?"),
            ("sync.exclude=1\nlinks=2", '--set sync.exclude: "1\\nlinks=2" is not a list of strings'),
            ("=", "--set : unknown key; known: source, target, sync, shutdown"),
        ],
    )
    def test_errors_name_the_option(self, shop: Path, override: str, line: str) -> None:
        assert refused(shop, MINIMAL, [override]).startswith(line)

    def test_errors_name_the_variable(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ACTORSYNC_SYNC_MAX_DELETE", "many")
        assert refused(shop).startswith('ACTORSYNC_SYNC_MAX_DELETE (sync.max-delete): "many" is not a count')
        monkeypatch.delenv("ACTORSYNC_SYNC_MAX_DELETE")
        monkeypatch.setenv("ACTORSYNC_SYNC_CONECTIONS", "2")
        assert refused(shop) == (
            "ACTORSYNC_SYNC_CONECTIONS: environment variable for an unknown key; "
            "did you mean ACTORSYNC_SYNC_CONNECTIONS?"
        )

    @pytest.mark.parametrize("password", [CANARY, "true", "12", '{ env = "X" }'])
    def test_a_password_in_the_environment_is_taken_to_the_letter(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch, password: str
    ) -> None:
        monkeypatch.setenv("ACTORSYNC_TARGET_PASSWORD", password)
        assert loaded(shop).target.password == Secret(password)

    def test_m106_a_password_on_the_command_line_is_refused(self, shop: Path) -> None:
        for override in (
            f"target.password={CANARY}",
            f'target.password="{CANARY}"',
            f"target.password={{env={CANARY}}}",
        ):
            line = refused(shop, MINIMAL, [override])
            assert line.startswith("--set target.password: a password here would be visible to others")
        assert loaded(shop, MINIMAL, ['target.password={ env = "X" }']).target.password == EnvSecret("X")


INLINE = MINIMAL.replace('{ env = "SHOP_PASSWORD" }', f'"{CANARY}"')
SSH_INLINE = f"""
[source]
path = "public"
[target]
url = "sftp://deploy@h/www"
key-file = "id"
passphrase = "{CANARY}-P"
password = "{CANARY}"
"""


class TestSecrets:
    def test_an_inline_password_in_a_private_profile(self, shop: Path) -> None:
        profile = loaded(shop, INLINE)
        assert profile.target.password is not None
        assert profile.target.password.resolve().reveal() == CANARY

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
    def test_m107_inline_password_in_a_readable_profile(self, shop: Path, mode: int) -> None:
        shop.chmod(mode)
        for overrides in ([], ['target.password={ env = "X" }']):
            line = refused(shop, INLINE, overrides).partition(": ")[2]
            assert line == (
                f"the profile contains a password, and other users can access it (mode {mode:04o}); "
                f'run: chmod 600 {shop}, or use password = {{ env = "..." }}'
            )

    def test_m107_inline_password_in_a_linked_profile(self, shop: Path) -> None:
        loaded(shop, INLINE)
        link = shop.parent / "link.toml"
        link.symlink_to(shop)
        with pytest.raises(ProfileError, match="is a symbolic link"):
            load_profile(link)

    def test_m107_inline_password_in_a_profile_of_another(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        loaded(shop, INLINE)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert refused(shop, INLINE).startswith("target.password: the profile contains a password, and another ")

    def test_m107_inline_passphrase_in_a_readable_profile(self, shop: Path) -> None:
        (shop.parent / "id").touch(0o600)
        text = SSH_INLINE.replace(f'password = "{CANARY}"', "")
        assert loaded(shop, text).target.look_up().passphrase == Secret(f"{CANARY}-P")
        shop.chmod(0o640)
        assert refused(shop, text) == (
            "target.passphrase: the profile contains a passphrase, and other users can access it (mode 0640); "
            f'run: chmod 600 {shop}, or use passphrase = {{ env = "..." }}'
        )
        shop.chmod(0o600)
        link = shop.parent / "link.toml"
        link.symlink_to(shop)
        with pytest.raises(ProfileError, match="the profile contains a passphrase, and it is a symbolic link"):
            load_profile(link)

    def test_m106_a_passphrase_on_the_command_line_is_refused(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (shop.parent / "id").touch(0o600)
        line = refused(shop, SSH_INLINE, [f"target.passphrase={CANARY}"])
        assert line.startswith("--set target.passphrase: a passphrase here would be visible to others")
        monkeypatch.setenv("ACTORSYNC_TARGET_PASSPHRASE", "true")
        assert loaded(shop, SSH_INLINE).target.passphrase == Secret("true")

    def test_ssh_takes_any_text_as_a_password(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (shop.parent / "id").touch(0o600)
        assert loaded(shop, SSH_INLINE.replace(f'"{CANARY}"', '"a\\r\\nb\\u0000\\u00ff"')).target.password == Secret(
            "a\r\nb\0\xff"
        )
        target = loaded(shop, SSH_INLINE.replace(f'"{CANARY}"', '{ env = "E" }')).target
        monkeypatch.setattr(os, "environ", {"E": "two\nlines"})
        assert target.look_up().password == Secret("two\nlines")
        monkeypatch.setattr(os, "environ", {"E": f"{CANARY}\udcff"})
        with pytest.raises(ProfileError, match="is not UTF-8 text, which SSH requires") as caught:
            target.look_up()
        assert CANARY not in str(caught.value)

    def test_places_of_a_passphrase_call_it_so(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (shop.parent / "id").touch(0o600)
        text = SSH_INLINE.replace(f'"{CANARY}-P"', "PLACE").replace(f'password = "{CANARY}"', "")
        target = loaded(shop, text.replace("PLACE", '{ keyring = "shop" }')).target
        assert target.passphrase == KeyringSecret("shop", str(shop.parent / "id"))
        target = loaded(shop, text.replace("PLACE", '{ command = ["true"] }')).target
        with pytest.raises(ProfileError) as caught:
            target.look_up()
        assert str(caught.value) == f"{shop}: target.passphrase: the passphrase from command true is empty"
        target = loaded(shop, text.replace("PLACE", "{ prompt = true }")).target
        assert target.passphrase == PromptSecret(f"passphrase of {shop.parent}/id for deploy@h: ")
        assert target.is_asking

    def test_m105_a_passphrase_is_printed_no_more_than_a_password(self, shop: Path) -> None:
        (shop.parent / "id").touch(0o600)
        profile = loaded(shop, SSH_INLINE)
        secrets = profile.target.look_up()
        assert secrets == Secrets(Secret(CANARY), Secret(f"{CANARY}-P"))
        for one in (profile, profile.target, attrs.asdict(profile), secrets, attrs.asdict(secrets)):
            assert CANARY not in f"{one!r} {one!s}"

    def test_a_readable_profile_without_a_password_is_fine(self, shop: Path) -> None:
        shop.chmod(0o644)
        assert loaded(shop).target.password == EnvSecret("SHOP_PASSWORD")

    @pytest.mark.parametrize(
        ("code", "name"), [("\\r", "a carriage return"), ("\\n", "a line feed"), ("\\u0000", "a NUL")]
    )
    def test_m110_an_inline_password_that_would_break_the_command_line(self, shop: Path, code: str, name: str) -> None:
        line = refused(shop, INLINE.replace(CANARY, CANARY + code))
        assert line == f"target.password: contains {name}, which cannot be sent in an FTP command"

    @pytest.mark.parametrize("text", [f"{CANARY}\rX", f"{CANARY}\n", f"{CANARY}\udcff", f"\ud800{CANARY}", ""])
    def test_m110_a_looked_up_password_that_would_break_the_command_line(
        self, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setattr(os, "environ", {"E": text})
        with pytest.raises(ProfileError, match="the password from environment variable E ") as caught:
            EnvSecret("E").resolve()
        assert CANARY not in str(caught.value)

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("5", "must be one of "),
            ("[]", "must be one of "),
            ("{}", "must be one of "),
            ('{ env = "A", file = "b" }', "must be one of "),
            (f'{{ value = "{CANARY}" }}', "must be one of "),
            ("{ env = 5 }", "env must be text: "),
            ('{ env = "" }', "env must be text: "),
            (f'{{ command = "echo {CANARY}" }}', "command must be a list of strings, run without a shell: "),
            ("{ command = [] }", "command must be a list of strings"),
            ('""', "is empty"),
            ("{ prompt = false }", "prompt must be true: "),
            ('{ prompt = "Password: " }', "prompt must be true: "),
        ],
    )
    def test_password_keys_that_cannot_be_used(self, shop: Path, value: str, reason: str) -> None:
        line = refused(shop, MINIMAL.replace('{ env = "SHOP_PASSWORD" }', value))
        assert line.startswith(f"target.password: {reason}")

    def test_env(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        password = loaded(shop).target.password
        assert password is not None
        monkeypatch.delenv("SHOP_PASSWORD", raising=False)
        with pytest.raises(ProfileError) as caught:
            password.resolve()
        assert str(caught.value) == (
            f"{shop}: target.password: environment variable SHOP_PASSWORD is not set; export it before the run"
        )
        monkeypatch.setenv("SHOP_PASSWORD", CANARY)
        assert password.resolve().reveal() == CANARY

    @pytest.mark.parametrize(("content", "text"), [("s\n", "s"), ("s\r\n", "s"), ("s", "s"), (" s \n", " s ")])
    def test_file(self, shop: Path, content: str, text: str) -> None:
        password = loaded(shop, MINIMAL.replace("env =", "file =")).target.password
        assert password is not None
        assert password == FileSecret(shop.parent / "SHOP_PASSWORD")
        path = shop.parent / "SHOP_PASSWORD"
        path.touch(0o600)
        path.write_bytes(content.encode())
        assert password.resolve().reveal() == text

    def test_file_that_cannot_be_used(self, tmp_path: Path) -> None:
        def reason(path: Path) -> str:
            with pytest.raises(ProfileError) as caught:
                FileSecret(path).resolve()
            assert CANARY not in str(caught.value)
            return str(caught.value).removeprefix("target.password: ")

        path = tmp_path / "password"
        assert reason(path) == f"cannot read {path}: No such file or directory"
        path.write_text(CANARY)
        path.chmod(0o640)
        assert reason(path) == f"other users can access {path} (mode 0640); run: chmod 600 {path}"
        path.chmod(0o600)
        path.write_text(f"{CANARY}\n\n")
        assert reason(path).startswith(f"the password from {path} contains a line feed")
        path.write_bytes(CANARY.encode() + b"\xff")
        assert reason(path) == f"the password from {path} is not UTF-8 text"
        path.write_bytes(b"x" * 100_000)
        assert reason(path) == f"cannot read {path}: Longer than 65536 bytes"
        assert reason(tmp_path) == f"cannot read {tmp_path}: Not a regular file"
        (tmp_path / "line\nfeed").write_text("")
        assert reason(tmp_path / "line\nfeed").isprintable()

    def test_command(self, shop: Path) -> None:
        (shop.parent / "password").write_text(f"{CANARY}\n")
        password = loaded(
            shop, MINIMAL.replace('env = "SHOP_PASSWORD"', 'command = ["cat", "password"]')
        ).target.password
        assert password == CommandSecret(("cat", "password"), shop.parent)
        assert password.resolve().reveal() == CANARY

    def test_command_that_fails_is_named_and_its_output_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        word = "SHOUTED-0815"  # and not the canary, which may be in no process's arguments

        def reason(*arguments: str) -> str:
            with pytest.raises(ProfileError) as caught:
                CommandSecret(arguments, tmp_path).resolve()
            assert capfd.readouterr() == ("", "")
            assert word not in str(caught.value)
            return str(caught.value).removeprefix("target.password: ")

        shouts = f"import sys; print('{word}'); print('{word}', file=sys.stderr); "
        assert reason(sys.executable, "-c", shouts + "sys.exit(3)") == (
            f"command {sys.executable} ended with exit status 3; run it by hand to see why"
        )
        assert "was ended by signal 9" in reason("sh", "-c", "kill -9 $$")
        assert reason("no-such-command") == "cannot run command no-such-command: No such file or directory"
        assert "is empty" in reason("true")
        monkeypatch.setattr(secret, "_COMMAND_SECONDS", 0.2)
        assert "did not end within" in reason("sh", "-c", f"echo {word}; sleep 60 & wait")

    def test_keyring(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import keyring
        import keyring.errors

        password = loaded(shop, MINIMAL.replace("env =", "keyring =")).target.password
        assert password == KeyringSecret("SHOP_PASSWORD", "deploy")
        kept = {("SHOP_PASSWORD", "deploy"): CANARY}
        monkeypatch.setattr(keyring, "get_password", lambda service, user: kept.get((service, user)))
        assert password.resolve().reveal() == CANARY
        kept.clear()
        with pytest.raises(ProfileError, match="add it with: keyring set SHOP_PASSWORD deploy"):
            password.resolve()

        def locked(service: str, user: str) -> str:
            raise keyring.errors.KeyringLocked(CANARY)

        monkeypatch.setattr(keyring, "get_password", locked)
        with pytest.raises(ProfileError, match=r"the keyring cannot be used \(KeyringLocked\)"):
            password.resolve()
        monkeypatch.setitem(sys.modules, "keyring", None)
        with pytest.raises(ProfileError, match=r"pip install 'actorsync\[keyring\]'"):
            password.resolve()

    def test_m105_nothing_that_can_be_printed_has_the_password(self, shop: Path) -> None:
        profile = loaded(shop, INLINE)
        password = profile.target.password
        assert isinstance(password, Secret)
        shown = [
            profile,
            profile.target,
            password,
            attrs.asdict(profile),
            [password],
            CommandSecret(("a", CANARY), shop),
        ]
        for one in shown:
            assert CANARY not in f"{one!r} {one!s} {one}"
        assert f"{password} {password!r} %s" % password == "*** *** ***"
        with pytest.raises(TypeError):
            pickle.dumps(password)


durations = st.floats(0, 36_500 * 86_400, allow_nan=False)


class TestUnits:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30s", 30), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5), ("1d2h3m4.5s", 93784.5), ("0s", 0), ("1.5h", 5400)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", "5", "s", "1m1h", "1s1s", "-1s", "1 s", "1S", "1e3s", ".5s", "1.s", "٣s", "1s\n"]
    )
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0s"),
            (5400, "1h30m"),
            (0.5, "0.5s"),
            (90.25, "1m30.25s"),
            (86400, "1d"),
            (100, "1m40s"),
            (1e-7, "0.0000001s"),
        ],
    )
    def test_formatted(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text

    @given(durations)
    def test_a_formatted_duration_reads_back_the_same(self, seconds: float) -> None:
        assert parse_duration(format_duration(seconds)) == seconds

    @pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
    def test_what_cannot_be_formatted(self, seconds: float) -> None:
        with pytest.raises(ValueError, match="cannot be written as a duration"):
            format_duration(seconds)

    @given(st.integers(0, 100), st.integers(0, 10**12))
    def test_a_share_is_rounded_down(self, percent: int, total: int) -> None:
        share = MaxDelete.parse(f"{percent}%")
        assert share.limit(total) <= total * percent / 100 < share.limit(total) + 1
        assert share.is_unlimited is (percent == 100)
        assert MaxDelete.parse(str(share)) == share

    @given(st.integers(0), st.integers(0))
    def test_a_count_is_a_count(self, count: int, total: int) -> None:
        assert MaxDelete.parse(count).limit(total) == count
        assert not MaxDelete.parse(count).is_unlimited


scalars = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12), st.integers(), st.booleans(), st.floats(), st.just("50%")
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-env", max_size=4), inner, max_size=2),
)
keys = st.sampled_from([*(key.partition(".")[2] for key in KEYS), "max_delete", "x", "", "a\nb", "é"])
sections = st.sampled_from(["source", "target", "sync", "shutdown", "synk", ""])


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(one):08x}" for one in value) + '"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(key)} = {toml(one)}' for key, one in value.items())}}}"
        case _:
            return repr(value)


class TestReference:
    """``docs/profile.md`` says what is so."""

    TEXT = (ROOT / "docs" / "profile.md").read_text()

    def test_every_key_has_its_place_and_only_these(self) -> None:
        assert re.findall(r"^### `(.*)`$", self.TEXT, re.MULTILINE) == TOLD

    def test_every_key_says_what_it_is(self) -> None:
        assert reference.faults() == []

    def test_every_section_begins_with_what_the_key_says(self) -> None:
        assert reference.fill(self.TEXT) == self.TEXT, "python -m tests.support.docs.reference brings it up to date"

    def test_a_section_that_is_missing_is_put_where_it_belongs(self) -> None:
        title = "\n### `sync.every`\n"
        before, _, rest = self.TEXT.partition(title)
        cut = before + rest[rest.index("\n### ") :]
        assert title not in cut
        filled = reference.fill(cut)
        assert re.findall(r"^### `(.*)`$", filled, re.MULTILINE) == TOLD
        assert f"{title}{reference.head('sync.every')}\n\n" in filled

    @pytest.mark.parametrize(
        ("table", "text", "line"), re.findall(r"^\| `\[(.*)\] (.*)` \| `(.*)` \|$", TEXT, re.MULTILINE)
    )
    def test_error_lines(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, text: str, line: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        document = tomllib.loads(MINIMAL)
        if text.startswith("url"):
            del document["target"]["password"]
        document.setdefault(table, {}).update(tomllib.loads(text))
        path = Path("shop.toml")
        path.touch(0o644)
        path.chmod(0o644)
        path.write_text("\n".join(f"{toml(name)} = {toml(keys)}" for name, keys in document.items()))
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        assert str(caught.value) == line


class TestAnyMistake:
    """Whatever is wrong: a ``ProfileError`` of one line, and never another exception."""

    @staticmethod
    def check(path: Path, text: bytes, overrides: list[str]) -> None:
        path.write_bytes(text)
        try:
            profile = load_profile(path, overrides)
        except ProfileError as error:
            line = str(error)
        else:
            line = str(profile.target.display + profile.identity)
        assert line.isprintable()
        assert CANARY not in line

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(changes=st.lists(st.tuples(sections, keys, values), min_size=1, max_size=3))
    def test_in_values(self, shop: Path, changes: list[tuple[str, str, Any]]) -> None:
        document = tomllib.loads(INLINE)
        for section, key, value in changes:
            document.setdefault(section, {})[key] = value
        self.check(shop, "\n".join(f"{toml(name)} = {toml(table)}" for name, table in document.items()).encode(), [])

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(at=st.integers(0, len(INLINE)), length=st.integers(0, 20), junk=st.text(max_size=5) | st.binary(max_size=5))
    def test_in_the_text(self, shop: Path, at: int, length: int, junk: str | bytes) -> None:
        inserted = junk if isinstance(junk, bytes) else junk.encode("utf-8", "surrogatepass")
        # What is cut must leave the password whole, and the place between its quotes.
        whole = INLINE.encode()
        start = whole.index(b'"CANARY')
        if at + length > start:
            at, length = 0, min(length, start)
        self.check(shop, whole[:at] + inserted + whole[at + length :], [])

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(sections, keys, st.text(max_size=12))
    def test_in_overrides(self, shop: Path, section: str, key: str, value: str) -> None:
        self.check(shop, INLINE.encode(), [f"{section}.{key}={value}"])
        self.check(shop, INLINE.encode(), [value])

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(url=st.text("ftp:/@[]%.01aé#? \\~\udcff", max_size=12))
    def test_in_urls(self, shop: Path, url: str) -> None:
        self.check(shop, INLINE.encode(), [f"target.url=ftp://{url}"])
        self.check(shop, INLINE.encode(), [f"target.url={url}"])


@pytest.mark.parametrize(
    ("text", "rate"),
    [("512K", 524_288), ("2M", 2_097_152), ("1.5M", 1_572_864), ("1G", 1 << 30), ("20000B", 20_000), ("1k", 1024)],
)
def test_rates(text: str, rate: float) -> None:
    assert parse_rate(text) == rate
    assert parse_rate("off") is None
