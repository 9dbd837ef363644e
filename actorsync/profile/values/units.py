"""Parsers for values of a profile: durations, rates, fingerprints, removal limits. Also values in error messages."""

from __future__ import annotations

import json
import re
from decimal import Decimal

from actorsync.classes import frozen

__all__ = ["MaxDelete", "format_duration", "parse_duration", "parse_fingerprint", "parse_rate", "parse_size", "shown"]

_UNITS = {"d": Decimal(86_400), "h": Decimal(3_600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit})?" for unit in _UNITS))
_LONGEST = 36_500 * 86_400
_SHOWN = 60
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_PERCENT = re.compile(r"([0-9]{1,3})%")
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)([BKMG])", re.IGNORECASE)
_RATE_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SLOWEST, _QUICKEST = 1 << 10, 1 << 40


def shown(value: object) -> str:
    """Return ``value`` roughly as TOML writes it, cut to a length that fits in an error message."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def parse_duration(text: str) -> float:
    """Return the seconds in ``"30s"``, ``"5m"``, ``"1h30m"``, ``"200ms"`` or ``"1d"``.

    Units go from the largest to the smallest, each at most once. The maximum is 36500d. Raises `ValueError` with the
    reason for anything else.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise ValueError(f'{shown(text)} is not a duration; write it like "30s", "5m" or "1h30m"')
    seconds = sum((Decimal(found[unit] or 0) * size for unit, size in _UNITS.items()), Decimal(0))
    if seconds > _LONGEST:
        raise ValueError(f"{shown(text)} is too long; the maximum is 36500d")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads back as exactly ``seconds``: ``"1h30m"``, ``"0.5s"``."""
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{seconds!r} seconds cannot be written as a duration")
    rest = Decimal(repr(float(seconds)))  # from the repr, so that 0.1 is written as 0.1 and read back as 0.1
    parts = []
    for unit, size in _UNITS.items():
        count = rest if unit == "s" else rest // size
        rest -= count * size
        if count:
            shown = f"{count:f}"
            parts.append(f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown}{unit}")
    return "".join(parts) or "0s"


def parse_rate(text: str) -> float | None:
    """Return the bytes per second in ``"512K"``, ``"1.5M"``, ``"1G"`` or ``"20000B"``; None for ``"off"``.

    K, M and G are 1024, 1024² and 1024³ bytes. Raises `ValueError` with the reason for anything else, and for rates
    below 1K or above 1024G.
    """
    if text == "off":
        return None
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(
            f'{shown(text)} is not a rate; write it like "512K", "2M" or "1.5M" (bytes a second), or "off"'
        )
    rate = float(Decimal(found[1]) * _RATE_UNITS[found[2].upper()])
    if rate < _SLOWEST:
        raise ValueError(f'{shown(text)} is too low; the minimum is "1K", and "off" means no limit')
    if rate > _QUICKEST:
        raise ValueError(f'{shown(text)} is too high; the maximum is "1024G", and "off" means no limit')
    return rate


def parse_size(text: str) -> int:
    """Return the bytes in ``"64M"``, ``"1.5G"`` or ``"20000B"``. K, M and G are 1024, 1024² and 1024³ bytes.

    Raises `ValueError` with the reason for anything else, and for sizes below 1 byte.
    """
    found = _RATE.fullmatch(text)
    size = int(Decimal(found[1]) * _RATE_UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise ValueError(f'{shown(text)} is not a size; write it like "512K", "64M" or "1.5G"')
    return size


def parse_fingerprint(text: str) -> str:
    """Return ``text`` if it is the fingerprint of a host key. Raises `ValueError` with the reason otherwise."""
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is not the fingerprint of a host key; write it as ssh-keygen -l shows it: "
            "SHA256: and 43 characters"
        )
    return text


@frozen
class MaxDelete:
    """The largest number of removals in one run: a count, or a percentage of all entries."""

    amount: int
    is_percent: bool

    @classmethod
    def parse(cls, value: object) -> MaxDelete:
        """Parse ``"50%"`` or a count. Raises `ValueError` with the reason for anything else."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value, is_percent=False)
        if isinstance(value, str) and (found := _PERCENT.fullmatch(value)) and int(found[1]) <= 100:
            return cls(int(found[1]), is_percent=True)
        raise ValueError(f'{shown(value)} is not a count such as 500 or a percentage from "0%" to "100%"')

    def limit(self, total: int) -> int:
        """Return the largest number of removals among ``total`` entries; a percentage is rounded down."""
        return total * self.amount // 100 if self.is_percent else self.amount

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no limit: ``"100%"``."""
        return self.is_percent and self.amount == 100

    def __str__(self) -> str:
        return f"{self.amount}%" if self.is_percent else str(self.amount)
