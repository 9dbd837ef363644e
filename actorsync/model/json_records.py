"""Events as flat records for `--json` and `/events`, one JSON object a line. Pure: no I/O, no clock.

Records keep names and texts from outside as they are; JSON escapes them. `docs/cli.md` lists every record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs

from actorsync.model.entry import Entry, ScanComplete
from actorsync.model.event import (
    Adopted,
    Agreed,
    Audited,
    BreakerOpened,
    Changed,
    Confirmed,
    Conflicted,
    ConflictEnded,
    Connected,
    Drifted,
    DriftEnded,
    Event,
    Forgotten,
    Intended,
    Learned,
    LoginDeferred,
    MemoryVoided,
    MovesIntended,
    Noticed,
    NotPublished,
    PairScanned,
    Parked,
    PartSent,
    PassBegan,
    Planned,
    Reconnecting,
    Recovered,
    Released,
    ReleaseEnded,
    Relisted,
    RemovalIntended,
    RemovalsDelayed,
    RemovalsRefused,
    RemovalsWithheld,
    Resized,
    Resumed,
    Retired,
    Scanned,
    Started,
    Stopped,
    SurveyComplete,
    Swept,
    TargetSeen,
    TrashOpened,
    Warned,
    WatchLost,
    WatchStarted,
)
from actorsync.model.messages import result_of
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    Move,
    Prepare,
    Publish,
    Remove,
    Respell,
    Returned,
    SetMode,
    Side,
    Skipped,
)

__all__ = ["json_line", "records_of"]

#: Events whose record name is part of the stable format; every other record is named after its class.
_RECORD_NAMES: Final = {
    BreakerOpened: "suspended",
    LoginDeferred: "turned_away",
    Parked: "troubled",
    RemovalIntended: "doomed",
}


def json_line(record: dict[str, Any]) -> str:
    r"""Return a record as one line of ASCII. In paths, a byte that is not UTF-8 becomes ``\udcXX``."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"))


def records_of(event: Event) -> Iterator[dict[str, Any]]:
    """Yield an event as flat records: one, and after a scanned directory one more for each problem in it."""
    name = _RECORD_NAMES.get(type(event)) or re.sub(r"(?<!^)([A-Z])", r"_\1", type(event).__name__).lower()
    match event:
        case Done(operation, target, temporary=temporary, kept=kept):
            record = _operation(name, operation)
            if isinstance(operation, Copy) and target is not None:
                record |= {"size": target.size, "temporary": temporary}
            if isinstance(operation, Prepare) and kept is not None:
                record |= {"size": kept.size, "temporary": kept.temporary}
            if isinstance(operation, Publish):
                record |= {"size": operation.kept.size, "temporary": operation.kept.temporary}
            if isinstance(operation, Move | Respell):
                record |= {"from": operation.target.path, "size": operation.target.size}
            if isinstance(operation, SetMode):
                record |= {"mode": f"{operation.mode:04o}"}
            yield record
        case Failed(operation, reason, fault):
            yield _operation(name, operation) | {"reason": reason, "fault": fault.value}
        case Skipped(operation, reason) | Returned(operation, reason):
            yield _operation(name, operation) | {"reason": reason}
        case Scanned(directory, files, directories, hidden, problems):
            yield {"event": name, "path": directory, "files": files, "directories": directories, "hidden": hidden}
            for problem in problems:
                yield {"event": "problem"} | attrs.asdict(problem)
        case Adopted(source) | Confirmed(source):
            yield {"event": name, **_entry(source)}
        case Agreed(agreement):
            yield {"event": name, **_entry(agreement.source)}
        case Conflicted(conflict):
            told = {"path": conflict.path, "reason": conflict.reason, "since": conflict.since}
            yield {"event": name, **told, **_version("source", conflict.source), **_version("target", conflict.target)}
        case Intended(temporaries, side=side) | Swept(temporaries, side=side):
            yield {"event": name, "temporaries": list(temporaries)} | _side(side)
        case PartSent(kept):
            yield {"event": name, "path": kept.path, "temporary": kept.temporary, "sent": kept.sent}
        case Released(items):
            yield {"event": name, "paths": [it.path for it in items]}
        case ReleaseEnded(rolled_back, refused):
            yield {"event": name, "rolled_back": rolled_back, "refused": list(refused)}
        case RemovalIntended(paths, side=side):
            yield {"event": name, "paths": list(paths)} | _side(side)
        case RemovalsDelayed(paths, first, last):
            yield {"event": name, "paths": list(paths), "first": first, "last": last}
        case MovesIntended(moves):
            yield {"event": name, "from": [it.target.path for it in moves], "paths": [it.path for it in moves]}
        case Stopped(report):
            shown = attrs.asdict(report, filter=lambda field, _: field.name not in {"failures", "left_out"})
            left_out = {f"left_out_{reason}": count for reason, count in attrs.asdict(report.left_out).items()}
            yield {"event": name, "result": result_of(report), **shown, **left_out}
        case Parked():
            yield {"event": name, **attrs.asdict(event, filter=lambda field, _: field.name != "source")}
        case Learned(side, trait, text):
            yield {"event": name, "side": side.value, "name": trait, "text": text}
        case Drifted(path, then, now, since, is_new, is_mended):
            was = {"kind": then.kind.value, "size": then.size}
            found = {"now_kind": now and now.kind.value, "now_size": now and now.size}
            told = {"since": since, "is_new": is_new, "is_mended": is_mended}
            yield {"event": name, "path": path, **was, **found, **told}
        case TargetSeen(at):
            yield {"event": name, "at": at}
        case Relisted(listing):
            yield {"event": name, "path": listing.directory}
        case ScanComplete() | SurveyComplete() | PairScanned() | Noticed():
            yield {"event": name}
        case PassBegan(reason, directories):
            yield {"event": name, "reason": reason, "paths": None if directories is None else list(directories)}
        case (
            Started()
            | WatchStarted()
            | WatchLost()
            | Changed()
            | Planned()
            | Forgotten()
            | TrashOpened()
            | MemoryVoided()
            | Audited()
            | DriftEnded()
            | ConflictEnded()
            | NotPublished()
            | RemovalsRefused()
            | RemovalsWithheld()
            | Recovered()
            | Connected()
            | Reconnecting()
            | Resized()
            | LoginDeferred()
            | BreakerOpened()
            | Resumed()
            | Retired()
            | Warned()
        ):
            yield {"event": name, **attrs.asdict(event)}


def _operation(name: str, operation: Any) -> dict[str, Any]:
    verb = re.sub(r"(?<!^)([A-Z])", r"_\1", type(operation).__name__).lower()
    record = {"event": name, "operation": verb, "path": operation.path} | _side(operation.side)
    return record | {"foreign": operation.is_foreign} if isinstance(operation, Remove) else record


def _side(side: Side) -> dict[str, Any]:
    """Return what a record says about the side that is changed: nothing if it is the target, as in any mirror."""
    return {} if side is Side.TARGET else {"side": side.value}


def _version(side: str, entry: Entry | None) -> dict[str, Any]:
    """Return what a record says about one version of a path in conflict: nulls if that side has nothing there."""
    time = None if entry is None or entry.mtime_ns is None else entry.mtime_ns / 1e9
    return {f"{side}_kind": entry and entry.kind.value, f"{side}_size": entry and entry.size, f"{side}_time": time}


def _entry(entry: Entry) -> dict[str, Any]:
    return {"path": entry.path, "kind": entry.kind.value, "size": entry.size}
