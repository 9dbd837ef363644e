"""The dialogues of a release: which lines share a flight, what ends it, and what the replies mean."""

from __future__ import annotations

import pytest

from actorsync.protocols.ftp import releases
from actorsync.protocols.ftp.releases import Names
from actorsync.protocols.ftp.wire import MAX_BURST_BYTES, MAX_BURST_COMMANDS, ProtocolError, Reply
from tests.unit.protocols.test_ftp_dialogues import play

OUT_OF_SEQUENCE = "503 RNFR first"


def files(count: int, *, aside: bool = True) -> list[Names]:
    return [Names(f"/d/.t{n}", f"/d/{n}", f"/d/.o{n}" if aside else None) for n in range(count)]


def answers(lines: int) -> list[str]:
    """Return the replies to the renames of a flight that succeeds."""
    return [*(["350 go on", "250 done"] * (lines // 2)), OUT_OF_SEQUENCE]


def test_a_flight_has_64_files_and_one_impossible_rename_at_its_end() -> None:
    flights, renamed = play(releases.rename(files(70)), answers(256), answers(24))
    assert [len(flight) for flight in flights] == [257, 25]
    assert flights[0][:4] == ["RNFR /d/0", "RNTO /d/.o0", "RNFR /d/.t0", "RNTO /d/0"]
    assert [line for flight in flights for line in flight if line == "RNTO /"] == ["RNTO /"] * 2
    assert [flight[-1] for flight in flights] == ["RNTO /"] * 2
    assert len(renamed) == 70
    assert {(it.first, it.second) for it in renamed} == {(None, None)}


@pytest.mark.parametrize("length", [1, 500])
def test_short_flights_have_the_limits_of_all_others(length: int) -> None:
    items = [Names(f"/{n}{'t' * length}", f"/{n}{'f' * length}", f"/{n}{'a' * length}") for n in range(40)]
    dialogue = releases.put_back(items, is_published=[True] * 40, is_long=False)
    sizes, flight = [], next(dialogue)
    try:
        while True:
            *lines, last = flight
            assert last == b"RNTO /\r\n"
            assert len(lines) <= MAX_BURST_COMMANDS
            assert sum(map(len, lines)) <= MAX_BURST_BYTES
            sizes.append(len(lines))
            replies = play_replies(len(lines))
            flight = dialogue.send(replies)
    except StopIteration:
        pass
    assert sum(sizes) == 160


def play_replies(lines: int) -> list[Reply]:
    return [Reply(int(line[:3]), (line[4:],)) for line in answers(lines)]


def test_each_file_has_the_refusals_of_its_own_renames() -> None:
    _, renamed = play(
        releases.rename(files(3)),
        [
            *("550 no", OUT_OF_SEQUENCE, "350 go on", "250 done"),
            *("350 go on", "250 done", "350 go on", "553 no"),
            *("350 go on", "250 done", "350 go on", "250 done"),
            OUT_OF_SEQUENCE,
        ],
    )
    codes = [(it.first and it.first.code, it.second and it.second.code) for it in renamed]
    assert codes == [(550, None), (None, 553), (None, None)]


def test_a_file_without_an_old_one_needs_one_rename() -> None:
    flights, renamed = play(releases.rename(files(1, aside=False)), answers(2))
    assert flights == [["RNFR /d/.t0", "RNTO /d/0", "RNTO /"]]
    assert (renamed[0].first, renamed[0].second) == (None, None)


def test_put_back_renames_only_what_was_published() -> None:
    flights, _ = play(releases.put_back(files(2), is_published=[True, False]), answers(6))
    assert flights == [
        ["RNFR /d/0", "RNTO /d/.t0", "RNFR /d/.o0", "RNTO /d/0", "RNFR /d/.o1", "RNTO /d/1", "RNTO /"],
    ]


def test_rename_onto_the_root_or_of_another_file_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="onto its root"):
        play(releases.rename(files(1)), ["350 go on", "250 done", "350 go on", "250 done", "250 done"])
    with pytest.raises(ProtocolError, match="another file"):
        play(
            releases.rename(files(2, aside=False)),
            ["350 go on", "553 no", "550 gone", "250 done", OUT_OF_SEQUENCE],
        )
