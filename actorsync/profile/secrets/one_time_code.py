"""The codes of a second factor: typed by the user, or printed by a command. No code is sent twice."""

from __future__ import annotations

import time
from typing import Final

import attrs

from actorsync.classes import define
from actorsync.errors import LoginRefused, ProfileError
from actorsync.profile.secrets.secret import CommandSecret, PromptSecret

__all__ = ["OneTimeCode"]

#: A code of RFC 6238 (TOTP) is replaced after 30 seconds, or 60 in a few installations.
_NEW_CODE_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 2.0


@define(eq=False)
class OneTimeCode:
    """Where codes come from. A profile has one object for each key ``otp``; all logins of its runs share it."""

    source: CommandSecret | PromptSecret
    _typed: str | None = attrs.field(default=None, init=False, repr=False)
    _sent: str | None = attrs.field(default=None, init=False, repr=False)

    @property
    def is_asking(self) -> bool:
        """Whether each code has to be typed."""
        return isinstance(self.source, PromptSecret)

    def ask(self) -> None:
        """Ask for a code on the terminal, for the next login. Raises `ProfileError` without a terminal or an answer.

        Call it in the main thread; see `PromptSecret.resolve`.
        """
        self._typed = self._resolved()

    def next(self) -> str:
        """Return a code that was not sent before: the typed one, or what the command prints. Blocks.

        Raises:
            LoginRefused: the typed code was sent already; or the command fails, or prints the same code for too long.
        """
        if self.is_asking and self._typed is None and self._sent is not None:
            raise LoginRefused(
                "another login needs a new one-time code, and the code that was typed has been used; run the command "
                "again, which asks for one and continues where this run stopped"
            )
        try:
            if self.is_asking:
                self._typed = self._typed or self._resolved()
                return self._typed
            return self._printed()
        except ProfileError as error:
            raise LoginRefused(str(error)) from None

    def note_sent(self, code: str) -> None:
        """Note that ``code`` was sent."""
        self._sent, self._typed = code, None

    def _printed(self) -> str:
        deadline = time.monotonic() + _NEW_CODE_SECONDS
        while (code := self._resolved()) == self._sent:
            if time.monotonic() > deadline:
                raise LoginRefused(
                    f"the command of otp printed a used code for {_NEW_CODE_SECONDS:.0f} s; run it by hand to see why"
                )
            time.sleep(_POLL_SECONDS)
        return code

    def _resolved(self) -> str:
        """Return a new code without spaces, which applications show in the middle of it."""
        return "".join(self.source.resolve().reveal().split())
