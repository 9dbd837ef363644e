"""Text from outside made safe to show: names, server replies, banners. Also durations, sizes and counts as text.

A name may contain an escape sequence that retitles the terminal, a line break that forges a line of the log, or a
mark that reverses the direction of the rest of the line. All text from outside passes through `display` before it is
shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

__all__ = ["counted", "display", "duration_text", "hidden", "shorten", "size_text"]


def _escapes() -> dict[int, str]:
    controls = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    bidi = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    line_breaks = (0x2028, 0x2029)  # not controls, but str.splitlines and some log viewers break there
    marks = {code: f"\\u{code:04x}" for code in (*bidi, *line_breaks)}
    surrogates = {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}
    bytes_that_were_not_utf8 = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
    return controls | marks | surrogates | bytes_that_were_not_utf8


_ESCAPES = _escapes()


def display(text: str) -> str:
    r"""Return ``text`` with all characters escaped that could act on a terminal or a log.

    Control characters and bytes that were not UTF-8 (surrogate escapes, PEP 383) become ``\xNN``, direction marks
    ``\uNNNN``. The result is one line, and can be encoded as UTF-8.
    """
    return text.translate(_ESCAPES)


def hidden(secrets: Iterable[str], text: str) -> str:
    """Return ``text`` with ``***`` in place of every secret, also where it is percent-encoded as in a URL."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in (secret, quote(secret, safe=""), quote(secret)):
            text = text.replace(form, "***")
    return text


def shorten(text: str, limit: int) -> str:
    """Return ``text`` cut to ``limit`` characters. If it was cut, the last one is an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration_text(seconds: float) -> str:
    """Return a duration for people: ``2.1 s``, ``1 min 05 s``, ``2 h 10 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def size_text(size: float) -> str:
    """Return a number of bytes in binary units, with one decimal place from KiB on: ``812 B``, ``3.4 MiB``."""
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return ``count`` with its noun: ``1 file``, ``2 files``. ``plural`` is for nouns that do not just add an "s"."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"
