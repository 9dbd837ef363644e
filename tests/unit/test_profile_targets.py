"""Loading a profile with several targets: names, overrides of one target, what does not go together."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from actorsync.errors import ProfileError
from actorsync.profile import EnvSecret, Profile, Secret, load_profile, load_profiles, make_profiles
from actorsync.runs.private_paths import private_paths
from tests.support.profile_text import CANARY

SEVERAL = """
[source]
path = "public"
[[target]]
name = "berlin"
url = "ftp://deploy@berlin.example.com/www"
password = { env = "BERLIN" }
[[target]]
name = "sao-paulo"
url = "sftp://deploy@paulo.example.com/srv/www"
known-hosts = "hosts"
[[target]]
name = "disk"
url = "./copy"
"""
BURST = '[publish]\nmode = "burst"\n'


def several(path: Path, text: str = SEVERAL, overrides: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> list[str]:
    """Return the places that a text names."""
    return [profile.target.display for profile in loaded(path, text, overrides, only)]


def loaded(
    path: Path, text: str = SEVERAL, overrides: tuple[str, ...] = (), only: tuple[str, ...] = ()
) -> tuple[Profile, ...]:
    path.write_text(textwrap.dedent(text))
    return load_profiles(path, overrides, only=only)


def refusal(path: Path, text: str = SEVERAL, overrides: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> str:
    with pytest.raises(ProfileError) as caught:
        loaded(path, text, overrides, only)
    line = str(caught.value)
    assert line.isprintable()
    assert CANARY not in line
    return line.removeprefix(f"{path}: ")


def test_several_targets_give_a_profile_each_in_the_order_of_the_file(shop: Path) -> None:
    berlin, paulo, disk = loaded(shop)
    assert [profile.name for profile in (berlin, paulo, disk)] == ["berlin", "sao-paulo", "disk"]
    assert berlin.target.display == "ftp://deploy@berlin.example.com/www"
    assert berlin.source == paulo.source == disk.source
    assert berlin.siblings == (paulo.target, disk.target)
    assert berlin.target.where == f"{shop}: target.berlin"
    assert isinstance(berlin.target.password, EnvSecret)
    assert berlin.target.password.where == f"{shop}: target.berlin.password"


def test_a_profile_that_gains_a_target_keeps_the_journal_of_the_first(shop: Path) -> None:
    berlin = loaded(shop)[0]
    one = SEVERAL[: SEVERAL.index('[[target]]\nname = "sao')]
    (alone,) = loaded(shop, one)
    assert alone.name == "berlin"
    (first,) = loaded(shop, one.replace("[[target]]", "[target]").replace('name = "berlin"\n', ""))
    assert first.name == ""
    assert berlin.identity == alone.identity == first.identity


def test_only_gives_the_targets_that_are_named(shop: Path) -> None:
    assert [profile.name for profile in loaded(shop, only=("disk", "berlin"))] == ["berlin", "disk"]
    assert load_profile(shop, only=("disk",)).name == "disk"


def test_only_does_not_need_the_key_files_of_the_others(shop: Path) -> None:
    text = SEVERAL.replace('known-hosts = "hosts"', 'known-hosts = "hosts"\nkey-file = "missing"')
    assert [profile.name for profile in loaded(shop, text, only=("disk",))] == ["disk"]
    assert refusal(shop, text).startswith("target.sao-paulo.key-file: ")


@pytest.mark.parametrize(
    ("only", "line"),
    [
        ("berlim", "no target is named berlim; did you mean berlin?"),
        ("tokio", "no target is named tokio; known: berlin, sao-paulo, disk"),
        ("", "no target is named ; known: berlin, sao-paulo, disk"),
    ],
)
def test_only_with_an_unknown_name_is_refused(shop: Path, only: str, line: str) -> None:
    assert refusal(shop, only=(only,)) == line


def test_only_for_a_target_without_a_name_is_refused(shop: Path) -> None:
    text = '[source]\npath = "public"\n[target]\nurl = "./copy"\n'
    assert refusal(shop, text, only=("x",)) == "no target is named x; the profile has one target, without a name"


def test_what_works_on_one_target_says_how_to_name_it(shop: Path) -> None:
    loaded(shop)
    with pytest.raises(ProfileError) as caught:
        load_profile(shop)
    assert str(caught.value) == (
        f"{shop}: has several targets, and this works on one; add --only NAME, with one of berlin, sao-paulo, disk"
    )


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            'name = "disk"\n',
            "",
            'target 3 of 3: has no name, which each of several targets needs; add name = "berlin" to it',
        ),
        ('"disk"', '"berlin"', "target 3 of 3: its name is berlin, like that of target 1; use another one"),
        (
            '"disk"',
            '"a b"',
            (
                'target 3 of 3: name "a b" is not a name of at most 64 letters, digits, - and _; '
                'write it like name = "berlin"'
            ),
        ),
        (
            '"disk"',
            '"sao_paulo"',
            ("target.sao_paulo: with this name, ACTORSYNC_TARGET_SAO_PAULO_URL would have two meanings; "
            "use another name"),
        ),
        (
            '"disk"',
            '"proxy"',
            "target.proxy: with this name, ACTORSYNC_TARGET_PROXY_PASSWORD would have two meanings; use another name",
        ),
        (
            "./copy",
            "ftp://deploy@berlin.example.com/www",
            'target.disk.password: missing, but target.url names a user; add password = { env = "..." } to [target]',
        ),
        (
            "srv/www",
            "srv/www\"\nmax-conections = 3 #",
            "target.sao-paulo.max-conections: unknown key; did you mean sync.max-connections?",
        ),
        ("./copy", "https://h/www", None),
    ],
)  # fmt: skip
def test_mistake_in_one_of_several_targets_is_one_line_with_its_name(
    shop: Path, old: str, new: str, line: str | None
) -> None:
    got = refusal(shop, SEVERAL.replace(old, new))
    assert got.startswith("target.disk.url: not supported: https://") if line is None else got == line


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("./copy", "is the same directory as target disk; use another one"),
        ("./copy/a/../../copy", "is the same directory as target disk; use another one"),
        ("./copy/sub", "is inside target disk; use a directory outside it"),
        ("./public/sub", "is inside the source; use a directory outside it"),
    ],
)
def test_targets_that_overlap_are_refused(shop: Path, url: str, line: str) -> None:
    text = f'{SEVERAL}[[target]]\nname = "last"\nurl = "{url}"\n'
    assert refusal(shop, text) == f"target.last.url: {line}"


def test_targets_on_one_server_that_overlap_are_refused(shop: Path) -> None:
    more = '[[target]]\nname = "last"\nurl = "ftp://deploy@berlin.example.com/www/shop"\npassword = { env = "B" }\n'
    assert refusal(shop, SEVERAL + more) == "target.last.url: is inside target berlin; use a directory outside it"
    assert len(loaded(shop, SEVERAL + more.replace("/www/shop", "/www2"))) == 4


def test_trash_of_one_target_inside_another_is_refused(shop: Path) -> None:
    more = '[[target]]\nname = "last"\nurl = "./.trash/last"\n[trash]\npath = "../.trash"\n'
    line = "trash.path: would put the trash of target disk into target last; use another path"
    assert refusal(shop, SEVERAL + more) == line
    assert len(loaded(shop, SEVERAL + more.replace("./.trash/last", "./other"))) == 4


def test_one_canary_is_accepted_with_a_burst(shop: Path) -> None:
    text = SEVERAL.replace('name = "disk"', 'name = "disk"\ncanary = true\ncanary-check = ["true"]')
    *_, disk = loaded(shop, text + BURST)
    assert disk.is_canary
    assert disk.canary_check == ("true",)
    line = 'target.disk.canary: only has an effect with publish.mode = "burst"; set that, or remove it'
    assert refusal(shop, text) == line


def test_two_canaries_are_refused(shop: Path) -> None:
    text = SEVERAL.replace('name = "disk"', 'name = "disk"\ncanary = true')
    text = text.replace('name = "berlin"', 'name = "berlin"\ncanary = true')
    line = "target.disk.canary: berlin is a canary as well, and one goes first; remove it here"
    assert refusal(shop, text + BURST) == line


def test_canary_check_without_a_canary_is_refused(shop: Path) -> None:
    text = SEVERAL.replace('name = "disk"', 'name = "disk"\ncanary-check = ["true"]')
    line = "target.disk.canary-check: only used with target.canary = true; set that, or remove it"
    assert refusal(shop, text + BURST) == line


def test_override_for_one_target_changes_that_one(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTORSYNC_TARGET_SAO_PAULO_LANES", "3")
    monkeypatch.setenv("ACTORSYNC_TARGET_BERLIN_PASSWORD", "12")
    berlin, paulo, disk = loaded(shop, overrides=("target.disk.url=./elsewhere",))
    assert paulo.target.lanes == 3
    assert berlin.target.password == Secret("12")
    assert disk.target.path == str(shop.parent / "elsewhere")


def test_override_for_one_target_counts_before_the_one_for_all(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SEVERAL[: SEVERAL.index('[[target]]\nname = "disk"')].replace(' "ftp://', ' "sftp://')
    monkeypatch.setenv("ACTORSYNC_TARGET_BERLIN_LANES", "5")
    monkeypatch.setenv("ACTORSYNC_TARGET_LANES", "3")
    assert [one.target.lanes for one in loaded(shop, text)] == [5, 3]
    overrides = ("target.sao-paulo.lanes=7", "target.lanes=9")
    assert [one.target.lanes for one in loaded(shop, text, overrides)] == [9, 7]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "target.url=./x",
            "--set target.url: there are several targets, and each has its own; write it as target.berlin.url",
        ),
        (
            "target.password={ env = 'P' }",
            (
                "--set target.password: there are several targets, and each would be shown this password; write it as "
                "target.berlin.password"
            ),
        ),
        ("target.berlim.url=./x", "--set target.berlim.url: no target is named berlim; did you mean berlin?"),
        (
            "target.berlin.ur=./x",
            "--set target.berlin.ur: unknown key; did you mean target.berlin.url?",
        ),
        (
            "target.berlin.password=" + CANARY,
            (
                "--set target.berlin.password: a password here would be visible to others in the process list; "
                "set it in the profile"
            ),
        ),
        (
            "target.disk.lanes=3",
            "--set target.disk.lanes: only sftp:// transfers several files at once on a connection; remove it",
        ),
    ],
)
def test_wrong_override_of_several_targets_is_one_line(shop: Path, override: str, line: str) -> None:
    assert refusal(shop, overrides=(override,)) == line


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            "ACTORSYNC_TARGET_PASSWORD",
            "there are several targets, and each would be shown this password; use ACTORSYNC_TARGET_BERLIN_PASSWORD",
        ),
        (
            "ACTORSYNC_TARGET_BERLIM_PASSWORD",
            "environment variable for an unknown key; did you mean ACTORSYNC_TARGET_BERLIN_PASSWORD?",
        ),
    ],
)
def test_wrong_variable_of_several_targets_is_one_line(
    shop: Path, monkeypatch: pytest.MonkeyPatch, variable: str, line: str
) -> None:
    monkeypatch.setenv(variable, CANARY)
    assert refusal(shop) == f"{variable}: {line}"


def test_password_in_the_file_of_one_target_is_refused_with_its_name(shop: Path) -> None:
    text = SEVERAL.replace('{ env = "BERLIN" }', f'"{CANARY}"')
    shop.write_text(text)
    shop.chmod(0o644)
    assert refusal(shop, text).startswith("target.berlin.password: the profile contains a password, and other users")


def test_key_files_of_the_other_targets_are_private(shop: Path) -> None:
    key = shop.parent / "public" / "id_paulo"
    key.parent.mkdir()
    key.write_text("")
    key.chmod(0o600)
    text = SEVERAL.replace('known-hosts = "hosts"', 'known-hosts = "hosts"\nkey-file = "public/id_paulo"')
    for profile in (*loaded(shop, text), *loaded(shop, text, only=("disk",))):
        assert "id_paulo" in private_paths(profile)


def test_a_program_gives_several_targets_as_tables(shop: Path) -> None:
    targets = [{"name": "a", "url": str(shop.parent / "a")}, {"name": "b", "url": str(shop.parent / "b")}]
    profiles = make_profiles({"source": {"path": str(shop.parent / "public")}, "target": targets})
    assert [(one.name, Path(one.target.path).name) for one in profiles] == [("a", "a"), ("b", "b")]
    with pytest.raises(ProfileError, match="target 2 of 2: has no name"):
        make_profiles({"source": {"path": "."}, "target": [targets[0], {"url": "./b"}]})
