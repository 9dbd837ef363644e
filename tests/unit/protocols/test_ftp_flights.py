"""Which FTP commands go in one write, and what a server loses by its answers."""

from __future__ import annotations

import pytest

from actorsync.model.traits import Traits
from actorsync.protocols.ftp.flights import Flight, Flights, OutOfStep
from actorsync.protocols.ftp.send_queue import SendQueue
from actorsync.protocols.ftp.wire import Reply, command_line

KNOWN = Reply(220, ("(vsFTPd 3.0.3)",))
UNKNOWN = Reply(220, ("user 3 of 50 is welcome",))
RENAME = [command_line("RNFR", "/a"), command_line("RNTO", "/b")]
OK, NO = Reply(250, ("ok",)), Reply(550, ("no",))
READY = Reply(350, ("and then?",))


def flights(greeting: Reply, *, earned: bool = False, traits: Traits | None = None) -> Flights:
    found = Flights(traits or Traits())
    found.greet(greeting)
    if earned:
        found.earn(Flight)
    return found


def answer_all(queue: SendQueue, *replies: Reply) -> list[list[bytes]]:
    """Answer each command as soon as it is sent. Returns the writes."""
    writes = [queue.next_write()]
    for reply in replies:
        queue.take(reply)
        if not queue.due:
            writes.append(queue.next_write())
    return [write for write in writes if write]


# ---- What goes in one write


@pytest.mark.parametrize(
    "text", ["(vsFTPd 3.0.3)", "ProFTPD Server (Debian)", "Welcome to Pure-FTPd [TLS]", "pyftpdlib 2.2.0 ready."]
)
def test_known_server_gets_a_flight_in_one_write(text: str) -> None:
    queue = SendQueue(flights(Reply(220, (text, "the last line"))))
    queue.add(RENAME, Flight.BURST)
    assert queue.next_write() == RENAME


@pytest.mark.parametrize("text", ["Microsoft FTP Service", "MikroTik FTP server ready"])
def test_server_that_is_known_for_lock_step_is_not_even_tried(text: str) -> None:
    found = flights(Reply(220, (text,)))
    assert (found.is_lock_step, found.is_settled, found.warning) == (True, True, "")


def test_unknown_server_gets_one_command_at_a_time() -> None:
    queue = SendQueue(flights(UNKNOWN))
    queue.add(RENAME, Flight.BURST)
    assert answer_all(queue, READY, OK) == [[RENAME[0]], [RENAME[1]]]


def test_unknown_server_gets_each_command_alone_before_a_flight() -> None:
    queue = SendQueue(flights(UNKNOWN, earned=True))
    for writes in (2, 1):
        queue.add(RENAME, Flight.BURST)
        assert len(answer_all(queue, READY, OK)) == writes


def test_unknown_server_never_gets_two_renames_in_one_write() -> None:
    """One that works on several commands at once could give the file of one RNFR the name of another."""
    queue = SendQueue(flights(UNKNOWN, earned=True))
    queue.add(RENAME, Flight.BURST)
    answer_all(queue, READY, OK)
    queue.add([*RENAME, *RENAME], Flight.BURST)
    assert answer_all(queue, READY, OK, READY, OK) == [RENAME, RENAME]


def test_command_that_is_not_utf8_goes_alone_the_first_time() -> None:
    odd = command_line("SIZE", "/menu-\udce8")
    queue = SendQueue(flights(UNKNOWN, earned=True))
    queue.add([command_line("SIZE", "/a")], Flight.BURST)
    answer_all(queue, NO)
    for writes in (2, 1):
        queue.add([command_line("SIZE", "/a"), odd], Flight.BURST)
        assert len(answer_all(queue, NO, NO)) == writes


# ---- Renames


def test_rnto_is_not_sent_in_lock_step_after_a_refused_rnfr() -> None:
    queue = SendQueue(flights(UNKNOWN))
    queue.add(RENAME, Flight.BURST)
    assert queue.next_write() == [RENAME[0]]
    queue.take(NO)
    skipped = queue.skip()
    assert skipped is not None
    assert skipped.code == 503
    assert queue.is_idle


def test_interrupted_rename_leaves_rnfr_armed_until_it_is_disarmed() -> None:
    queue = SendQueue(flights(UNKNOWN))
    queue.add(RENAME, Flight.BURST)
    queue.next_write()
    queue.take(READY)
    queue.drop_waiting()
    assert queue.is_rename_armed
    assert queue.is_idle
    queue.add([command_line("RNTO", "/")], Flight.BURST)
    assert queue.skip() is None
    answer_all(queue, NO)
    assert queue.is_rename_armed, "Pure-FTPd keeps it after a name that it prohibits"


# ---- What is lost


@pytest.mark.parametrize(("greeting", "strikes"), [(UNKNOWN, 1), (KNOWN, 3)])
def test_replies_out_of_step_end_all_flights_with_one_warning(greeting: Reply, strikes: int) -> None:
    found = flights(greeting, earned=greeting is UNKNOWN)
    for strike in range(strikes):
        assert not found.is_lock_step, strike
        found.note_out_of_step(f"reason {strike}")
    assert found.is_lock_step
    assert f"reason {strikes - 1}" in found.warning


def test_silence_ends_only_the_kind_of_flight_that_met_it() -> None:
    found = flights(UNKNOWN, earned=True)
    found.note_silence(Flight.PORT)
    assert [found.allows(kind) for kind in Flight] == [True, False, True]


def test_silence_after_a_flight_that_was_answered_has_another_cause() -> None:
    found = flights(UNKNOWN, earned=True)
    found.note_proven([Flight.PORT])
    found.note_silence(Flight.PORT)
    assert found.allows(Flight.PORT)


def test_silence_on_an_unanswered_flight_shows_nothing() -> None:
    """Then the whole server is silent."""
    found = flights(KNOWN)
    queue = SendQueue(found)
    for _ in range(5):
        queue.add(RENAME, Flight.BURST)
        queue.next_write()
        queue.note_silence()
    assert found.allows(Flight.BURST)


@pytest.mark.parametrize("code", [500, 503])
def test_refusal_in_a_flight_of_what_was_accepted_alone_is_out_of_step(code: int) -> None:
    queue = SendQueue(flights(UNKNOWN, earned=True))
    size, where = command_line("SIZE", "/a"), command_line("PWD")
    for line in (size, where):
        queue.add([line], Flight.BURST)
        answer_all(queue, NO)
    queue.add([where, size], Flight.BURST)
    queue.next_write()
    queue.take(Reply(257, ('"/"',)))
    with pytest.raises(OutOfStep, match="accepted alone"):
        queue.take(Reply(code, ("what?",)))


def test_unknown_command_is_no_contradiction_when_it_was_unknown_alone() -> None:
    queue = SendQueue(flights(UNKNOWN, earned=True))
    lines = [command_line("SIZE", "/a"), command_line("MDTM", "/a")]
    for _ in range(2):
        queue.add(lines, Flight.BURST)
        answer_all(queue, NO, Reply(500, ("what?",)))
    assert queue.is_idle


# ---- From run to run


def test_finding_is_recalled_in_the_next_run_for_the_same_greeting_only() -> None:
    traits = Traits()
    flights(UNKNOWN, earned=True, traits=traits)
    later = Traits()
    later.recall(dict(traits.take_news()))
    same = flights(Reply(220, ("user 17 of 50 is welcome",)), traits=later)
    assert (same.is_settled, same.is_lock_step, same.is_known) == (True, False, False)
    other = flights(Reply(220, ("another server",)), traits=later)
    assert (other.is_settled, other.is_lock_step) == (False, True)


def test_known_server_that_lost_its_flights_stays_in_lock_step_in_the_next_run() -> None:
    traits = Traits()
    found = flights(KNOWN, traits=traits)
    for _ in range(3):
        found.note_out_of_step("reason")
    later = Traits()
    later.recall(dict(traits.take_news()))
    again = flights(KNOWN, traits=later)
    assert (again.is_lock_step, again.warning) == (True, ""), "told once, in the run that found it"
