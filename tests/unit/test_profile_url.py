"""The places of a profile: URLs, directories, remote sources, and the identity of the pair."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from actorsync.profile import (
    EnvSecret,
    Secret,
    Secrets,
)
from tests.support.profile_text import CANARY, MINIMAL, loaded, refused, with_url

#: The end of a message about something that may be meant as a directory of this machine.
LOCAL_FORM = "a local path begins with ./, ../, / or ~"


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
            ("sftp://deploy@h/www", ("sftp", "/www", 22, "deploy"), "sftp://deploy@h/www"),
            ("sftp://deploy@h:2222//srv/www", ("sftp", "/srv/www", 2222, "deploy"), "sftp://deploy@h:2222/srv/www"),
            ("sftp://deploy@h/%2Fsrv//www/./x/", ("sftp", "/srv/www/x", 22, "deploy"), "sftp://deploy@h/srv/www/x"),
            ("sftp://deploy@h/~/www", ("sftp", "www", 22, "deploy"), "sftp://deploy@h/~/www"),
            ("sftp://deploy@h/%7E/~", ("sftp", "~", 22, "deploy"), "sftp://deploy@h/~/~"),
            ("sftp://deploy@h/~//srv", ("sftp", "srv", 22, "deploy"), "sftp://deploy@h/~/srv"),
            ("sftp://deploy@h/~", ("sftp", "", 22, "deploy"), "sftp://deploy@h/"),
            ("sftp://deploy@h", ("sftp", "", 22, "deploy"), "sftp://deploy@h/"),
            ("sftp://anonymous@h/", ("sftp", "", 22, "anonymous"), "sftp://anonymous@h/"),
            ("sftp://anonymous@h//", ("sftp", "/", 22, "anonymous"), "sftp://anonymous@h//"),
            ("sftp://d@h/caf%E9%FF", ("sftp", "/caf\udce9\udcff", 22, "d"), "sftp://d@h/caf%E9%FF"),
            ("sftp://d@h//~/www", ("sftp", "/~/www", 22, "d"), "sftp://d@h//~/www"),
            ("sftp://d@h//~eva/www", ("sftp", "/~eva/www", 22, "d"), "sftp://d@h//~eva/www"),
            ("sftp://d@h/C:/inetpub", ("sftp", "/C:/inetpub", 22, "d"), "sftp://d@h/C%3A/inetpub"),
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

    def test_sftp_url_without_user_uses_the_current_user(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("USER", "LOGNAME"):
            monkeypatch.setenv(variable, "somebody-else")
        target = loaded(shop, with_url("sftp://h/")).target
        assert target.user == pwd.getpwuid(os.geteuid()).pw_name
        assert (target.password, target.passphrase) == (None, None)

    def test_current_user_without_a_name_is_an_error(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    @pytest.mark.parametrize("name", ["www.example.com", "ftp.d", "me@h"])
    def test_directory_that_is_named_like_a_server_is_used_if_it_exists(self, shop: Path, name: str) -> None:
        assert loaded(shop, with_url(f"./{name}/site")).target.path == str(shop.parent / name / "site")
        (shop.parent / name).mkdir()
        assert loaded(shop, with_url(f"{name}/site")).target.path == str(shop.parent / name / "site")

    @pytest.mark.parametrize("name", ["site.example", "public.old", "ftp", "www", "wwwroot.d", "sshd"])
    def test_other_names_are_directories(self, shop: Path, name: str) -> None:
        assert loaded(shop, with_url(name)).target.path == str(shop.parent / name)

    def test_url_in_place_of_a_path_names_the_key_for_it(self, shop: Path) -> None:
        line = refused(shop, MINIMAL.replace('path = "public"', 'path = "sftp://h/www"'))
        assert line == "source.path: is a URL, and a path on this machine is needed; a server has the key url"

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
                "sftp://h/~eva/www",
                (
                    "has the home directory of another user in its path; write ~/ for the login directory, "
                    "or the absolute path"
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
            ("deploy@h:/www", f"is not a URL; did you mean sftp://host/dir? {LOCAL_FORM}"),
            ("ftpes:/h/www", f"is not a URL; did you mean ftpes://host/dir? {LOCAL_FORM}"),
            ("deploy@h:www", f"is not a URL; did you mean sftp://host/~/dir? {LOCAL_FORM}"),
            ("file://h/www", "a file URL has three slashes and an absolute path: file:///srv/www"),
            ("file:///a%00b", "contains a NUL"),
            ("ssh://h/www", "not supported: ssh://; write sftp:// for files over SSH"),
            ("SCP://h/www", "not supported: scp://; write sftp:// for files over SSH"),
            ("ftptls://h/www", "not supported: ftptls://; write ftpes:// for FTP with explicit TLS"),
            (" ftp://h/", "begins or ends with a space or a line break; remove it, or write a space as %20"),
            ("ftp://h/ ", "begins or ends with a space or a line break; remove it, or write a space as %20"),
            *(
                (f"{host}/www", f"looks like a server; did you mean sftp://{host} or ftpes://{host}? {LOCAL_FORM}")
                for host in ("ftp.example.com", "www2.example.com", "example.com", "a.co.uk", "me@h", "10.0.0.5")
            ),
            (r"\\\\h\\share", "is a Windows share; write smb://server/share/dir"),
            ("ftp://a..b/", "has a host name with a part that is empty or longer than 63 characters"),
            (f"sftp://{'x' * 64}.org/", "has a host name with a part that is empty or longer than 63 characters"),
            ("ftp://h/www/;type=i", "ends with ;type=, which is no part of a path; remove it"),
        ],
    )
    def test_invalid_url_is_an_error(self, shop: Path, url: str, reason: str) -> None:
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
    def test_m110_ftp_user_with_control_bytes_is_rejected(self, shop: Path, code: str, name: str, scheme: str) -> None:
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
    def test_m110_ssh_user_with_control_bytes_is_rejected(self, shop: Path, code: str, fault: str) -> None:
        assert refused(shop, with_url(f"sftp://dep{code}loy@h/")) == f"target.url: the user {fault}"

    def test_m071_target_that_overlaps_the_source_is_rejected(self, shop: Path) -> None:
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

    def test_password_for_a_directory_is_rejected(self, shop: Path) -> None:
        line = refused(shop, with_url("mirror", 'password = { env = "E" }'))
        assert line == "target.password: a directory needs no password; remove it"


class TestSourceOnAServer:
    PULL = """
    [source]
    url = "sftp://deploy@example.com/www"
    password = { env = "SHOP_PASSWORD" }
    lanes = 4
    [target]
    url = "mirror"
    """

    def test_remote_source_takes_login_keys(self, shop: Path) -> None:
        (shop.parent / "ca.pem").touch()
        source = loaded(shop, self.PULL).source
        assert (source.scheme, source.user, source.host, source.path, source.lanes) == (
            *("sftp", "deploy", "example.com", "/www", 4),
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
    def test_overlapping_remote_places_are_rejected(
        self, shop: Path, source: str, target: str, fault: str | None
    ) -> None:
        text = f"[source]\nurl = '{source}'\n[target]\nurl = '{target}'\n"
        if fault is None:
            loaded(shop, text)
        else:
            assert refused(shop, text).startswith(f"target.url: {fault}")

    def test_identity(self, shop: Path) -> None:
        one = loaded(shop, self.PULL).identity
        assert loaded(shop, self.PULL.replace("lanes = 4", "lanes = 5")).identity == one
        changed = [("sftp:", "ftpes:"), ("deploy", "eva"), ("example.com", "example.org"), ("/www", "/~/www")]
        changed += [("example.com", "example.com:2222"), ('"mirror"', '"mirror2"')]
        texts = [self.PULL.replace("lanes = 4\n", "").replace(*change) for change in changed]
        assert len({one, *(loaded(shop, text).identity for text in texts)}) == 7
        assert loaded(shop, self.PULL.replace("/www", "//www")).identity == one

    def test_sftp_path_that_was_relative_once_is_remembered(self, shop: Path) -> None:
        """So that a journal of that meaning is found, and a directory of that meaning at the first login."""
        ambiguous = {
            "www": "www",
            "%2Fwww": "",
            "/www": "",
            "~/www": "",
            "": "",
            "/": "",
            "C:/www": "",
            "a//./b/": "a/b",
        }
        for path, expected in ambiguous.items():
            assert loaded(shop, with_url(f"sftp://d@h/{path}")).target.below_login == expected, path
        assert loaded(shop, with_url("ftpes://h/www")).target.below_login == ""


class TestIdentity:
    def test_identity_of_earlier_profiles_is_unchanged(self, shop: Path) -> None:
        text = MINIMAL.replace('"public"', '"/srv/public"')
        assert loaded(shop, text).identity == "53ee09599467d4cf"
        assert loaded(shop, text.replace("/www", "//www")).identity == "f4347b5f42fedc5d"

    def test_identity_differs_by_scheme(self, shop: Path) -> None:
        ways = {
            loaded(shop, MINIMAL.replace("ftp://deploy", f"{scheme}://deploy")).identity
            for scheme in ("ftp", "ftpes", "ftps", "sftp")
        }
        assert len(ways) == 4

    def test_identity_changes_with_any_part_of_the_pair(self, shop: Path) -> None:
        first = loaded(shop)
        assert first.identity == loaded(shop, MINIMAL + "[sync]\nconnections = 1").identity
        assert len(bytes.fromhex(first.identity)) == 8
        changed = [("public", "other"), ("deploy", "eva"), ("ftp.ex", "ex"), (":2121", ""), ("/www", "//www")]
        identities = {loaded(shop, MINIMAL.replace(*change)).identity for change in changed}
        assert len({*identities, first.identity}) == 6

    def test_identity_resolves_links_to_the_source(self, shop: Path) -> None:
        (shop.parent / "public").mkdir()
        (shop.parent / "link").symlink_to("public")
        assert loaded(shop).identity == loaded(shop, MINIMAL.replace('"public"', '"link"')).identity
