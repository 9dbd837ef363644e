"""States of runs, as ``/status.json`` gives them, for tests of the page and for its pictures in the docs."""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["HOSTILE", "Json", "failed", "many", "mirror", "run", "running", "status", "watching"]

Json = dict[str, Any]

#: The moment of all states: 2026-11-30 12:00:00 UTC.
NOW: Final = 1_796_040_000.0

#: Names that would do harm, or hide something, if they were not shown as text.
HOSTILE: Final = (
    "<img src=x onerror=\"document.title='harmed'\">",
    "<script>document.title='harmed'</script>",
    "invoice\u202efdp.exe",
    "two\nlines and a \x1b[2J escape",
    "not UTF-8: \udcff",
    "   spaces   at both ends   ",
    "שלום/עולם.txt",
    "'; DROP TABLE files; --",
    "deep/" * 60 + "end.txt",
)


def run(ago: float, **changed: object) -> Json:
    """Return a run that began ``ago`` seconds before now."""
    usual: Json = {"result": "in sync", "exit_code": 0, "began_at": NOW - ago, "seconds": 8.4, "scope": None}
    counts = {"copied": 14, "copied_bytes": 3_480_000, "removed": 2, "moved": 0, "failed": 0, "error": None}
    return usual | counts | changed


def _connection(number: int, state: str = "done", path: str | None = None, sent: int = 0, size: int = 0) -> Json:
    upload = {"path": path, "sent": sent, "size": size, "uploads": int(path is not None)}
    return {"number": number, "state": state, "connected": path is not None} | upload


def mirror(name: str = "shop", **changed: object) -> Json:
    """Return a mirror that is in sync and waits for its next pass."""
    runs = [run(190 + 900 * number, copied=14 - number, seconds=8.4 + number) for number in range(5)]
    usual: Json = {
        "name": name,
        "profile": name,
        "source": f"/home/anna/sites/{name}/public",
        "target": f"sftp://deploy@www.example.com/srv/www/{name}",
        "state": "waiting",
        "reason": "schedule",
        "paused": False,
        "ready": True,
        "why_not_ready": None,
        "began_at": NOW - 190,
        "next_at": NOW + 710,
        "last_success_at": NOW - 182,
        "scope": None,
        "progress": {
            "files_found": 14,
            "files_planned": 14,
            "files_done": 14,
            "bytes_planned": 3_480_000,
            "bytes_sent": 3_480_000,
            "is_total_known": True,
            "rate": None,
            "share": 1.0,
        },
        "breaker": None,
        "connections": [_connection(1), _connection(2)],
        "connections_total": 2,
        "watch": None,
        "last": runs[0],
        "runs": runs,
        "parked": [],
        "parked_total": 0,
        "drift": [],
        "drift_total": 0,
        "conflicts": [],
        "conflicts_total": 0,
        "failures": [],
        "failures_total": 0,
        "rates": [[NOW - 190 + second, 420_000 + 30_000 * (second % 3)] for second in range(8)],
    }
    return usual | changed


def running(name: str = "shop", **changed: object) -> Json:
    """Return a mirror in the middle of a pass, with four connections."""
    paths = ["assets/film/opening-1080p.mp4", "assets/fonts/inter-var.woff2", "produkte/frühling/übersicht.html", None]
    sizes = [148_000_000, 344_000, 18_200, 0]
    shares = [0.62, 0.31, 0.9, 0.0]
    connections = [
        _connection(number + 1, "sending" if path else "reconnecting", path, int(size * share), size)
        for number, (path, size, share) in enumerate(zip(paths, sizes, shares, strict=True))
    ]
    connections[1]["uploads"] = 3
    going = {
        "state": "running",
        "began_at": NOW - 96,
        "next_at": None,
        "progress": {
            "files_found": 86_204,
            "files_planned": 12_840,
            "files_done": 5_412,
            "bytes_planned": 1_920_000_000,
            "bytes_sent": 824_000_000,
            "is_total_known": True,
            "rate": 9_300_000,
            "share": 0.43,
        },
        "connections": connections,
        "connections_total": len(connections),
        "rates": [[NOW - 96 + second, _wave(second)] for second in range(96)],
    }
    return mirror(name, **(going | changed))


def _wave(second: int) -> float:
    return max(
        0.0, 9_000_000 * (1 - math.exp(-second / 6)) + 1_400_000 * math.sin(second / 5) - 4e6 * (40 < second < 46)
    )


def watching(name: str = "docs", **changed: object) -> Json:
    """Return a mirror that follows changes."""
    watch = {"how": "inotify", "directories": 1_204, "why": "", "hinted_at": None}
    runs = [run(40 + 300 * number, scope=1 + number % 2, copied=1 + number % 3, seconds=0.4) for number in range(4)]
    return mirror(name, **({"watch": watch, "reason": "changes", "runs": runs, "last": runs[0]} | changed))


def failed(name: str = "intranet", **changed: object) -> Json:
    """Return a mirror whose last pass failed, with something in every list."""
    reasons = ["permission denied (550)", "the target is full: 552 Quota exceeded", "changed while it was read"]
    failures = [{"path": f"archive/2026/{name}-{n:03}.tar.gz", "reason": reasons[n % 3]} for n in range(7)]
    parked = [
        {"path": "media/raw.mov", "reason": reasons[1], "since": NOW - 7_200, "failures": 4, "retry_at": NOW + 1_500},
        {"path": "logs", "reason": reasons[0], "since": NOW - 90_000, "failures": 12, "retry_at": None},
    ]
    drift = [
        {
            "path": "index.html",
            "since": NOW - 3_000,
            "was": {"kind": "file", "size": 8_290},
            "now": {"kind": "file", "size": 10_140},
        },
        {"path": "robots.txt", "since": NOW - 3_000, "was": {"kind": "file", "size": 120}, "now": None},
    ]
    last = run(620, result="not in sync", exit_code=1, failed=7, copied=341, copied_bytes=88_000_000, seconds=74.0)
    over = {
        "state": "failed",
        "began_at": NOW - 620,
        "next_at": NOW + 280,
        "last_success_at": NOW - 93_000,
        "last": last,
        "runs": [last, run(1_520, result="unreachable", exit_code=4, error="no connection", copied=0, copied_bytes=0)]
        + [run(93_000 + 900 * number) for number in range(3)],
        "failures": failures,
        "failures_total": len(failures),
        "parked": parked,
        "parked_total": 2,
        "drift": drift,
        "drift_total": 2,
        "rates": [[NOW - 600 + second, 1_200_000 + 200_000 * (second % 7)] for second in range(54)],
    }
    return mirror(name, **(over | changed))


def many(count: int, failures: int = 0) -> Json:
    """Return a status with ``count`` mirrors of all kinds, each with ``failures`` failures if there are to be any."""
    names = ["shop", "blog", "intranet", "docs", "media", "backup-nas", "portal", "fonts", "maps", "tickets"]
    kinds = [running, mirror, watching, mirror, mirror, failed, watching, mirror, watching, mirror]
    mirrors = []
    for number in range(count):
        made = kinds[number % 10](f"{names[number % 10]}{'' if number < 10 else number // 10 + 1}")
        if failures:
            made["failures"] = [{"path": f"{made['name']}/file {n}.bin", "reason": "refused"} for n in range(failures)]
            made["failures_total"] = failures
        mirrors.append(made)
    if count > 8:
        mirrors[7] |= {"state": "paused", "paused": True, "next_at": None}
        mirrors[8] |= {"parked": failed()["parked"][:1], "parked_total": 1}
    return status(*mirrors)


def status(*mirrors: Json) -> Json:
    """Return the status of a process with these mirrors."""
    return {"version": "0.15.0", "pid": 4_711, "now": NOW, "started_at": NOW - 86_400 * 3, "mirrors": list(mirrors)}
