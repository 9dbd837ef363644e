"""The board as JSON: ``/status.json``, and the events ``status`` of ``/events``. Pure.

Names and texts from outside stay as they are; JSON escapes them. Lists are bounded, and the number of all is beside
each of them.
"""

from __future__ import annotations

import os
from typing import Any, Final

import attrs

from actorsync.actors.statistics import ConnectionLevel
from actorsync.model.entry import Entry
from actorsync.model.json_records import json_line
from actorsync.model.messages import result_of
from actorsync.observe.board import Board, MirrorState
from actorsync.observe.history import PastPass

__all__ = ["status_json", "status_of"]

#: How many connections are listed.
_MOST_CONNECTIONS: Final = 100


def status_json(board: Board, version: str, now: float) -> bytes:
    """Return the board as JSON of one line."""
    return json_line(status_of(board, version, now)).encode("ascii")


def status_of(board: Board, version: str, now: float) -> dict[str, Any]:
    """Return the board as values of JSON. ``now`` is in seconds since the epoch."""
    return {
        "version": version,
        "pid": os.getpid(),
        "now": round(now, 3),
        "started_at": board.started_at,
        "mirrors": [_mirror(state) for state in board.mirrors.values()],
    }


def _mirror(state: MirrorState) -> dict[str, Any]:
    levels, troubles = state.statistics, state.troubles
    runs = [_run(it) for it in reversed(state.history.passes)]
    why_not = state.why_not_ready()
    return {
        "name": state.name,
        "profile": state.profile,
        "source": state.source,
        "target": state.target,
        "state": state.condition,
        "reason": state.reason,
        "paused": state.is_paused,
        "ready": why_not is None,
        "why_not_ready": why_not,
        "began_at": state.began_at,
        "next_at": state.next_at,
        "last_success_at": state.last_success_at,
        "scope": None if state.directories is None else len(state.directories),
        "progress": {
            "files_found": levels.files_found,
            "files_planned": levels.files_planned,
            "files_done": levels.files_done,
            "bytes_planned": levels.bytes_planned,
            "bytes_sent": levels.bytes_sent,
            "is_total_known": levels.is_total_known,
            "rate": state.rates.now if state.is_running else None,
            "share": round(levels.share, 4),
        },
        "breaker": None if state.counters.breaker is None else attrs.asdict(state.counters.breaker),
        "connections": [_connection(level) for level in levels.connections[:_MOST_CONNECTIONS]],
        "connections_total": len(levels.connections),
        "watch": None if state.watching is None else attrs.asdict(state.watching) | {"hinted_at": state.hinted_at},
        "last": runs[0] if runs else None,
        "runs": runs,
        "parked": [
            {
                "path": it.path,
                "reason": it.reason,
                "since": it.since,
                "failures": it.failures,
                "retry_at": it.retry_at,
            }
            for it in troubles.parked.kept.values()
        ],
        "parked_total": troubles.parked.total,
        "drift": [
            {"path": path, "since": since, "was": _entry(was), "now": _entry(found)}
            for path, (since, was, found) in troubles.drift.kept.items()
        ],
        "drift_total": troubles.drift.total,
        "conflicts": [
            {
                "path": it.path,
                "reason": it.reason,
                "since": it.since,
                "source": _entry(it.source),
                "target": _entry(it.target),
            }
            for it in troubles.conflicts.kept.values()
        ],
        "conflicts_total": troubles.conflicts.total,
        "failures": [{"path": path, "reason": reason} for path, reason in troubles.failures],
        "failures_total": troubles.failures_total,
        "rates": [[round(at, 1), round(rate)] for at, rate in state.rates.plot],
    }


def _connection(level: ConnectionLevel) -> dict[str, Any]:
    lane = level.busiest
    upload = None if lane is None else lane.upload
    return {
        "number": level.number,
        "state": level.state if lane is None else lane.state,
        "connected": level.is_connected,
        "path": None if upload is None else upload.path,
        "sent": 0 if upload is None else upload.delivered,
        "size": 0 if upload is None or lane is None else lane.size,
        "uploads": level.uploads,
    }


def _run(past: PastPass) -> dict[str, Any]:
    report = past.report
    return {
        "result": result_of(report),
        "exit_code": report.exit_code,
        "began_at": report.started_at,
        "seconds": report.seconds,
        "scope": past.scope,
        "copied": report.copied,
        "copied_bytes": report.copied_bytes,
        "removed": report.removed,
        "moved": report.moved,
        "failed": report.failed,
        "error": report.error or report.refused or report.not_published,
    }


def _entry(entry: Entry | None) -> dict[str, Any] | None:
    return None if entry is None else {"kind": entry.kind.value, "size": entry.size}
