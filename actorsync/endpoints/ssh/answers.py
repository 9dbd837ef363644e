"""The answers to a server's questions during a login: which of them is for the password, and which for the code.

RFC 4256 (keyboard-interactive) says nothing about what a question asks for, so its text decides. Servers ask for the
password and the code in one request or in two, in either order; after a key was accepted, they ask for the code alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import attrs

from actorsync.classes import define
from actorsync.model.text import display, shorten

__all__ = ["Answers"]

#: In the questions of pam_unix, of Windows and of appliances. "One-time password" is a code.
_PASSWORD = re.compile(r"passw|kennwort|mot de passe|contrase", re.IGNORECASE)
_CODE = re.compile(r"one.?time|\botp\b|\bcode\b|token|verification|factor|authenticator", re.IGNORECASE)


@define(eq=False)
class Answers:
    """The secrets of one login. Each is given once, so that a wrong one is not sent twice.

    ``sent_code`` is the code, once it was given. ``lacks`` says which secret the server asked for although there never
    was one, with its question as one printable line.
    """

    password: str | None = attrs.field(repr=False)
    code: str | None = attrs.field(default=None, repr=False)
    sent_code: str | None = attrs.field(default=None, init=False, repr=False)
    lacks: tuple[Literal["password", "otp"], str] | None = attrs.field(default=None, init=False)
    _had_password: bool = attrs.field(init=False)
    _had_code: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._had_password, self._had_code = self.password is not None, self.code is not None

    @property
    def left(self) -> int:
        """How many secrets were not given yet."""
        return (self.password is not None) + (self.code is not None)

    def take_password(self) -> str | None:
        """Return the password the first time, and None from then on."""
        password, self.password = self.password, None
        return password

    def answer(self, prompts: Sequence[tuple[str, bool]]) -> list[str] | None:
        """Return one answer for each question, or None if one of them has no answer; then no secret is used up.

        A question is its text, and whether the answer is shown while it is typed. A password is given only where it is
        not shown.
        """
        before = self.password, self.code
        answers: list[str] = []
        for text, is_shown in prompts:
            answer = self._answer(text, is_shown=is_shown)
            if answer is None:
                self._note_lack(text, is_shown=is_shown)
                self.password, self.code = before
                return None
            answers.append(answer)
        if self.code is None:
            self.sent_code = before[1] or self.sent_code
        return answers

    def _answer(self, text: str, *, is_shown: bool) -> str | None:
        if self.code is not None and (_asks_for_code(text) or not _PASSWORD.search(text)):
            code, self.code = self.code, None
            return code
        return None if is_shown or _asks_for_code(text) else self.take_password()

    def _note_lack(self, text: str, *, is_shown: bool) -> None:
        is_for_password = bool(_PASSWORD.search(text)) and not _asks_for_code(text) and not is_shown
        if self.lacks is None and not (self._had_password if is_for_password else self._had_code):
            question = shorten(display(" ".join(text.split())), 100)
            self.lacks = ("password" if is_for_password else "otp"), question


def _asks_for_code(text: str) -> bool:
    return bool(_CODE.search(text))
