"""Requests and answers of the server, and the headers that every answer has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actorsync.classes import frozen

__all__ = ["HEADERS", "Answer", "Request", "text"]

#: The headers of every answer. Everything that the page needs comes from this server, and from files of their own.
#: Nothing is kept in a cache, shown in the frame of another page, or read by one: there are no headers for CORS.
HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


@frozen
class Request:
    """A request without a body. The names in ``headers`` are lower case; ``query`` has the first value of each name."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@frozen
class Answer:
    """An answer with its whole body. ``headers`` come in addition to those that every answer has."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def text(status: int, line: str, *headers: tuple[str, str]) -> Answer:
    """Return an answer of one line."""
    return Answer(status, f"{line}\n".encode("utf-8", "backslashreplace"), headers=headers)
