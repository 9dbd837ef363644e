"""Servers that ask for a second factor: which answer goes where, and one login for all sessions of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from actorsync.endpoints.contract import keeping_logins
from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from actorsync.endpoints.ssh.answers import Answers
from actorsync.endpoints.ssh.settings import SshLogin
from actorsync.errors import ConnectionLost, LoginRefused
from tests.support.mirror import contents, mirror
from tests.support.scenarios import write
from tests.support.servers.debian_servers import PASSWORD, USER
from tests.support.servers.ssh_keys import make_key
from tests.support.servers.ssh_ways import SshWays, known_hosts, serving_ways

SECONDS = 20.0
P, C = "the password", "X837261"


@attrs.define(eq=False)
class Codes:
    """Codes in a list; as `OneTimeCode`, it repeats a code until it was sent, and refuses when none is left."""

    left: list[str]
    asked: int = 0

    def next(self) -> str:
        self.asked += 1
        if not self.left:
            raise LoginRefused("a new one-time code is needed")
        return self.left[0]

    def note_sent(self, code: str) -> None:
        assert self.left.pop(0) == code


# ---- which answer goes where


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([("Password: ", False)], [P]),
        ([("Password: ", False), ("Verification code: ", False)], [P, C]),
        ([("Verification code: ", True), ("Password: ", False)], [C, P]),
        ([("(user@host) Password:", False), ("(user@host) OTP:", True)], [P, C]),
        ([("One-time password (OATH) for `user': ", False)], [C]),
        ([("Enter passcode: ", False)], [C]),
        ([("Passcode or option (1-3): ", True)], [C]),
        ([("Enter PIN: ", False)], [C]),
        ([("Duo two-factor token", False)], [C]),
        ([("Kennwort: ", False), ("Token: ", False)], [P, C]),
        ([], []),
        ([("Password: ", True)], None),  # a password is not sent where it is shown
        ([("Password: ", False), ("Password again: ", False)], None),
        ([("Code: ", False), ("Code: ", False)], None),
    ],
)
def test_questions_get_the_answer_that_they_ask_for(
    prompts: Sequence[tuple[str, bool]], expected: list[str] | None
) -> None:
    answers = Answers(P, C)
    assert answers.answer(prompts) == expected
    assert answers.sent_code == (C if expected and C in expected else None)


def test_questions_in_two_requests_get_each_secret_once() -> None:
    answers = Answers(P, C)
    assert answers.answer([("Password: ", False)]) == [P]
    assert answers.answer([]) == []
    assert answers.answer([("Verification code: ", False)]) == [C]
    assert answers.answer([("Verification code: ", False)]) is None, "a rejected code is not sent again"
    assert answers.answer([("Password: ", False)]) is None
    assert answers.lacks is None, "nothing is missing in the profile"


def test_request_without_all_answers_uses_up_no_secret() -> None:
    answers = Answers(P, C)
    assert answers.answer([("Password: ", False), ("Verification code: ", False), ("Colour: ", True)]) is None
    assert (answers.password, answers.code, answers.sent_code) == (P, C, None)


@pytest.mark.parametrize(
    ("password", "prompts", "lacks"),
    [
        (P, [("Verification code: ", False)], ("otp", "Verification code:")),
        (P, [("Password: ", False), ("Token\x1b: ", False)], ("otp", "Token\\x1b:")),
        (P, [("Your favourite colour? ", True)], ("otp", "Your favourite colour?")),
        (None, [("Password: ", False)], ("password", "Password:")),
    ],
)
def test_missing_secret_is_named_with_its_question(
    password: str | None, prompts: Sequence[tuple[str, bool]], lacks: tuple[str, str]
) -> None:
    answers = Answers(password)
    assert answers.answer(prompts) is None
    assert answers.lacks == lacks


def test_single_hidden_question_gets_the_password_without_codes() -> None:
    assert Answers(P).answer([("Enter it: ", False)]) == [P]


def test_repr_shows_no_secret() -> None:
    answers = Answers(P, C)
    answers.answer([("Password: ", False), ("Code: ", False)])
    assert P not in repr(answers) and C not in repr(answers)


# ---- logins

Rounds = Sequence[Sequence[tuple[str, bool, str]]]
ROUNDS: dict[str, Rounds] = {
    "one request": [[("Password: ", False, PASSWORD), ("Verification code: ", False, C)]],
    "two requests": [[("Password: ", False, PASSWORD)], [("Verification code: ", True, C)]],
    "code first": [[("Verification code: ", False, C)], [("Password: ", False, PASSWORD)]],
}


def asking(folder: Path, rounds: Rounds = ROUNDS["one request"], **settings: Any) -> SshWays:
    root = folder / "root"
    root.mkdir(exist_ok=True)
    known = {"steps": ["keyboard-interactive"], "is_reusable": False}
    return SshWays(root=root, rounds=rounds, **{**known, **settings})


def endpoint(
    server: SshWays, folder: Path, codes: Codes | None, key: Path | None = None, path: str = ""
) -> SftpEndpoint:
    login = SshLogin(USER, key_file=key, password=lambda: PASSWORD, codes=codes)
    return SftpEndpoint("127.0.0.1", login, known_hosts(folder / "known", server), server.port, path)


async def accepted(place: SftpEndpoint) -> None:
    with trio.fail_after(SECONDS):
        async with place.open_session() as session:
            assert (await session.list_directory("")).problem is None


async def refusal(place: SftpEndpoint) -> str:
    with trio.fail_after(SECONDS), pytest.raises(LoginRefused) as refused:
        async with place.open_session():
            pass
    assert PASSWORD not in str(refused.value) and C not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("rounds", ROUNDS)
async def test_password_and_code_are_accepted(rounds: str, tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path, ROUNDS[rounds])) as server:
        codes = Codes([C])
        await accepted(endpoint(server, tmp_path, codes))
        assert (codes.left, server.count("login")) == ([], 1)


async def test_code_after_an_accepted_key(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    rounds = [[("Verification code: ", False, C)]]
    server = asking(tmp_path, rounds=rounds, steps=["publickey", "keyboard-interactive"], authorized=[key.public_line])
    with serving_ways(server):
        await accepted(endpoint(server, tmp_path, Codes([C]), key.path))
        assert [text for kind, text in server.received if kind == "answer"] == [C]


async def test_code_after_an_accepted_password(tmp_path: Path) -> None:
    server = asking(tmp_path, rounds=[[("Code: ", False, C)]], steps=["password", "keyboard-interactive"])
    with serving_ways(server):
        await accepted(endpoint(server, tmp_path, Codes([C])))


async def test_questions_that_end_at_once_are_not_asked_for_again(tmp_path: Path) -> None:
    """A server may announce keyboard-interactive and reject it without a question, as sshd does without PAM."""
    with serving_ways(asking(tmp_path, rounds=[])) as server:
        said = await refusal(endpoint(server, tmp_path, Codes([C])))
        assert "it accepts keyboard-interactive; check user, key and password" in said
        assert server.count("round") == 1


async def test_key_alone_at_a_server_that_wants_a_code_names_otp(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    steps = ["publickey", "keyboard-interactive"]
    server = asking(tmp_path, rounds=[[("Token: ", False, C)]], steps=steps, authorized=[key.public_line])
    with serving_ways(server):
        place = endpoint(server, tmp_path, None, key.path)
        place = attrs.evolve(place, login=attrs.evolve(place.login, password=None))
        assert 'it asks "Token:"; if that is a second factor, set target.otp' in await refusal(place)


async def test_missing_otp_is_named(tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path)) as server:
        said = await refusal(endpoint(server, tmp_path, None))
        assert said.endswith('it asks "Verification code:"; if that is a second factor, set target.otp')
        assert server.count("answer") == 0


async def test_wrong_code_is_sent_once(tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path)) as server:
        codes = Codes(["000000", "111111"])
        place = endpoint(server, tmp_path, codes)
        said = await refusal(place)
        assert "000000" not in said
        assert await refusal(place) == said, "a refused login is not repeated"
        assert (codes.left, server.count("answer")) == (["111111"], 2)


async def test_sessions_share_one_login(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / "source" / f"f{number}", b"%d" % number * 20_000)
    with serving_ways(asking(tmp_path)) as server:
        codes = Codes([C])
        run = await mirror(
            tmp_path / "source", endpoint(server, tmp_path, codes, path="www"), None, connections=4, settled=True
        )
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(tmp_path / "root" / "www") == contents(tmp_path / "source")
        assert (codes.left, server.count("login")) == ([], 1)
        assert C not in str(run)


async def test_kept_login_serves_sessions_one_after_the_other(tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path)) as server:
        codes = Codes([C])
        place = endpoint(server, tmp_path, codes)
        async with keeping_logins(place):
            assert server.count("login") == 1, "the code is sent while it is fresh"
            for _ in range(3):
                await accepted(place)
            async with keeping_logins(place):
                await accepted(place)
            await place.identify()
        assert (codes.left, server.count("login")) == ([], 1)
        with trio.fail_after(SECONDS):
            await trio.to_thread.run_sync(server.wait_closed, abandon_on_cancel=True)


async def test_failed_early_login_is_reported_by_the_session(tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path)) as server:
        place = endpoint(server, tmp_path, Codes(["000000"]))
        async with keeping_logins(place):
            assert "rejected the login" in await refusal(place)
        assert server.count("answer") == 2


async def test_lost_login_is_not_repeated_without_a_new_code(tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path)) as server:
        place = endpoint(server, tmp_path, Codes([C]))
        await lose(place, server)
        assert "a new one-time code is needed" in await refusal(place)
        assert server.count("login") == 1
        assert server.count("answer") == 2


async def test_lost_login_is_repeated_with_a_new_code(tmp_path: Path) -> None:
    with serving_ways(asking(tmp_path)) as server:
        place = endpoint(server, tmp_path, Codes([C, "654321"]))
        await lose(place, server)
        server.rounds = [[("Password: ", False, PASSWORD), ("Verification code: ", False, "654321")]]
        await accepted(place)
        assert server.count("login") == 2


async def lose(place: SftpEndpoint, server: SshWays) -> None:
    """Open a session, and have the server cut its connection."""
    with pytest.raises(ConnectionLost), trio.fail_after(SECONDS):  # noqa: PT012 - any of the listings may fail
        async with place.open_session() as session:
            server.cut()
            while True:
                await session.list_directory("")


async def test_unreachable_server_uses_up_no_code(tmp_path: Path) -> None:
    codes = Codes([C])
    server = asking(tmp_path)
    place = endpoint(server, tmp_path, codes)
    with pytest.raises(ConnectionLost):
        async with place.open_session():
            pass
    assert codes.left == [C]
    with serving_ways(server):
        await accepted(place)


async def test_channel_that_is_refused_leaves_the_login_open(tmp_path: Path) -> None:
    """A session that breaks takes its channel along, and not the login that other sessions use."""
    with serving_ways(asking(tmp_path)) as server:
        place = endpoint(server, tmp_path, Codes([C]))
        async with place.open_session() as first:
            with pytest.raises(RuntimeError):
                async with place.open_session():
                    raise RuntimeError
            assert (await first.list_directory("")).problem is None
        assert server.count("login") == 1
