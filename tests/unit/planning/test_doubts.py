"""Texts in a profile that hardly mean what they say: patterns that match nothing, variables that are not replaced."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.planning.doubts import Pattern, Tree, extension_doubts, pattern_doubts, place_doubt, secret_doubt
from actorsync.planning.selection import Selection

ROOT = "/home/me/public"


def doubts(
    exclude: Sequence[str], include: Sequence[str] = (), have: Sequence[str] = (), **settings: bool
) -> list[str]:
    lines = [
        [Pattern("k", text, is_in_file=settings.get("in_file", False)) for text in one] for one in (exclude, include)
    ]
    tree = Tree(ROOT, lambda path: os.path.normpath(path) in have)
    return pattern_doubts(*lines, others=settings.get("others", False), tree=tree)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("./drafts/", 'matches nothing: no path in the source has "./" in it; write "/drafts/"'),
        ("a/./b", 'matches nothing: no path in the source has "./" in it; write "/a/b"'),
        (".", 'matches nothing: no path in the source has "./" in it; remove it'),
        ("a//b/", 'matches nothing: no path in the source has "//" in it; write "/a/b/"'),
        ("../x", "matches nothing: patterns are relative to the source, and do not lead out of it"),
        (f"{ROOT}/drafts/", 'matches nothing: patterns are relative to the source, also with / at their .*"/drafts/"'),
        ("~/x", "matches nothing: patterns are relative to the source, .*; write a path relative to the source"),
        ("C:/x", "matches nothing: patterns are relative to the source, .*; write a path relative to the source"),
        ("public/drafts/", 'begins with the name of the source, but patterns are relative to the .*"/drafts/"'),
        ("*.key # note", r"matches only names with that comment in them; .* write \\# for a name"),
        ("*.key\t#note", "matches only names with that comment in them"),
        ("*.key // note", "matches only names with that comment in them"),
        ("*.{html,txt}", r"has braces, which gitignore takes literally; write one pattern for each alternative"),
        ("log{1..9}", "has braces, which gitignore takes literally"),
        (r"node_modules\x", "has a backslash, which only makes the next character literal; write / between"),
        (r".*\.key$", "is a regular expression, which gitignore takes literally"),
        (r"{{.*[.]bak$}}", "has a regular expression, which gitignore takes literally"),
        ("regex:.*key", "begins with the name of a syntax, which gitignore takes literally"),
        ("- *.bak", "begins like a filter of rsync, which gitignore takes literally"),
        ("*.bak;*.tmp", "is one pattern; write one for each extension"),
        ("*.bak, *.tmp", "is one pattern; write one for each extension"),
        ('"*.key"', "matches only names with these quotes; write it without them"),
        (" *.key", "matches only names with this white space; remove it"),
        ("*.key\t", "matches only names with this white space; remove it"),
        ("*.key\u00a0", "matches only names with this white space; remove it"),
        ("$HOME/x", "has a variable, which is not replaced; write a path relative to the source"),
        ("https://example.com/x", "is a URL; write a path relative to the source"),
        ("!", "matches nothing: it negates no pattern; write the pattern after the exclamation mark"),
        ("/", 'matches nothing: the source itself is never excluded; write "\\*" for everything in it'),
    ],
)
def test_pattern_that_matches_nothing_is_in_doubt(line: str, reason: str) -> None:
    have = ["drafts", "a", "a/b", "x", "home/me/public/x"]
    for found in (doubts(["x", line], have=have), doubts(["x"], [line]), doubts(["x", line], in_file=True)):
        assert [bool(re.search(reason, doubt)) for doubt in found] == [True], found


@pytest.mark.parametrize("line", ["", "  ", "#x", "# a comment"])
def test_line_that_says_nothing_is_in_doubt_in_a_list_and_not_in_a_file(line: str) -> None:
    assert len(doubts([line, "x"])) == 1
    assert doubts([line, "x"], in_file=True) == []


@pytest.mark.parametrize(
    "line",
    [
        *(
            "*.key",
            ".git/",
            ".git/ ",
            "node_modules/**/*",
            "**/*.html",
            "*.*",
            "/docs",
            "a/**/x",
            "/*",
            "*",
            "*/",
            "a**b",
        ),
        *(r"\#x", r"\!x", "a\\ ", r"a\ b", r"foo\*", r"\{a,b\}", r"\.htaccess", r"*\.key", r"\_drafts"),
        *("[!a]x", "[#]x", "a b", "Track #1.mp3", "C#/", "x#", "[-] x", "-x", "a|b", "a,b", "a, b.txt", "*.tar.gz"),
        *("{{cookiecutter.name}}/", "{x}", "$RECYCLE.BIN/", "~$*", "*~", "home/me", "/home/me", "publications/x"),
    ],
)
def test_pattern_that_can_match_is_not_in_doubt(line: str) -> None:
    assert doubts(["x", line]) == doubts(["x", line, f"!{line}"]) == doubts(["x", line], in_file=True) == []


@pytest.mark.parametrize("line", ["public/x", "x # 1", "{a,b}", "- x", "'x'", "~/x", "C:/x"])
def test_pattern_that_names_an_entry_is_not_in_doubt(line: str) -> None:
    assert len(doubts([line])) == 1
    assert doubts([line], have=[line, line.partition("/")[0]]) == []


#: Pieces of patterns, ordinary and odd.
PIECES = (
    "a",
    "b.x",
    "*",
    "?",
    "**",
    "/",
    "./",
    "../",
    "//",
    "~",
    "!",
    "{",
    ",",
    "}",
    "#",
    " ",
    "[a]",
    "$",
    "-",
    ".",
    "|",
)
TREE = ("a", "a/a", "a/b.x", "a/a/a", "b.x", "b.x/a", "b.xa", "ab.x", "aa/b.x/a")


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join))
def test_pattern_that_excludes_an_entry_is_never_in_doubt(line: str) -> None:
    try:
        selection = Selection([line])
    except ValueError:
        return
    if any(not selection.is_selected(path, is_directory) for path in TREE for is_directory in (True, False)):
        assert doubts([line], have=TREE) == []


@pytest.mark.parametrize(
    ("exclude", "include", "expected"),
    [
        (
            ["docs/"],
            ["docs/a.md"],
            'because "docs" is excluded and not looked into; exclude "docs/*" instead of "docs/"',
        ),
        (["docs/", "!docs/*.md"], [], 'because "docs" is excluded and not looked into; exclude "docs/*" instead'),
        (["*"], ["/d/x"], 'because "d" is excluded and not looked into; bring "d/" back as well'),
        (["!*.html"], [], "negates nothing: no pattern before it excludes anything; remove it"),
        ([], ["*.html"], 'nothing is excluded; to send only what it matches, also set exclude = ["*", "!*/"]'),
    ],
)
def test_pattern_that_brings_nothing_back_is_in_doubt(exclude: list[str], include: list[str], expected: str) -> None:
    (found,) = doubts(exclude, include)
    assert expected in found


@pytest.mark.parametrize(
    ("exclude", "include"),
    [
        (["docs/*"], ["docs/a.md"]),
        (["docs/*", "!docs/a.md"], []),
        (["*", "!*/"], ["*.html"]),
        (["*"], ["*.html"]),
        (["*.tmp", "!keep.tmp"], []),
        (["*"], ["d/", "/d/x"]),
        ([], [".git/"]),
    ],
)
def test_pattern_that_brings_something_back_is_not_in_doubt(exclude: list[str], include: list[str]) -> None:
    assert doubts(exclude, include) == []


def test_include_has_an_effect_on_other_exclusions() -> None:
    assert doubts([], ["*.html"], others=True) == []


def test_each_doubt_names_its_place_and_the_pattern() -> None:
    lines = [Pattern("/x/.ignore:3", "./a\x07"), Pattern("shop.toml: sync.exclude", "!")]
    found = pattern_doubts(lines, [], others=False, tree=Tree())
    assert found[0].startswith('/x/.ignore:3: "./a\\x07" matches nothing')
    assert found[1].startswith('shop.toml: sync.exclude: "!" matches nothing')


def test_extension_with_wildcards_is_in_doubt() -> None:
    assert extension_doubts("k", [".bak", "tar.gz", "C++", "x,v"]) == []
    assert len(extension_doubts("k", ["*.bak", " .bak", ".bak, .tmp"])) == 3


# Variables.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$SHOP_PASSWORD", "SHOP_PASSWORD"),
        ("${SHOP_PASSWORD}", "SHOP_PASSWORD"),
        ("%SHOP_PASSWORD%", "SHOP_PASSWORD"),
        ("$env:SHOP_PASSWORD", "SHOP_PASSWORD"),
        ("env:SHOP_PASSWORD", "SHOP_PASSWORD"),
        ("${{ secrets.SHOP_PASSWORD }}", "SHOP_PASSWORD"),
        ("{{ shop_password }}", "shop_password"),
        ("$PASSWORD", "NAME"),
        ("${pass}", "NAME"),
    ],
)
def test_secret_that_is_a_variable_is_in_doubt(text: str, shown: str) -> None:
    found = secret_doubt("password", text, lambda _: False)
    assert found is not None
    assert f'write password = {{ env = "{shown}" }}, or password = {{ file = "..." }} if this is ' in found
    assert text not in found


def test_name_of_a_variable_that_is_set_is_shown() -> None:
    assert '{ env = "pw" }' in (secret_doubt("password", "$pw", lambda name: name == "pw") or "")


def test_command_in_place_of_a_secret_is_in_doubt_and_not_shown() -> None:
    for text in ("$(pass shop)", "`pass shop`"):
        found = secret_doubt("passphrase", text, lambda _: False)
        assert found == 'is taken literally: no command is run for it; write passphrase = { command = ["..."] }'


@pytest.mark.parametrize("text", ["x", "$ecret", "pa$$WORD", "x$VAR", "$1", "%41%42", "100%", "{x}", "$", "env", "a:b"])
def test_ordinary_secret_is_not_in_doubt(text: str) -> None:
    assert secret_doubt("password", text, lambda _: False) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://$USER@host/www", "$USER"),
        ("/srv/${site}/x", "${site}"),
        ("%SITE_DIR%/x", "%SITE_DIR%"),
        ("sftp://host/~/$SITE", "$SITE"),
        ("ftp://h/%AB%CD/%ABCD%20", None),
        ("/srv/a$b/Cash$", None),
        ("sftp://user:$PASSWORD@host/", None),
        ("user:$PASS/WORD@host/", None),
    ],
)
def test_variable_in_a_path_or_url_is_in_doubt(text: str, shown: str | None) -> None:
    found = place_doubt(text, lambda _: False)
    assert (found or "None").split(" is taken literally")[0] == str(shown)
