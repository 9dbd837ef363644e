"""What `actorsync ctl` and a run say to each other: one line of JSON each way. Pure: no I/O, no clock.

A request is ``{"verb": "bwlimit", "value": "2M"}``. An answer is ``{"code": 0, "text": "..."}``: ``text`` is one line
for the user, ``code`` the exit code of the command. The answer to ``status`` has the state of the mirror as ``status``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from actorsync.classes import frozen
from actorsync.service.asking.verbs import TAKES_VALUE, VERBS

__all__ = ["LONGEST_REQUEST", "Answer", "Request", "read_answer", "read_request"]

#: Bytes of a request, at most.
LONGEST_REQUEST: Final = 65_536


@frozen
class Request:
    """What a user asks of a run."""

    verb: str
    value: str = ""

    def encode(self) -> bytes:
        """Return the line."""
        return _line({"verb": self.verb, "value": self.value})


@frozen
class Answer:
    """What the run answers."""

    text: str
    code: int = 0
    status: Mapping[str, Any] | None = None

    def encode(self) -> bytes:
        """Return the line."""
        extra = {} if self.status is None else {"status": self.status}
        return _line({"code": self.code, "text": self.text, **extra})


def read_request(line: bytes) -> Request:
    """Return the request in a line. Raises `ValueError`, with the reason, if there is none."""
    document = _object(line)
    verb, value = document.get("verb"), document.get("value", "")
    if not isinstance(verb, str) or not isinstance(value, str):
        raise ValueError("the request has no verb, or a value that is not text")  # noqa: TRY004
    if verb not in VERBS:
        raise ValueError(f"unknown verb {verb!r}; this version knows {', '.join(VERBS)}")
    if bool(value) != (verb in TAKES_VALUE):
        raise ValueError(f"{verb} {'needs a value' if verb in TAKES_VALUE else 'takes no value'}")
    return Request(verb, value)


def read_answer(line: bytes) -> Answer:
    """Return the answer in a line. Raises `ValueError`, with the reason, if there is none."""
    document = _object(line)
    code, text, status = document.get("code"), document.get("text"), document.get("status")
    if not isinstance(code, int) or not isinstance(text, str) or not isinstance(status, dict | None):
        raise ValueError("the answer has no code or no text")  # noqa: TRY004
    return Answer(text, code, status)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> Mapping[str, Any]:
    if not line.endswith(b"\n"):
        raise ValueError("the line is cut short")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("the line is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("the line is not a JSON object")  # noqa: TRY004
    return document
