"""What a run does that goes on, asked over its control socket: the first lines of ``status``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from actorsync.errors import RunUnreachable
from actorsync.model.messages import moment, named
from actorsync.model.text import counted, display, size_text
from actorsync.profile import Profile
from actorsync.service.asking.client import ask_run
from actorsync.service.asking.messages import Request

__all__ = ["going_on", "mirror_lines"]


def going_on(profile: Profile) -> Iterator[str]:
    """Yield what the run of a profile does now, or one line on why that is not known."""
    try:
        answer = ask_run(profile, Request("status"))
    except RunUnreachable as error:
        yield str(error)
        return
    for mirror in (answer.status or {}).get("mirrors", ()):
        yield from mirror_lines(mirror)


def mirror_lines(mirror: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for one mirror, given as the control socket and ``/status.json`` give it."""
    began, watch, most = mirror["began_at"], mirror["watch"], mirror.get("connections_limit")
    reason = f" ({display(mirror['reason'])})" if mirror["reason"] else ""
    if began is None or mirror["state"] in {"waiting", "idle"}:
        yield {"waiting": "waiting for the next pass", "idle": "about to begin"}.get(mirror["state"], mirror["state"])
    else:
        yield f"{mirror['state']} since {moment(began)}{reason}: {', '.join(_progress(mirror))}"
    if most is not None:
        yield f"at most {counted(most, 'connection')}, as actorsync ctl has said"
    for connection in mirror["connections"]:
        if connection["connected"] or connection["state"] == "reconnecting":
            yield f"connection {connection['number']}: {_work(connection)}"
    if watch is not None:
        directories = f"{counted(watch['directories'], 'directory', 'directories')}, " if watch["directories"] else ""
        why = f"; {display(watch['why'])}" if watch["why"] else ""
        yield f"watching the source ({directories}{watch['how']}{why})"
    if mirror["next_at"] is not None:
        yield f"next pass over everything: {moment(mirror['next_at'])}"


def _progress(mirror: Mapping[str, Any]) -> Sequence[str]:
    progress, limit = mirror["progress"], mirror.get("bwlimit")
    known = "" if progress["is_total_known"] else "+"
    parts = [
        f"{progress['files_done']} of {progress['files_planned']}{known} files",
        f"{size_text(progress['bytes_sent'])} of {size_text(progress['bytes_planned'])}{known}",
    ]
    bound = "" if limit is None else f" (limit {size_text(limit)}/s)"
    if progress["rate"]:
        parts.append(f"{size_text(progress['rate'])}/s{bound}")
    return parts


def _work(connection: Mapping[str, Any]) -> str:
    state = display(connection["state"])
    if connection["path"] is None:
        return state
    more = f" and {connection['uploads'] - 1} more" if connection["uploads"] > 1 else ""
    sizes = f"{size_text(connection['sent'])} of {size_text(connection['size'])}"
    return f"{state} {named(connection['path'])}, {sizes}{more}"
