"""Which mirrors a command means: names, ``--only``, and files that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from actorsync.errors import JournalLocked, ProfileError, ReleaseRefused
from actorsync.profile import Profile, PromptSecret, Secret
from actorsync.service.chosen import Chosen, choose, profiles_in


def write(folder: Path, name: str, *targets: str, source: str = "source", more: str = "") -> Path:
    """Write a profile with a local target, or with one of each name."""
    path = folder / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [f'[[target]]\nname = "{it}"\nurl = "{folder}/{name}-{it}"' for it in targets]
    one = [f'[target]\nurl = "{folder}/{name}-target"']
    path.write_text("\n".join([f'[source]\npath = "{folder}/{source}"', *(tables or one), more]))
    return path


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ((), ["shop/berlin", "shop/tokyo", "blog"]),
        (("berlin",), ["shop/berlin"]),
        (("shop",), ["shop/berlin", "shop/tokyo"]),
        (("shop/tokyo", "blog"), ["shop/tokyo", "blog"]),
    ],
)
def test_only_takes_the_name_of_a_target_of_a_file_or_both(
    only: Sequence[str], names: Sequence[str], tmp_path: Path
) -> None:
    files = [write(tmp_path, "shop", "berlin", "tokyo"), write(tmp_path, "blog")]
    assert list(choose(files, only=only).profiles) == names


def test_targets_of_one_file_have_their_own_names(tmp_path: Path) -> None:
    assert list(choose([write(tmp_path, "shop", "berlin", "tokyo")]).profiles) == ["berlin", "tokyo"]


def test_files_with_the_same_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    files = [write(tmp_path / "a", "site"), write(tmp_path / "b", "site")]
    assert list(choose(files).profiles) == [f"{tmp_path}/a/site", f"{tmp_path}/b/site"]


def test_unknown_name_is_refused_with_the_names_that_there_are(tmp_path: Path) -> None:
    files = [write(tmp_path, "shop", "berlin", "tokyo"), write(tmp_path, "blog")]
    with pytest.raises(ProfileError) as caught:
        choose(files, only=["oslo"])
    assert str(caught.value).endswith("has this name; there are: shop/berlin, shop/tokyo, blog")


def test_file_that_cannot_be_used_leaves_the_others(tmp_path: Path) -> None:
    files = [write(tmp_path, "bad", more="[sync]\nnope = 1"), write(tmp_path, "good"), tmp_path / "missing.toml"]
    chosen = choose(files)
    assert list(chosen.profiles) == ["good"]
    assert [(it.name, it.error.exit_code) for it in chosen.refused] == [("bad", 2), ("missing", 2)]
    assert chosen.is_several
    assert not choose(files, only=["good"]).refused  # somebody asked for that one alone


def test_two_profiles_with_one_journal_are_refused_by_both_names(tmp_path: Path) -> None:
    first, second = write(tmp_path, "first"), write(tmp_path, "second")
    second.write_text(first.read_text())
    with pytest.raises(ProfileError, match=r"^first and second mirror the same source to the same target"):
        choose([first, second])
    with pytest.raises(ProfileError, match="named twice"):
        choose([first, first])


def test_directory_of_profiles_is_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml", ".#a.toml", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in profiles_in(tmp_path)] == ["a.toml", "b.toml"]


@pytest.mark.parametrize(("name", "text"), [("", "has no profile"), ("missing", "cannot be read: No such file")])
def test_directory_without_profiles_is_refused(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=text):
        profiles_in(tmp_path / name)


def test_shared_source_is_asked_about_once_and_a_refusal_leaves_the_others(tmp_path: Path) -> None:
    profiles = choose([write(tmp_path, "shop", "berlin", "tokyo", "oslo")]).profiles
    asking = {
        name: attrs.evolve(it, source=attrs.evolve(it.source, password=PromptSecret("password")))
        for name, it in profiles.items()
    }
    asked = []

    def ask(profile: Profile) -> Profile:
        asked.append((profile.name, profile.source.is_asking))
        if profile.name == "tokyo":
            raise JournalLocked("locked")
        return attrs.evolve(profile, source=attrs.evolve(profile.source, password=Secret("typed")))

    chosen = Chosen(asking).answered(ask)
    assert asked == [("berlin", True), ("tokyo", False), ("oslo", False)]
    assert list(chosen.profiles) == ["berlin", "oslo"]
    assert [(it.name, it.error.exit_code) for it in chosen.refused] == [("tokyo", 8)]


def test_targets_whose_canary_is_refused_are_refused_and_other_profiles_are_not(tmp_path: Path) -> None:
    shop = write(tmp_path, "shop", "berlin", "tokyo", more='[publish]\nmode = "burst"')
    shop.write_text(shop.read_text().replace('name = "tokyo"', 'name = "tokyo"\ncanary = true'))

    def ask(profile: Profile) -> Profile:
        if profile.is_canary:
            raise JournalLocked("locked by another run")
        return profile

    chosen = choose([shop, write(tmp_path, "blog")]).answered(ask).without_followers()
    assert list(chosen.profiles) == ["blog"]
    refusals = {it.name: it.error for it in chosen.refused}
    assert isinstance(refusals["shop/berlin"], ReleaseRefused)
    assert "canary shop/tokyo did not begin: locked by another run" in str(refusals["shop/berlin"])
