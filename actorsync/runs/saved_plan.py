"""A plan that is kept: made by one run that changes nothing, reviewed, and applied by another, or refused.

A plan says for each operation what both sides were when it was made. It is applied as a whole or not at all: where
either side has moved since, nothing is changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.strategies import configure_tagged_union
from trio.abc import ReceiveChannel, SendChannel

from actorsync.actors.pipeline import Change, OperationStage, operation_stage
from actorsync.endpoints.contract import Session
from actorsync.errors import PlanOutdated, ProfileError
from actorsync.model.entry import Entry, Kind, Listing, Record, parent_of
from actorsync.model.event import Event, Report
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Move, Remove
from actorsync.model.text import display, shorten

__all__ = ["Notes", "Plan", "Step", "check_target", "only"]

_FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 30

#: Differences that are named when a plan is refused.
_NAMED: Final = 5


@attrs.frozen
class Step:
    """One operation of a plan, and what the target had under its path when the plan was made, as far as was known."""

    operation: Change
    target: Entry | None

    @property
    def path(self) -> str:
        return self.operation.path


@attrs.frozen
class Plan:
    """What a run would have done at a moment; made by `actorsync.plan`.

    ``profile`` names the pair of source and target, ``source`` and ``target`` are those for people, ``made_at`` is in
    seconds since the epoch. ``report`` is that of the run that made it, its ``exit_code`` 0 unless something fails
    already, or a guard would refuse.
    """

    profile: str
    source: str
    target: str
    made_at: float
    steps: tuple[Step, ...]
    report: Report

    @property
    def operations(self) -> tuple[Change, ...]:
        """What would be done, without an order: that is up to the run which does it."""
        return tuple(step.operation for step in self.steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file, which only you may read; one that is there is replaced in one stroke.

        Raises `ProfileError` when it cannot be written.
        """
        text = json.dumps({"actorsync-plan": _FORMAT, **_converter.unstructure(self)}, indent=1)
        final = Path(path)
        temporary = final.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with open(descriptor, "w", encoding="ascii") as file:
                    file.write(text + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, final)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise ProfileError(f"{display(str(path))}: the plan cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan that was saved. Raises `ProfileError` when there is none, or it is of no use."""
        name = display(os.fspath(path))
        try:
            with open(path, "rb") as file:
                raw = file.read(_MAX_BYTES)
        except OSError as error:
            raise ProfileError(f"{name}: the plan cannot be read: {error.strerror}") from None
        try:
            found = json.loads(raw)
            version = found.pop("actorsync-plan")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ProfileError(f"{name}: is no plan; write one with: actorsync plan --save") from None
        if version != _FORMAT:
            raise ProfileError(f"{name}: is a plan of another version of actorsync; make it anew")
        try:
            plan: Plan = _converter.structure(found, cls)
        except Exception:  # noqa: BLE001 - cattrs raises whatever a class makes of what it is given
            raise ProfileError(f"{name}: is a damaged plan; make it anew") from None
        return plan

    def check(self, now: Plan) -> None:
        """Raise `PlanOutdated` unless ``now``, made of the same profile at this moment, is the same."""
        if now.profile != self.profile:
            raise PlanOutdated(
                f"the plan is for {self.source} -> {self.target}, and the profile says {now.source} -> {now.target}; "
                "make it anew"
            )
        then, today = _by_path(self.steps), _by_path(now.steps)
        raise_if(_differences(then, today))


def raise_if(differences: Iterable[str]) -> None:
    """Raise `PlanOutdated` if there are any, and name the first of them."""
    found = list(differences)
    if found:
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        named = "; ".join(found[:_NAMED])
        raise PlanOutdated(f"not what was planned any more, and nothing was changed: {named}{more}; make the plan anew")


def _by_path(steps: Iterable[Step]) -> dict[tuple[str, str], Step]:
    return {(step.path, type(step.operation).__name__): step for step in steps}


def _differences(then: Mapping[tuple[str, str], Step], now: Mapping[tuple[str, str], Step]) -> Iterator[str]:
    for key, step in then.items():
        if key not in now:
            yield f"{_name(step.path)} is as it should be, or gone from the source"
        elif now[key].operation != step.operation:
            yield f"{_name(step.path)} has changed on the source"
        elif now[key].target != step.target:
            yield f"{_name(step.path)} was changed on the target by another run"
    yield from (f"{_name(step.path)} would be changed, too" for key, step in now.items() if key not in then)


def _name(path: str) -> str:
    return f'"{shorten(display(path), 100)}"'


async def check_target(plan: Plan, session: Session) -> None:
    """Raise `PlanOutdated` unless the target has, where something is to be done, what it had then."""
    differences: list[str] = []
    is_empty = (await session.list_directory("")).problem is not None  # a root that is not there is made by the run
    for directory, expected in _by_directory(plan.steps).items():
        listing = Listing(directory) if is_empty else await session.list_directory(directory)
        if listing.problem is not None and not listing.problem.vanished:
            differences.append(f"{_name(directory)} cannot be listed on the target: {listing.problem.reason}")
            continue
        found = {entry.path: entry for entry in listing.entries}
        differences += [
            f"{_name(path)} was changed on the target by somebody else"
            for path, then in expected.items()
            if not _is_as_then(then, found.get(path))
        ]
    raise_if(differences)


def _by_directory(steps: Iterable[Step]) -> dict[str, dict[str, Entry | None]]:
    """Give what the target had under each path that is concerned, by directory."""
    directories: dict[str, dict[str, Entry | None]] = {}
    for step in steps:
        concerned = {step.path: step.target}
        if isinstance(step.operation, Move):
            concerned[step.operation.target.path] = step.operation.target
        for path, then in concerned.items():
            directories.setdefault(parent_of(path), {})[path] = then
    return directories


def _is_as_then(then: Entry | None, now: Entry | None) -> bool:
    """Compare as far as the target tells: one that lists whole seconds, or no time at all, proves no less by it."""
    if then is None or now is None:
        return then is now
    if then.kind is not now.kind:
        return False
    if then.kind is not Kind.FILE:
        return True
    if then.size != now.size:
        return False
    if then.mtime_ns is None or now.mtime_ns is None:
        return True
    return then.mtime_ns == now.mtime_ns or (
        0 in {then.mtime_ns % 1_000_000_000, now.mtime_ns % 1_000_000_000}
        and then.mtime_ns // 1_000_000_000 == now.mtime_ns // 1_000_000_000
    )


@attrs.define(eq=False)
class Notes:
    """What a run that changes nothing would do: its ``stage`` sees what is planned, ``observe`` what comes of it.

    ``record`` gives what the journal has of a path.
    """

    record: Callable[[str], Record | None]
    _planned: dict[int, Step] = attrs.Factory(dict)
    _done: list[Step] = attrs.Factory(list)

    @property
    def stage(self) -> OperationStage:
        async def note(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
            async for operation in receive:
                record = self.record(operation.path)
                self._planned[id(operation)] = Step(operation, None if record is None else record.target)
                await send.send(operation)

        return operation_stage(note)

    def observe(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Done) and (step := self._planned.get(id(event.operation))) is not None:
            self._done.append(step)

    def plan(self, profile: str, source: str, target: str, report: Report) -> Plan:
        """Give the plan."""
        return Plan(profile, source, target, report.started_at, tuple(self._done), report)


def only(plan: Plan) -> OperationStage:
    """Give a stage that lets through what a plan has, and fails what has come up since it was checked."""
    planned: dict[tuple[str, type[Change]], Change] = {}
    for operation in plan.operations:
        planned[operation.path, type(operation)] = operation
        if isinstance(operation, Move):  # it is asked for as the removal of its old name, and then takes its place
            planned[operation.target.path, Remove] = Remove(operation.target)

    async def only_what_is_planned(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        async for operation in receive:
            is_planned = planned.get((operation.path, type(operation))) == operation
            await send.send(operation if is_planned else Failed(operation, "it has changed since the plan was checked"))

    return operation_stage(only_what_is_planned)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Kind, lambda value, _: Kind(value))
    converter.register_unstructure_hook(bytes, bytes.hex)
    converter.register_structure_hook(bytes, lambda value, _: bytes.fromhex(value))
    for kind in (Copy, MakeDirectory, Move, Remove):
        side = override(omit_if_default=True)  # a plan for the target says so by not naming a side
        converter.register_unstructure_hook(kind, make_dict_unstructure_fn(kind, converter, side=side))
    configure_tagged_union(Change, converter, tag_name="do")
    return converter


_converter: Final[Any] = _make_converter()
