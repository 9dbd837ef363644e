"""What the keys of a profile mean with ``sync.mode = "two-way"``: each works, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorsync.errors import ProfileError
from actorsync.profile import load_profiles
from actorsync.profile.two_way import MEANINGLESS
from tests.support.profile_text import KEYS, MINIMAL, loaded, refused

TWO_WAY = ["sync.mode=two-way"]


def with_key(key: str, line: str) -> str:
    """Return a profile that has one more line, in the table of a key."""
    table = key.partition(".")[0]
    return (
        MINIMAL.replace(f"[{table}]\n", f"[{table}]\n{line}\n") if table == "target" else f"{MINIMAL}[{table}]\n{line}"
    )


def given_otherwise(key: str) -> str:
    """Return a line that gives a key another value than its default."""
    example = {
        "sync.links": 'links = "error"',
        "publish.keep-old": "keep-old = false",
        "audit.listings": "listings = 0",
    }
    return example.get(key, str(KEYS[key].metadata["example"]))


@pytest.mark.parametrize("key", MEANINGLESS)
def test_key_without_a_meaning_is_refused(shop: Path, key: str) -> None:
    line = refused(shop, with_key(key, given_otherwise(key)), TWO_WAY)
    assert line.startswith(f'{key}: has no meaning with sync.mode = "two-way", because ')
    assert line.endswith("; remove it")


@pytest.mark.parametrize(
    "line", ["delete = true", 'links = "skip"', 'conflict = "newer"', "max-delete = 5", 'every = "1h"']
)
def test_key_with_a_meaning_or_its_default_is_taken(shop: Path, line: str) -> None:
    assert loaded(shop, with_key("sync.x", line), TWO_WAY).sync.mode == "two-way"


@pytest.mark.parametrize("off", ["ACTORSYNC_SYNC_DELETE", "--set"])
def test_delete_that_is_switched_off_anywhere_is_refused(shop: Path, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    """Removals are carried over, so a user who has switched them off would lose files."""
    more = ["sync.delete=false"] if off == "--set" else []
    if not more:
        monkeypatch.setenv(off, "false")
    line = refused(shop, with_key("sync.delete", "delete = true"), [*TWO_WAY, *more])
    assert "false has no meaning" in line
    assert line.startswith(off)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("sync.conflict", 'conflict = "keep"'),
        ("sync.conflict-copies", "conflict-copies = 3"),
    ],
)
def test_key_of_two_way_needs_the_mode(shop: Path, key: str, line: str) -> None:
    assert refused(shop, with_key(key, line)) == f'{key}: only used with sync.mode = "two-way"; set that, or remove it'


@pytest.mark.parametrize("more", ['mode = "two-way"', 'delete = "everything"'])
def test_no_links_is_for_runs_that_remove_what_others_have_put_there(shop: Path, more: str) -> None:
    assert loaded(shop, MINIMAL + f"[sync]\n{more}\nno-links = true\n").sync.no_links
    line = refused(shop, with_key("sync.no-links", "no-links = true"))
    assert line.startswith('sync.no-links: only used with sync.mode = "two-way" or sync.delete = "everything"')


def test_one_target_may_have_a_name_and_several_are_refused(shop: Path) -> None:
    one = MINIMAL.replace("[target]", '[[target]]\nname = "berlin"') + '[sync]\nmode = "two-way"\n'
    assert loaded(shop, one).name == "berlin"
    shop.write_text(one + '[[target]]\nname = "paris"\nurl = "./paris"\n')
    with pytest.raises(
        ProfileError, match=r"target\.paris\.name: a two-way profile has one target; write a profile for"
    ):
        load_profiles(shop)


@pytest.mark.parametrize("line", ['path = "../.trash"', 'path = ".trash"\ninside-target = true'])
def test_both_sides_may_have_a_trash(shop: Path, line: str) -> None:
    assert loaded(shop, f'{MINIMAL}[sync]\nmode = "two-way"\n[trash]\n{line}\n').trash.path is not None


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("a/notes", "b/notes", None),
        ("notes", "other", None),
        ("a/trash", "b/notes", "leads back into the source"),
        ("a/notes", "b/trash", "leads back into the target"),
        ("a/notes", "a/trash/notes", "would put the trash of one side into the other side"),
        ("a/trash/notes", "a/notes", "would put the trash of one side into the other side"),
    ],
)
def test_trash_of_one_side_must_not_be_in_a_side(shop: Path, source: str, target: str, fault: str | None) -> None:
    text = f'[source]\npath = "{source}"\n[target]\nurl = "./{target}"\n'
    text += '[sync]\nmode = "two-way"\n[trash]\npath = "../trash"\n'
    if fault is None:
        assert loaded(shop, text).trash.path == "../trash"
    else:
        shop.write_text(text)
        with pytest.raises(ProfileError, match=rf"trash\.path: {fault}"):
            load_profiles(shop)
