"""What is in and what is out, held against git itself where git is there to ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.planning.selection import Selection


@pytest.mark.parametrize(
    ("exclude", "path", "is_directory", "included"),
    [
        ([], "a", False, True),
        (["*.tmp"], "a.tmp", False, False),
        (["*.tmp"], "deep/down/a.tmp", False, False),
        (["*.tmp"], "a.tmp.txt", False, True),
        (["*.tmp", "!keep.tmp"], "keep.tmp", False, True),
        (["!keep.tmp", "*.tmp"], "keep.tmp", False, False),
        ([".git/"], ".git", True, False),
        ([".git/"], ".git", False, True),
        ([".git/"], "sub/.git", True, False),
        (["/build"], "build", True, False),
        (["/build"], "sub/build", True, True),
        (["docs/*.md"], "docs/a.md", False, False),
        (["docs/*.md"], "docs/sub/a.md", False, True),
        (["docs/**/x"], "docs/x", False, False),
        (["docs/**/x"], "docs/a/b/x", False, False),
        (["logs/**"], "logs", True, True),
        (["logs/**"], "logs/a", False, False),
        (["*", "!*/", "!*.txt"], "a", True, True),
        (["*", "!*/", "!*.txt"], "a/b.txt", False, True),
        (["*", "!*/", "!*.txt"], "a/b.bin", False, False),
        (["*.log", "!keep/"], "keep/old.log", True, False),
        (["foo"], "foobar", False, True),
        (["# a comment", "", "  "], "# a comment", False, True),
        (["\\#x"], "#x", False, False),
        (["a "], "a", False, False),
        (["a\\ "], "a ", False, False),
        (["a\\ "], "a", False, True),
        (["*.tmp"], "line\nfeed/a.tmp", False, False),
        (["*.tmp"], "line\nfeed.tmp", False, False),
        (["*.tmp"], "a.tmp\n", False, True),
        (["caf\udce9"], "caf\udce9", False, False),
        (["[[]x"], "[x", False, False),
    ],
)
def test_patterns_mean_what_they_mean_to_git(exclude: list[str], path: str, is_directory: bool, included: bool) -> None:
    assert Selection(exclude=exclude).is_included(path, is_directory) is included


PATTERNS = [
    "*",
    "!*",
    "*.t",
    "!a.t",
    "a",
    "!a",
    "a/",
    "!a/",
    "/a",
    "/*",
    "*/",
    "**/",
    "**",
    "a/*",
    "a/**",
    "!a/b",
    "**/b",
    "a/**/b",
    "a/**/b/c",
    "**/a/**",
    "b/c",
    "!b/",
    "[ab]",
    "[!a]",
    "?",
    ".t",
    "a**",
    "/**/b",
    "***",
]
FILES = ["a.t", "b", "c.t", "d/a", "d/b/c", "a/a.t", "a/b/c", "a/b/b/c", "a/x/b/c/b/c", "e/a/b", "e/c/a.t"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_every_pair_of_patterns_hides_what_git_ignores(tmp_path: Path) -> None:
    """Each pair is a directory of its own in one repository, so that git is started once."""
    directories = {path[:at] for path in FILES for at, sign in enumerate(path) if sign == "/"}
    pairs = [[one, other] for one in PATTERNS for other in PATTERNS[::3]]
    asked = []
    for number, lines in enumerate(pairs):
        root = tmp_path / str(number)
        for path in directories:
            (root / path).mkdir(parents=True, exist_ok=True)
        for path in FILES:
            (root / path).touch()
        (root / ".gitignore").write_text("\n".join(lines))
        asked += [f"{number}/{path}" for path in [*FILES, *directories]]
    # Neither the user's own ignore file, nor the repository whose hook may be running this test.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=environment)
    answer = subprocess.run(
        ["git", "-C", str(tmp_path), "check-ignore", "--no-index", "-z", "--stdin"],
        input="\0".join(asked).encode(),
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
    )
    ignored = set(answer.stdout.decode().split("\0")) - {""}
    for number, lines in enumerate(pairs):
        selection = Selection(exclude=lines)
        hidden = {path for path in [*FILES, *directories] if selection.hides(path, path in directories)}
        assert hidden == {path for path in [*FILES, *directories] if f"{number}/{path}" in ignored}, lines


def test_entry_in_an_excluded_directory_is_hidden_although_included() -> None:
    selection = Selection(exclude=["build/", "!keep.txt"])
    assert selection.is_included("build/keep.txt", False)  # the question of a walk, that never gets there
    assert selection.hides("build/keep.txt", False)
    assert selection.hides("build/sub/deeper", True)
    assert not selection.hides("other/keep.txt", False)


def test_m070_newly_excluded_entry_is_hidden_and_not_gone() -> None:
    before, after = Selection(), Selection(exclude=["cache/"], exclude_extensions=["bak"], max_depth=3)
    for path in ("cache/a", "cache/b/c", "old.bak", "one/two/three/four"):
        assert not before.hides(path, False)
        assert after.hides(path, False)
    assert not after.hides("one/two/three", False)


def test_include_wins_over_exclude_and_extensions_but_not_over_depth() -> None:
    selection = Selection(
        exclude=["*.log"], include=["keep.*", "!keep.no"], exclude_extensions=["bak", "no"], max_depth=2
    )
    assert selection.is_included("keep.log", False)
    assert selection.is_included("keep.bak", False)
    assert not selection.is_included("keep.no", False)
    assert not selection.is_included("other.log", False)
    assert not selection.is_included("a/b/keep.log", False)


@pytest.mark.parametrize("extension", [".bak", "bak", ".BAK"])
def test_extensions_are_the_end_of_a_file_name_in_any_case(extension: str) -> None:
    selection = Selection(exclude_extensions=[extension])
    assert not selection.is_included("sub/a.bak", False)
    assert not selection.is_included("A.Bak", False)
    assert selection.is_included("a.bak/file", False)
    assert selection.is_included("a.bak", True)
    assert selection.is_included("abak", False)


def test_extensions_may_have_two_dots() -> None:
    selection = Selection(exclude_extensions=[".tar.gz"])
    assert not selection.is_included("a.tar.gz", False)
    assert selection.is_included("a.gz", False)


@given(st.integers(1, 6), st.integers(1, 8), st.booleans())
def test_depth_counts_from_one(limit: int, depth: int, is_directory: bool) -> None:
    path = "/".join("d" * depth)
    assert Selection(max_depth=limit).is_included(path, is_directory) is (depth <= limit)


def test_the_root_is_always_in() -> None:
    assert Selection(exclude=["*"], max_depth=1).is_included("", True)
    assert not Selection(exclude=["*"]).hides("", True)


@pytest.mark.parametrize("line", ["trailing\\", "[z-a]", "[[:alpha:]]", "[\\]a]", "a\nb", "a\0b"])
def test_line_that_pathspec_misreads_is_rejected_and_quoted(line: str) -> None:
    with pytest.raises(ValueError) as caught:
        Selection(exclude=[line])
    assert repr(line) in str(caught.value)
    assert "\n" not in str(caught.value)


segment = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=4)
surrogates = st.text(st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), min_size=1, max_size=3)


@given(
    st.lists(st.text("ab*?[]!/\\. #-^", max_size=8), max_size=4),
    st.lists(segment | surrogates, min_size=1, max_size=4),
    st.booleans(),
)
def test_any_pattern_is_refused_or_answers_for_any_name(lines: list[str], parts: list[str], is_directory: bool) -> None:
    try:
        selection = Selection(exclude=lines)
    except ValueError:
        return
    path = "/".join(parts)
    above = any(not selection.is_included("/".join(parts[:at]), True) for at in range(1, len(parts)))
    assert selection.hides(path, is_directory) is (above or not selection.is_included(path, is_directory))


@pytest.mark.parametrize(("exclude", "seconds"), [([], 0.5), ([".git/", "*.tmp", "/build", "!keep.tmp"], 3.0)])
def test_a_hundred_thousand_questions_take_no_time(exclude: list[str], seconds: float) -> None:
    selection = Selection(exclude=exclude)
    paths = [f"d{number % 100}/s{number % 7}/file{number}.txt" for number in range(100_000)]
    start = time.process_time()
    assert all(selection.is_included(path, is_directory=False) for path in paths)
    assert time.process_time() - start < seconds


def test_private_paths_are_out_whatever_the_patterns_say() -> None:
    selection = Selection(include=("shop.toml", "*"), private=frozenset({"shop.toml", "etc/key"}))
    assert selection.is_everything, "no pattern leaves anything out"
    assert not selection.is_included("shop.toml", is_directory=False)
    assert selection.is_included("etc/shop.toml", is_directory=False)
    assert selection.hides("etc/key/below", is_directory=False)
    assert selection.may_be_private("") == frozenset({"shop.toml"})
    assert selection.may_be_private("etc") == frozenset({"key"})
    assert selection.may_be_private("other") == frozenset()


@pytest.mark.parametrize(
    ("include", "is_sent"),
    [((), False), (("*",), False), ((".git/",), True), (("/.git",), True), (("/lib/.git/",), False)],
)
def test_git_is_kept_back_unless_include_names_it(include: tuple[str, ...], is_sent: bool) -> None:
    selection = Selection(include=include, keeps_git_back=True)
    assert selection.is_included(".git", is_directory=True) is is_sent
    assert selection.is_included(".gitignore", is_directory=False)
    assert not selection.is_included("x/.git", is_directory=False)
    assert Selection().is_included(".git", is_directory=True)


def test_git_that_include_names_is_still_excluded_by_other_limits() -> None:
    selection = Selection(include=(".git/",), max_depth=1, keeps_git_back=True)
    assert selection.is_included(".git", is_directory=True)
    assert not selection.is_included("x/.git", is_directory=True)
