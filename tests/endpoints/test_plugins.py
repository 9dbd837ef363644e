"""Endpoints by URL scheme: lookup, opening, and one line for each broken plug-in."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.endpoints.plugins import Location, Unusable, registered
from actorsync.errors import ProfileError
from actorsync.profile import Profile, load_profile
from actorsync.runs.open_endpoints import open_endpoints
from actorsync.runs.runner import run_once
from tests.support.plugged import install

#: A plug-in whose endpoints are trees in memory, kept by location for the test to look at.
GOOD = """
    from actorsync.endpoints.memory.endpoint import MemoryEndpoint

    places = {}

    def open_endpoint(location):
        location.allow("region", "depth", "fast", "token")
        endpoint = places.setdefault(location.url, MemoryEndpoint(location.url))
        endpoint.location = location
        return endpoint
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("hello")
    path = tmp_path / "shop.toml"
    path.touch(0o600)
    return path


def loaded(path: Path, target: str, source: str = 'path = "public"', overrides: list[str] | None = None) -> Profile:
    path.write_text(f"[source]\n{source}\n[target]\n{textwrap.dedent(target)}\n")
    return load_profile(path, overrides or [])


def refused(path: Path, target: str, source: str = 'path = "public"', overrides: list[str] | None = None) -> str:
    """Return the error line of loading or opening a profile, without the name of the file."""
    with pytest.raises(ProfileError) as caught:
        open_endpoints(loaded(path, target, source, overrides))
    line = str(caught.value)
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(tmp_path / "site", monkeypatch, GOOD, {"foo": "open_endpoint"})
    return tmp_path / "site"


@pytest.mark.usefixtures("site")
class TestLocation:
    def test_location_has_all_parts_of_the_url_and_its_options(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PASSWORD", "hunter2")
        monkeypatch.setenv("TOKEN", "t0ken")
        text = """
            url = "foo://de%40ploy@Host_1:99/a%20b/./c/"
            password = { env = "PASSWORD" }
            [target.options]
            region = "eu"
            depth = 3
            fast = true
            token = { env = "TOKEN" }
        """
        profile = loaded(shop, text)
        secrets = profile.look_up()
        location = open_endpoints(profile, secrets)[1].location  # type: ignore[attr-defined]
        assert (location.scheme, location.host, location.port) == ("foo", "Host_1", 99)
        assert (location.user, location.path, location.table) == ("de@ploy", "a b/c", "target")
        assert location.url == profile.target.display == "foo://de%40ploy@Host_1:99/a%20b/c"
        assert location.options == {"region": "eu", "depth": 3, "fast": True}
        assert location.password() == "hunter2"
        assert {name: reveal() for name, reveal in location.secrets.items()} == {"token": "t0ken"}
        shown = f"{profile} {secrets} {location}"
        assert "hunter2" not in shown
        assert "t0ken" not in shown

    @pytest.mark.parametrize(
        ("url", "parts"),
        [
            ("foo:///a", ("", 0, "", "a")),
            ("foo://bucket", ("bucket", 0, "", "")),
            ("FOO://bucket//a", ("bucket", 0, "", "/a")),
            ("foo://[2001:db8::1]:1/a", ("2001:db8::1", 1, "", "a")),
            ("foo+bar://h/a", ("h", 0, "", "a")),
        ],
    )
    def test_location_has_the_parts_of_the_url(self, shop: Path, url: str, parts: tuple[str, int, str, str]) -> None:
        location = open_endpoints(loaded(shop, f'url = "{url}"'))[1].location  # type: ignore[attr-defined]
        assert (location.host, location.port, location.user, location.path) == parts
        again = open_endpoints(loaded(shop, f'url = "{location.url}"'))[1].location  # type: ignore[attr-defined]
        assert again == location, "the displayed URL leads to the same place"

    @pytest.mark.parametrize(
        ("target", "line"),
        [
            ('url = "foo://u:hunter2@h/"', "target.url: contains a password, which process lists and logs would show"),
            ('url = "foo://h/../x"', "target.url: has .. in its path; write the path that it leads to"),
            ('url = "foo://h/a%0Ab"', "target.url: the path contains a line feed, which is not allowed in a path"),
            ('url = "foo://h/%FF"', "target.url: the path is not UTF-8 text"),
            ('url = "foo://u%00@h/"', "target.url: the user contains a NUL, which is not allowed in a user name"),
            ('url = "foo://h/"\nlanes = 3', "target.lanes: only sftp:// transfers several files at once"),
            ('url = "foo://h/"\nfsync = true', "target.fsync: only sftp:// can ask the server to flush"),
            ('url = "mirror"\noptions = { a = 1 }', "target.options: only plug-in schemes take options"),
            ('url = "foo://h/"\noptions = 3', "target.options: is not a table; write it like options = { region"),
            ('url = "foo://h/"\noptions = { a = [1] }', "target.options: a is not a string, a number, true, false"),
            ('url = "foo://h/"\noptions = { a = { b = 1 } }', "target.options: a must be one of { env ="),
            ('url = "foo://h/"\noptions = { size = 1 }', "target.options.size: unknown option; known: region, depth"),
        ],
    )
    def test_unusable_profile_is_refused_in_one_line(self, shop: Path, target: str, line: str) -> None:
        said = refused(shop, target)
        assert said.startswith(line)
        assert "hunter2" not in said

    def test_options_come_from_overrides_and_environment(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = 'url = "foo://h/"\noptions = { region = "eu" }'
        assert loaded(shop, text, overrides=['target.options={ region = "us" }']).target.options.values == (
            ("region", "us"),
        )
        monkeypatch.setenv("ACTORSYNC_TARGET_OPTIONS", "{ depth = 2 }")
        assert loaded(shop, text).target.options.values == (("depth", 2),)

    def test_profile_with_a_secret_must_be_private(self, shop: Path) -> None:
        text = 'url = "foo://h/"\noptions = { token = "t0ken" }'
        assert repr(loaded(shop, text).target.options.secrets) == "(('token', ***),)"
        shop.chmod(0o644)
        line = refused(shop, text)
        assert line.startswith("target.options.token: the profile contains a token, and other users can access it")
        shop.chmod(0o600)
        line = refused(shop, 'url = "foo://h/"', overrides=['target.options={ token = "t0ken" }'])
        assert line.startswith("--set target.options: a token here would be visible to others in the process list")
        assert "t0ken" not in line

    def test_identity_depends_on_the_place_and_not_on_secrets(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("A", "a")
        texts = [
            'url = "foo://h/a"',
            'url = "foo://h/b"',
            'url = "foo://i/a"',
            'url = "foo://h:1/a"',
            'url = "foo://u@h/a"',
            'url = "foo+x://h/a"',
            'url = "foo://h/a"\noptions = { region = "eu" }',
            'url = "foo://h/a"\noptions = { region = "us" }',
        ]
        identities = [loaded(shop, text).identity for text in texts]
        assert len(set(identities)) == len(texts)
        secret = 'url = "foo://h/a"\noptions = { token = { env = "A" } }'
        assert loaded(shop, secret).identity == identities[0], "a new secret is no new place"

    def test_target_inside_the_source_is_refused(self, shop: Path) -> None:
        line = refused(shop, 'url = "foo://h/a/b"', 'url = "foo://h/a"')
        assert line == "target.url: is inside the source; use a directory outside it"
        loaded(shop, 'url = "foo://h/a/b"\noptions = { region = "eu" }', 'url = "foo://h/a"')


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("import no_such_module", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("def other(): ...", "cannot be imported: AttributeError: module 'foo_sync' has no attribute 'open_endpoint'"),
        ("open_endpoint = 3", "is not an endpoint factory but a int"),
        ("def open_endpoint(): ...", "failed: TypeError: open_endpoint() takes 0 positional arguments but 1 was given"),
        ("def open_endpoint(it): raise OSError('two\\nlines')", "failed: OSError: two lines"),
        (
            "def open_endpoint(it): raise OSError(f'bad {it.password()} and {it.secrets[\"token\"]()}')",
            "failed: OSError: bad *** and ***",
        ),
        (
            "def open_endpoint(it): return None",
            "returned a NoneType, not an endpoint: it has no display and no capabilities",
        ),
    ],
)
def test_broken_plug_in_is_one_line_and_exit_code_2(
    shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    line: str,
) -> None:
    install(tmp_path / "site", monkeypatch, code, {"foo": "open_endpoint"})
    monkeypatch.setenv("PASSWORD", "hunter2")
    monkeypatch.setenv("TOKEN", "a b/c")
    target = 'url = "foo://h/"\npassword = { env = "PASSWORD" }\noptions = { token = { env = "TOKEN" } }'
    shop.write_text(f'[source]\npath = "public"\n[target]\n{target}\n')
    assert run_command(["check", str(shop)]) == 2
    (line_shown,) = capsys.readouterr().err.splitlines()
    named = f"{shop}: target.url: the endpoint for foo:// (foo_sync:open_endpoint of foo_sync) "
    assert line_shown.removeprefix("actorsync: ").startswith(named + line)


def test_secret_revealed_by_a_plug_in_is_hidden(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        tmp_path / "site", monkeypatch, "def open_endpoint(it): raise OSError(it.password())", {"foo": "open_endpoint"}
    )
    monkeypatch.setenv("PASSWORD", "hunter2")
    assert "failed: OSError: ***" in refused(shop, 'url = "foo://h/"\npassword = { env = "PASSWORD" }')


def test_unusable_from_a_factory_names_the_key(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        from actorsync.endpoints.plugins import Unusable

        def open_endpoint(location):
            raise Unusable("url", "has no bucket; write foo://bucket/dir")
    """
    install(tmp_path / "site", monkeypatch, code, {"foo": "open_endpoint"})
    assert refused(shop, 'url = "foo:///"') == "target.url: has no bucket; write foo://bucket/dir"


def test_unknown_scheme_lists_the_known_ones(shop: Path) -> None:
    line = refused(shop, 'url = "nosuch://h/"')
    assert line.startswith("target.url: not supported: nosuch:// (use sftp://, ftpes://, ftps:// or ftp://, ")
    assert ", s3://, " in line
    assert "pip install 'actorsync[fsspec]'" in line


def test_two_packages_for_one_scheme_are_refused(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("one", "two"):
        install(tmp_path / "site", monkeypatch, GOOD, {"foo": "open_endpoint"}, package)
    line = refused(shop, 'url = "foo://h/"')
    named = "foo:// is registered twice, by one:open_endpoint of one and two:open_endpoint of two"
    assert line == f"target.url: {named}; remove one of them"


def test_built_in_scheme_cannot_be_replaced(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schemes = dict.fromkeys(("file", "ftp", "ftps", "ftpes", "sftp"), "open_endpoint")
    install(tmp_path / "site", monkeypatch, "raise AssertionError('it was imported')", schemes)
    for url in ("file:///srv/www", "ftp://h/", "ftps://h/", "ftpes://h/", "sftp://u@h/"):
        assert not hasattr(open_endpoints(loaded(shop, f'url = "{url}"'))[1], "location")
    assert {*schemes} <= {*registered()}


def test_built_in_scheme_looks_up_no_entry_points(shop: Path) -> None:
    shop.write_text('[source]\npath = "public"\n[target]\nurl = "ftp://h/"\n')
    code = (
        "import sys; from pathlib import Path; from actorsync.profile import load_profile; "
        f"load_profile(Path({str(shop)!r})); "
        "assert not {'actorsync.endpoints.plugins', 'importlib.metadata', 'fsspec'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("site")
async def test_run_to_a_plug_in_and_back_mirrors_the_tree(shop: Path) -> None:
    profile = loaded(shop, 'url = "foo://h/www"')
    assert (await run_once(profile)).exit_code == 0
    target = open_endpoints(profile)[1]
    assert target.files() == {"index.html": b"hello"}  # type: ignore[attr-defined]
    assert (await run_once(profile)).copied == 0
    back = loaded(shop, 'url = "mirror"', 'url = "foo://h/www"')
    assert (await run_once(back)).exit_code == 0
    assert (shop.parent / "mirror" / "index.html").read_text() == "hello"


def test_trust_refuses_a_plug_in(shop: Path, capsys: pytest.CaptureFixture[str], site: Path) -> None:
    loaded(shop, 'url = "foo://h/www"')
    assert run_command(["trust", str(shop)]) == 2
    assert "the plug-in of foo:// identifies its server" in capsys.readouterr().err


def test_location_refuses_options_that_are_not_allowed() -> None:
    location = Location(scheme="foo", host="h", path="a", options={"region": "eu"})
    location.allow("region")
    with pytest.raises(Unusable, match=r"options\.region: unknown option; foo:// has none"):
        location.allow()
