"""Loading a profile: the file, overrides, the template, and the one-line error of each mistake."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.errors import ProfileError
from actorsync.planning.modes import Modes
from actorsync.planning.selection import Selection
from actorsync.profile import (
    EnvSecret,
    MaxDelete,
    Secret,
    load_profile,
)
from actorsync.profile.schema import Shutdown, Sync
from actorsync.profile.sides import TargetTable
from actorsync.profile.template import TEMPLATE
from actorsync.profile.values.key import HINTS, hint_for
from tests.support.profile_text import CANARY, DESCRIBED, INLINE, KEYS, MINIMAL, loaded, refused, toml


class TestWhatLoads:
    def test_defaults(self, shop: Path) -> None:
        profile = loaded(shop)
        assert profile.path == shop
        assert Path(profile.source.path) == shop.parent / "public"
        assert attrs.astuple(profile.sync, recurse=False) == (
            *(4, None, None, None, False, "mirror", "both", 10, False, "times", False),
            *(MaxDelete(50, is_percent=True), False, (), (), None, ()),
            *(None, "skip", None, 64 << 20, 259_200.0),
        )
        assert (profile.shutdown.drain, profile.shutdown.cancel) == (30.0, 5.0)
        assert profile.sync.selection() == Selection()

    def test_keys_of_two_way(self, shop: Path) -> None:
        keys = '[sync]\nmode = "two-way"\nconflict = "keep"\nconflict-copies = 3\nno-links = true\n'
        sync = loaded(shop, MINIMAL + keys).sync
        assert (sync.mode, sync.conflict, sync.conflict_copies, sync.no_links) == ("two-way", "keep", 3, True)

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
            modes = "0644/0755"
            [shutdown]
            drain = "1m"
            cancel = "0.5s"
            """,
        )
        sync = profile.sync
        assert sync.modes == Modes("fixed", 0o644, 0o755)
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

    def test_automatic_connections(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        for name in (".deployignore", "ca.pem", ".ssh/id_ed25519", ".ssh/id_ed25519-cert.pub"):
            (shop.parent / name).parent.mkdir(exist_ok=True)
            (shop.parent / name).touch(0o600)
        as_it_is = loaded(shop, TEMPLATE)
        lines = [
            line.removeprefix("# ") if re.match(r"# [a-z0-9-]+ = ", line) else line for line in TEMPLATE.splitlines()
        ]
        keys = [key for line in lines if (key := line.partition(" = ")[0]) != line and not line.startswith("#")]
        assert keys == [key.partition(".")[2] for key in DESCRIBED]
        foreign = {
            field.name.replace("_", "-")
            for field in attrs.fields(TargetTable)
            if field.metadata["schemes"] and scheme not in field.metadata["schemes"]
        }
        lines.remove('url = "sftp://deploy@www.example.com/srv/www"')  # the first one, of the source
        text = "\n".join(line for line in lines if line.partition(" = ")[0] not in foreign)
        uncommented = loaded(shop, text.replace('url = "sftp:', f'url = "{scheme}:'))
        assert (as_it_is.sync, as_it_is.shutdown) == (Sync(), Shutdown())
        for table, defaults in ((uncommented.sync, Sync()), (uncommented.shutdown, Shutdown())):
            values = attrs.asdict(table, recurse=False).items()
            # A two-way profile takes many keys not at all, so these have their defaults in a template with all keys.
            of_two_way = {"mode", "conflict", "conflict_copies", "no_links"}
            assert {name for name, value in values if value == getattr(defaults, name)} <= of_two_way
        assert (uncommented.sync.is_automatic, uncommented.sync.most_connections) == (True, 32)
        direct = attrs.evolve(uncommented, target=attrs.evolve(uncommented.target, ways=as_it_is.target.ways))
        assert (direct.identity == as_it_is.identity) is (scheme == "sftp")

    def test_the_template_has_every_key(self) -> None:
        written = re.findall(r"^(?:# )?([a-z0-9-]+) = ", TEMPLATE, re.MULTILINE)
        assert written == [key.partition(".")[2] for key in DESCRIBED]


@pytest.mark.parametrize(
    ("addition", "reason"),
    [
        ("[sync]\nmax-delte = 5", "sync.max-delte: unknown key; did you mean sync.max-delete?"),
        ("[sync]\nmax_delete = 5", "sync.max_delete: unknown key; did you mean sync.max-delete?"),
        ('[sync]\nconflict = "keep"', 'sync.conflict: only used with sync.mode = "two-way"; set that, or remove it'),
        ("[sync]\nconflict-copies = 3", "sync.conflict-copies: only used with sync.mode"),
        ('[sync]\nmode = "two-way"\ndelete = "everything"', 'sync.delete: "everything" has no meaning with sync.mode'),
        ('[sync]\nmode = "two-way"\ndelete = false', 'sync.delete: false has no meaning with sync.mode = "two-way", '),
        ('[sync]\nmode = "two-way"\nlinks = "error"', "sync.links: has no meaning with sync.mode"),
        ('[sync]\nmode = "two-way"\nconnections = 1', "sync.connections: two-way reads and writes a server"),
        ("[sync]\npath = 'x'", "sync.path: unknown key; did you mean source.path?"),
        ("[synk]\ndelete = true", "synk: unknown key; did you mean sync?"),
        ("[sync]\npasword = 'x'", "sync.pasword: unknown key; did you mean target.password?"),
        ("[shutdown]\ndrian = '1s'", "shutdown.drian: unknown key; did you mean shutdown.drain?"),
        (
            "[xyzz]\na = 1",
            "xyzz: unknown key; known: source, target, sync, watch, audit, publish, hooks, trash, observe, shutdown",
        ),
        ("[shutdown]\nxyzzy = 1", "shutdown.xyzzy: unknown key; known: shutdown.drain, shutdown.cancel"),
        ("[publish]\nmode = 'brust'", 'publish.mode: "brust" is not one of "file", "burst"'),
        ("[publish]\ncheck = ['true']", 'publish.check: only has an effect with publish.mode = "burst"; set that, or '),
        (
            "[publish]\nkeep-old = false",
            'publish.keep-old: only has an effect with publish.mode = "burst"; set that, or ',
        ),
        ("[publish]\nmaintenance = { put = 'm' }", "publish.maintenance: only has an effect with publish.mode = "),
        (
            "[publish]\nmode = 'burst'\nkeep-old = false\ncheck = ['true']",
            "publish.check: cannot roll back what publish.keep-old = false does not keep; remove one of them",
        ),
        ("[publish]\nmaintenance = '.m'", 'publish.maintenance: ".m" names no file; write it like { put = '),
        ("[publish]\nmaintenance = { put = '../m' }", 'publish.maintenance: "../m" is not a path below the target'),
        (
            "[publish]\norder = ['*.html']",
            'publish.order: "*.html" is not a list of strings; write it like [["*.html"], ',
        ),
        ("[hooks]\nafter = []", 'hooks.after: names no program; write it like ["curl", '),
        ("[trash]\npath = '/x'", 'trash.path: "/x" is not a path relative to the target; write it like "../.trash"'),
        ("[trash]\npath = '.trash'", "trash.path: is below the target, where a web server may show what is in it; "),
        (
            "[trash]\npath = '../www/old'",
            'trash.path: leads back into the target; write it like "../.trash", or as a path',
        ),
        ("[trash]\npath = '../www'", 'trash.path: leads back into the target; write it like "../.trash"'),
        ("[trash]\nmax-size = 5", 'trash.max-size: 5 is not a size; write it in quotes: "512M"'),
        ("[sync]\nresume = true", 'sync.resume: true is not a size; write it in quotes: "64M", or write false'),
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
        (
            "[sync]\ndelete = 'yes'",
            'sync.delete: "yes" is not true or false; write it without quotes, or write "everything"',
        ),
        ("[sync]\nevery = 15", 'sync.every: 15 is not text; write it in quotes: "30s"'),
        ("[sync]\nevery = '15'", 'sync.every: "15" is not a duration; write it like "30s", "5m" or "1h30m"'),
        ("[sync]\nmax-delete = '101%'", 'sync.max-delete: "101%" is not a count such as 500 or a percentage'),
        ("[sync]\nmax-delete = -1", "sync.max-delete: -1 is not a count"),
        ("[sync]\nlinks = 'copy'", 'sync.links: "copy" is not one of "skip", "follow", "error"'),
        ("[sync]\ncompare = 'size'", 'sync.compare: "size" is not one of "times", "size-time", '),
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
def test_invalid_value_is_one_line_with_key_reason_and_remedy(shop: Path, addition: str, reason: str) -> None:
    text = addition + MINIMAL if addition.startswith("x = ") else MINIMAL + addition
    assert refused(shop, text).startswith(reason)


@pytest.mark.parametrize(
    ("table", "key", "meant"),
    [
        ("target", "conections", "sync.connections"),
        ("source", "fsnc", "target.fsync"),
        ("source", "pasword", "source.password"),
        ("target", "pasword", "target.password"),
        ("target", "drian", "shutdown.drain"),
    ],
)
def test_misspelt_key_in_the_wrong_table_is_recognised(shop: Path, table: str, key: str, meant: str) -> None:
    text = MINIMAL.replace(f"[{table}]", f"[{table}]\n{key} = 2")
    assert refused(shop, text) == f"{table}.{key}: unknown key; did you mean {meant}?"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[target]\nport = 22", 'target.port: unknown key; it is part of target.url: "sftp://user@host:2222/dir"'),
        ("[source]\nuser = 'a'", 'source.user: unknown key; it is part of source.url: "sftp://user@host/dir"'),
        ("[target]\npath = 'a'", 'target.path: unknown key; it is part of target.url: "sftp://user@host/dir"'),
        ("[target]\nproxyJump = 'a'", 'target.proxyJump: unknown key; use target.jump = ["user@bastion.example.com"]'),
        ("[sync]\nPARALLEL = 9", "sync.PARALLEL: unknown key; use sync.connections = 8"),
        ("[remote]\nurl = 'a'", 'remote: unknown key; use target.url = "sftp://user@host/dir"'),
        ("host = 'a'", 'host: unknown key; it is part of target.url: "sftp://user@host/dir"'),
    ],
)
def test_key_of_another_program_gets_a_hint(shop: Path, text: str, line: str) -> None:
    assert refused(shop, f"{text}\n{MINIMAL}" if text.startswith("host") else f"{text}\n") == line


def test_hints_are_for_unknown_keys_and_name_known_ones() -> None:
    known = {key.partition(".")[2] for key in KEYS}
    for name in HINTS:
        assert name not in known
        hint = hint_for(f"source.{name}") or ""
        named = re.findall(r"\b(?:source|target|sync|shutdown)\.[a-z0-9-]+", hint)
        assert set(named) <= KEYS.keys(), hint
    assert hint_for("target.password") is hint_for("sync.xyzzy") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 'source.path: missing; add path = "./public" to [source]'),
        ("[source]\npath = 'a'", 'target.url: missing; add url = "sftp://deploy@www.example.com/srv/www" to [target]'),
        ("[source]\npth = 'a'", "source.pth: unknown key; did you mean source.path?"),
        ("source = 5", "source: is not a table; write it as [source]"),
        ("[[sync]]\n", "sync: is not a table; write it as [sync]"),
        (MINIMAL.replace('"public"', "5"), 'source.path: 5 is not text; write it in quotes: "./public"'),
        (MINIMAL.replace('"public"', '"a\\u0000b"'), "source.path: is not a path: it is empty or contains a NUL"),
    ],
)
def test_missing_key_or_wrong_type_is_one_line(shop: Path, text: str, line: str) -> None:
    assert refused(shop, text) == line


def test_unreadable_profile_is_one_line(tmp_path: Path) -> None:
    def line(path: Path) -> str:
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        return str(caught.value).removeprefix(f"{path}: ")

    assert line(tmp_path / "none.toml") == "no such file; create one with: actorsync init"
    assert line(tmp_path) == "is a directory, not a profile; run: actorsync init, and set source.path there"
    assert line(tmp_path / ("n" * 300)) == "cannot be read: File name too long; name a profile that can be read"
    (tmp_path / "line\nfeed").write_bytes(b"\xff")
    with pytest.raises(ProfileError, match=r"line\\nfeed: is not UTF-8 text \(byte 0\); save it as UTF-8"):
        load_profile(tmp_path / "line\nfeed")
    os.mkfifo(tmp_path / "fifo")
    assert line(tmp_path / "fifo") == "cannot be read: Not a regular file; name a profile that can be read"
    (tmp_path / "large").write_bytes(b"#" * 2_000_000)
    assert line(tmp_path / "large") == "cannot be read: Longer than 1048576 bytes; name a profile that can be read"


class TestOverrides:
    def test_set_overrides_environment_overrides_file(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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

    def test_override_can_supply_a_missing_key(self, shop: Path) -> None:
        assert loaded(shop, "", ["source.path=a", "target.url=ftp://h/"]).target.host == "h"

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("sync.connections=99", "--set sync.connections: 99 is not a whole number from 1 to 64"),
            ("sync.connections", "--set: has no value; write it like --set sync.connections=2"),
            ("sync.conections=2", "--set sync.conections: unknown key; did you mean sync.connections?"),
            ("connections=2", "--set connections: unknown key; did you mean sync.connections?"),
            ("sync.exclude=1\nlinks=2", '--set sync.exclude: "1\\nlinks=2" is not a list of strings'),
            ("=", "--set : unknown key; known: source, target, sync, watch, audit, publish, hooks, trash, "),
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
        monkeypatch.delenv("ACTORSYNC_SYNC_CONECTIONS")
        monkeypatch.setenv("ACTORSYNC_TARGET_MAX_CONECTIONS", "2")
        assert refused(shop).endswith("did you mean ACTORSYNC_SYNC_MAX_CONNECTIONS?")

    @pytest.mark.parametrize("password", [CANARY, "true", "12", '{ env = "X" }'])
    def test_password_in_the_environment_is_taken_literally(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch, password: str
    ) -> None:
        monkeypatch.setenv("ACTORSYNC_TARGET_PASSWORD", password)
        assert loaded(shop).target.password == Secret(password)

    def test_m106_password_on_the_command_line_is_rejected(self, shop: Path) -> None:
        for override in (
            f"target.password={CANARY}",
            f'target.password="{CANARY}"',
            f"target.password={{env={CANARY}}}",
        ):
            line = refused(shop, MINIMAL, [override])
            assert line.startswith("--set target.password: a password here would be visible to others")
        assert loaded(shop, MINIMAL, ['target.password={ env = "X" }']).target.password == EnvSecret("X")


scalars = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12), st.integers(), st.booleans(), st.floats(), st.just("50%")
)


values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-env", max_size=4), inner, max_size=2),
)


keys = st.sampled_from([*(key.partition(".")[2] for key in KEYS), "max_delete", "x", "", "a\nb", "é"])
sections = st.sampled_from(["source", "target", "sync", "shutdown", "synk", ""])


class TestAnyMistake:
    """Any mistake raises a `ProfileError` with one line, and no other exception."""

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
        # The cut must not reach into the password, or what follows could show a part of it.
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
