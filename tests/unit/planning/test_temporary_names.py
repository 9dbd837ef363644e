"""Names of temporaries: short enough, never twice the same, and odd where the final name is odd."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actorsync.planning.temporary_names import (
    aside_name,
    final_of,
    forms_of,
    is_aside,
    is_own,
    is_temporary,
    kept_name,
    oddness,
    signature,
    temporary_name,
    trial_name,
)

TOKEN = "0123456789abcdef"

#: What a file can be called: at most 255 bytes, of which not all need to be UTF-8.
names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
    .map(lambda name: name.decode("utf-8", "surrogateescape"))
) | st.text(min_size=1, max_size=60).map(lambda name: name.replace("/", "_").replace("\0", "_")).filter(
    lambda name: not any("\ud800" <= character <= "\udfff" for character in name)
)


@given(names, st.binary(min_size=8, max_size=8).map(bytes.hex))
def test_temporary_name_is_valid(name: str, token: str) -> None:
    temporary = temporary_name(name, token)
    assert 0 < len(temporary.encode("utf-8", "surrogateescape")) <= 255
    assert "/" not in temporary
    assert "\0" not in temporary
    assert temporary not in {".", ".."}
    assert token in temporary
    assert temporary != name


@given(names, names)
def test_two_attempts_never_share_a_name(one: str, other: str) -> None:
    assert temporary_name(one, "a" * 16) != temporary_name(one, "b" * 16)
    assert temporary_name(one, "a" * 16) != temporary_name(other, "b" * 16)


@given(names.filter(lambda name: len(name.encode("utf-8", "surrogateescape")) <= 120))
def test_a_temporary_is_odd_in_every_way_that_its_final_name_is(name: str) -> None:
    assert oddness(name) <= oddness(temporary_name(name, TOKEN)) | {"NFC", "not NFC"}
    assert bool(oddness(temporary_name(name, TOKEN))) is bool(oddness(name))


@given(names)
def test_odd_beginning_of_a_long_name_is_kept(name: str) -> None:
    assert oddness(name) - {"NFC", "not NFC"} <= oddness(temporary_name(name, TOKEN))


@pytest.mark.parametrize("beginning", ["\t", "e\u0301", "\u00e9", "a\\", " ", "\udcff", "%", "%41", "%%2f"])
def test_odd_end_of_a_long_name_is_kept(beginning: str) -> None:
    name = beginning + "x" * 100 + "a" * 120
    assert oddness(temporary_name(name, TOKEN)) == oddness(name)


@given(names)
def test_a_temporary_is_recognized_whatever_a_server_makes_of_its_odd_characters(name: str) -> None:
    assert TOKEN in signature(temporary_name(name, TOKEN))
    assert signature(name) == "" or ".actorsync-" in name


@given(names)
def test_a_plain_name_gets_a_plain_hidden_temporary(name: str) -> None:
    if not oddness(name):
        assert temporary_name(name, TOKEN) == f".actorsync-{TOKEN}.tmp"
        assert not oddness(temporary_name(name, TOKEN))


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("plain.txt", set()),
        ("two words", set()),
        (".hidden", set()),
        ("a~", set()),
        (" a", {"leading space"}),
        ("a ", {"trailing space or dot"}),
        ("a.", {"trailing space or dot"}),
        ("~a", {"leading ~"}),
        ("a\tb", {"\t"}),
        ("a\x7f", {"\x7f"}),
        ('"*?"', {'"', "*", "?"}),
        ("100%", {"%"}),
        ("%41", {"%", "% and two digits"}),
        (unicodedata.normalize("NFC", "é"), {"NFC"}),
        (unicodedata.normalize("NFD", "é"), {"not NFC"}),
        ("a\udcff", {"not UTF-8"}),
        (" \udcff*", {"leading space", "not UTF-8", "*"}),
    ],
)
def test_traits_of_a_name(name: str, traits: set[str]) -> None:
    assert oddness(name) == traits


@pytest.mark.parametrize("name", ["é" * 127, "x" * 254 + "é"[:1], "日" * 85, " " + "日" * 84, "~" * 100 + "é" * 77])
def test_m081_a_long_odd_name_is_cut_between_characters(name: str) -> None:
    temporary = temporary_name(name, TOKEN)
    assert len(temporary.encode()) <= 255, "and it can be encoded at all"


# What is set aside.


@given(names, st.binary(min_size=8, max_size=8).map(bytes.hex))
def test_m033_aside_name_is_unique_and_valid(name: str, token: str) -> None:
    temporary = temporary_name(name, token)
    aside = aside_name(temporary)
    assert aside not in {temporary, name}
    assert len(aside.encode("utf-8", "surrogateescape")) == len(temporary.encode("utf-8", "surrogateescape")) <= 255
    assert "/" not in aside
    assert token in aside


@given(names, st.binary(min_size=8, max_size=8).map(bytes.hex))
def test_m033_aside_name_is_as_odd_as_its_temporary(name: str, token: str) -> None:
    temporary = temporary_name(name, token)
    assert oddness(aside_name(temporary)) == oddness(temporary)


@given(names)
def test_m033_two_attempts_have_different_aside_names(name: str) -> None:
    assert aside_name(temporary_name(name, "a" * 16)) != aside_name(temporary_name(name, "b" * 16))
    assert aside_name(temporary_name(name, "a" * 16)) != temporary_name(name, "b" * 16)


@pytest.mark.parametrize("name", ["plain", "é", ".actorsync-x", ".actorsync-é", " ~é", "x" * 200 + "é"])
def test_m033_the_first_mark_is_the_one_that_changes(name: str) -> None:
    temporary = temporary_name(name, TOKEN)
    assert aside_name(temporary) == temporary.replace(f".actorsync-{TOKEN}", f".actorsync+{TOKEN}")
    assert signature(aside_name(temporary)) == "" or "actorsync-x" in name or "actorsync-é" in name


def test_m033_aside_name_is_hidden() -> None:
    assert aside_name(temporary_name("plain", TOKEN)) == f".actorsync+{TOKEN}.tmp"


@given(names, st.binary(min_size=8, max_size=8).map(bytes.hex))
def test_m082_trial_name_is_plain_and_follows_from_the_temporary(name: str, token: str) -> None:
    tried = trial_name(temporary_name(name, token))
    assert tried.startswith(f"try.actorsync-{token}" if oddness(name) == frozenset() else "try.actorsync-")
    assert oddness(tried) == frozenset()
    assert tried not in {temporary_name(name, token), aside_name(temporary_name(name, token))}


@given(names)
def test_m082_trial_name_is_unique_for_any_temporary(temporary: str) -> None:
    assert trial_name(temporary).startswith("try.actorsync-")


@given(names)
def test_forms_of_a_name_are_other_names(name: str) -> None:
    assert not {name, "", ".", ".."} & set(forms_of(name))
    assert not any("/" in form for form in forms_of(name))


@pytest.mark.parametrize("name", ["é", "menu-\udce8", "a:b", "x*y", "日本", "e\u0301"])
@pytest.mark.parametrize("by", ["?", "_", "\ufffd", ""])
def test_server_that_replaces_characters_confuses_a_name_with_a_form_of_it(name: str, by: str) -> None:
    def stored(text: str) -> str:
        return "".join(letter if (letter.isalnum() and letter.isascii()) or letter == "-" else by for letter in text)

    assert stored(name) in {stored(form) for form in forms_of(name)}


@pytest.mark.parametrize(("name", "form"), [("a ", "a"), ("a.", "a"), (" a", "a"), ("~a", "a"), ("é", "e\u0301")])
def test_forms_of_a_name_include_what_servers_store_instead(name: str, form: str) -> None:
    assert form in forms_of(name)


@example("é" * 127)
@example("\U0001f600" * 63)
@example("x" * 255)
@given(names)
def test_name_aside_is_valid_and_tells_the_name_of_the_file_if_that_is_whole_in_it(name: str) -> None:
    kept = kept_name(name, TOKEN)
    assert len(kept.encode("utf-8", "surrogateescape")) <= 255
    assert is_own(kept)
    assert is_aside(f"d/{kept}")
    assert is_temporary(kept)
    assert final_of(kept) in {name, None}
    if len(name.encode("utf-8", "surrogateescape")) <= 200:
        assert final_of(kept) == name


@given(names)
def test_name_of_a_temporary_tells_no_name_of_a_file(name: str) -> None:
    assert final_of(temporary_name(name, TOKEN)) is None
    assert not is_aside(temporary_name(name, TOKEN))
