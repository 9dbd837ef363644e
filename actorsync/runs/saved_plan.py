"""Saved plans: made by a run that changes nothing, reviewed, and applied by another run, or refused.

A plan holds, for each operation, what both sides were when it was made. It is applied as a whole or not at all: if
either side has changed since, nothing is changed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.strategies import configure_tagged_union
from trio.abc import ReceiveChannel, SendChannel

from actorsync.actors.pipeline import Change, OperationStage, operation_stage
from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Session
from actorsync.errors import GuardRefused, PlanOutdated, ProfileError
from actorsync.model.entry import Entry, Kind, Listing, Record, parent_of
from actorsync.model.event import Event, RemovalsDelayed
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Move, Operation, Remove, Returned, SetMode
from actorsync.model.report import Report
from actorsync.model.text import display, shorten
from actorsync.profile.secrets.files import PLAN_BEGINNING

__all__ = ["Notes", "Plan", "Step", "check_target", "only"]

_FORMAT: Final = 1

_MAX_BYTES: Final = 1 << 30

#: How many differences the message names when a plan is refused.
_NAMED: Final = 5


@frozen
class Step:
    """One operation of a plan, and what the target had under its path when the plan was made, as far as known."""

    operation: Change
    target: Entry | None

    @property
    def path(self) -> str:
        return self.operation.path


@frozen
class Plan:
    """What a run would have done at one moment; made by `actorsync.plan`.

    ``profile`` identifies the pair of source and target; ``source`` and ``target`` are for display. ``made_at`` is in
    seconds since the epoch. ``report`` is the report of the run that made the plan: its ``exit_code`` is 0 unless
    something failed already, or a guard would refuse. ``kept`` are the removals that a run would not do: a guard
    refuses them, or they wait because something near them failed. They are no ``operations``. Neither are
    those that are ``delayed``: the profile keeps what is gone for a while.
    """

    profile: str
    source: str
    target: str
    made_at: float
    steps: tuple[Step, ...]
    report: Report
    kept: tuple[Remove, ...] = ()
    delayed: tuple[Remove, ...] = ()

    @property
    def operations(self) -> tuple[Change, ...]:
        """What would be done, in no particular order: the run that applies the plan schedules it."""
        return tuple(step.operation for step in self.steps)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file with mode 600. A plan that is there is replaced atomically.

        Raises `ProfileError` if it cannot be written, or if something else is there, such as a profile.
        """
        text = json.dumps({"actorsync-plan": _FORMAT, **_converter().unstructure(self)}, indent=1)
        final = Path(path)
        if _is_something_else(final):
            raise ProfileError(
                f"{display(str(path))}: the plan cannot be written: this is no saved plan, and is not overwritten; "
                "use another name"
            )
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
            raise ProfileError(
                f"{display(str(path))}: the plan cannot be written: {error.strerror}; use another path"
            ) from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a saved plan. Raises `ProfileError` if the file is missing, damaged, or of another version."""
        name = display(os.fspath(path))
        try:
            with open(path, "rb") as file:
                raw = file.read(_MAX_BYTES)
        except OSError as error:
            raise ProfileError(
                f"{name}: the plan cannot be read: {error.strerror}; save one with: actorsync plan --save"
            ) from None
        try:
            found = json.loads(raw)
            version = found.pop("actorsync-plan")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ProfileError(f"{name}: not a saved plan; save one with: actorsync plan --save") from None
        if version != _FORMAT:
            raise ProfileError(
                f"{name}: the plan is of another version of actorsync; save a new one with: actorsync plan --save"
            )
        try:
            plan: Plan = _converter().structure(found, cls)
        except Exception:  # noqa: BLE001 - cattrs raises whatever a class makes of what it is given
            raise ProfileError(f"{name}: the plan is damaged; save a new one with: actorsync plan --save") from None
        return plan

    def check(self, now: Plan) -> None:
        """Raise `PlanOutdated` unless ``now``, made of the same profile at this moment, is the same.

        Raises `GuardRefused` if a guard refuses the removals of either: a plan is applied as a whole.
        """
        if now.profile != self.profile:
            raise PlanOutdated(
                f"the plan is for {self.source} -> {self.target}, and the profile for {now.source} -> {now.target}; "
                "save a new plan with: actorsync plan --save"
            )
        refused = self.report.refused or now.report.refused
        if refused is not None:
            raise GuardRefused(f"the plan is not applied, and nothing was changed: {refused}")
        then, today = _by_path(self.steps), _by_path(now.steps)
        raise_if(_differences(then, today))


def is_saved_plan(path: str | os.PathLike[str]) -> bool:
    """Return whether a file looks like a saved plan, by its beginning. A file that cannot be read does not."""
    try:
        with open(path, "rb") as file:
            return file.read(len(PLAN_BEGINNING)) == PLAN_BEGINNING
    except OSError:
        return False


def _is_something_else(path: Path) -> bool:
    """Return whether a plan must not be saved there: only an earlier plan and an empty file are replaced."""
    try:
        status = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(status.st_mode):
        return False  # the rename says so
    return not stat.S_ISREG(status.st_mode) or (status.st_size > 0 and not is_saved_plan(path))


def raise_if(differences: Iterable[str]) -> None:
    """Raise `PlanOutdated` if there are any, and name the first of them."""
    found = list(differences)
    if found:
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        named = "; ".join(found[:_NAMED])
        raise PlanOutdated(
            f"the plan is out of date, and nothing was changed: {named}{more}; run `actorsync plan` again"
        )


def _by_path(steps: Iterable[Step]) -> dict[tuple[str, str], Step]:
    return {_key(step.operation): step for step in steps}


def _key(operation: Operation) -> tuple[str, str]:
    """Return what identifies an operation in a plan: a path is changed in one way at most, and removed."""
    return operation.path, type(operation).__name__


def _differences(then: Mapping[tuple[str, str], Step], now: Mapping[tuple[str, str], Step]) -> Iterator[str]:
    for key, step in then.items():
        if key not in now:
            yield f"{_name(step.path)} needs no change any more, or is gone from the source"
        elif not _is_same(step.operation, now[key].operation):
            yield f"{_name(step.path)} has changed on the source"
        elif now[key].target != step.target:
            yield f"{_name(step.path)} was changed on the target by another run"
    yield from (f"{_name(step.path)} would be changed too" for key, step in now.items() if key not in then)


def _is_same(then: Change, now: Change) -> bool:
    """Return whether two operations change the same in the same way.

    The digest of a move counts only where both have one: a run reads the content of a file only while its times are
    recent. So a plan has a digest soon after the file was written, and the plan that `apply` compares has none.
    """
    if isinstance(then, Move) and isinstance(now, Move) and None in {then.digest, now.digest}:
        return attrs.evolve(then, digest=None) == attrs.evolve(now, digest=None)
    return then == now


def _name(path: str) -> str:
    return f'"{shorten(display(path), 100)}"'


async def check_target(plan: Plan, session: Session) -> None:
    """List the target where the plan changes it. Raise `PlanOutdated` if an entry is not what the plan expects."""
    differences: list[str] = []
    is_empty = (await session.list_directory("")).problem is not None  # the run makes a missing root
    for directory, expected in _by_directory(plan.steps).items():
        listing = Listing(directory) if is_empty else await session.list_directory(directory)
        if listing.problem is not None and not listing.problem.vanished:
            differences.append(f"{_name(directory)} cannot be listed on the target: {listing.problem.reason}")
            continue
        found = {entry.path: entry for entry in listing.entries}
        differences += [
            f"{_name(path)} has changed on the target"
            for path, then in expected.items()
            if not _is_as_then(then, found.get(path))
        ]
    raise_if(differences)


def _by_directory(steps: Iterable[Step]) -> dict[str, dict[str, Entry | None]]:
    """Return what the target had under each path that the steps change, by directory."""
    directories: dict[str, dict[str, Entry | None]] = {}
    for step in steps:
        concerned = {step.path: step.target}
        if isinstance(step.operation, Move):
            concerned[step.operation.target.path] = step.operation.target
        for path, then in concerned.items():
            directories.setdefault(parent_of(path), {})[path] = then
    return directories


def _is_as_then(then: Entry | None, now: Entry | None) -> bool:
    """Return whether two entries are the same, as far as times in whole seconds, or none at all, can tell."""
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


@define(eq=False)
class Notes:
    """The steps of a plan, collected during a dry run: ``stage`` sees what is planned, ``observe`` what comes of it.

    ``record`` returns the record of a path in the journal.
    """

    record: Callable[[str], Record | None]
    _planned: dict[tuple[str, str], Step] = attrs.Factory(dict)
    _done: list[Step] = attrs.Factory(list)
    _kept: list[Remove] = attrs.Factory(list)
    _delayed: list[Remove] = attrs.Factory(list)

    @property
    def stage(self) -> OperationStage:
        """A stage that notes each operation and passes it on."""

        async def note(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
            async for operation in receive:
                record = self.record(operation.path)
                self._planned[_key(operation)] = Step(operation, None if record is None else record.target)
                await send.send(operation)

        return operation_stage(note)

    def observe(self, event: Event) -> None:
        """Note that a planned operation would be done, or that a removal would not be done."""
        match event:
            case Done(operation) if (step := self._planned.get(_key(operation))) is not None:
                self._done.append(step)
            case Returned(Remove() as removal):
                self._kept.append(removal)
            case RemovalsDelayed(paths):
                steps = (self._planned.get((path, Remove.__name__)) for path in paths)
                self._delayed += [it.operation for it in steps if it is not None and isinstance(it.operation, Remove)]

    def plan(self, profile: str, source: str, target: str, report: Report) -> Plan:
        """Return the plan."""
        return Plan(
            profile,
            source,
            target,
            report.started_at,
            tuple(self._done),
            report,
            tuple(self._kept),
            tuple(self._delayed),
        )


def only(plan: Plan) -> OperationStage:
    """Return a stage that passes on the operations of ``plan``, and fails any other. What it keeps is left as it is."""
    planned: dict[tuple[str, type[Change]], Change] = {}
    for operation in plan.operations:
        planned[operation.path, type(operation)] = operation
        if isinstance(operation, Move):  # the run plans a removal of the old name first, which the move then replaces
            planned[operation.target.path, Remove] = Remove(operation.target)

    kept = {removal.path for removal in plan.kept}
    for removal in plan.delayed:  # the run that applies the plan delays it as well
        planned[removal.path, Remove] = removal

    async def only_what_is_planned(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        async for operation in receive:
            if isinstance(operation, Remove) and operation.path in kept:
                continue
            then = planned.get((operation.path, type(operation)))
            is_planned = then is not None and _is_same(then, operation)
            await send.send(operation if is_planned else Failed(operation, "it has changed since the plan was checked"))

    return operation_stage(only_what_is_planned)


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Kind, lambda value, _: Kind(value))
    converter.register_unstructure_hook(bytes, bytes.hex)
    converter.register_structure_hook(bytes, lambda value, _: bytes.fromhex(value))
    unsaid = override(omit_if_default=True)  # a plan for the target says so by not naming a side
    for kind in (MakeDirectory, SetMode):
        converter.register_unstructure_hook(kind, make_dict_unstructure_fn(kind, converter, side=unsaid))
    copy = make_dict_unstructure_fn(Copy, converter, side=unsaid, over=unsaid, proof=unsaid)
    converter.register_unstructure_hook(Copy, copy)
    move = make_dict_unstructure_fn(Move, converter, side=unsaid, is_aside=unsaid)
    converter.register_unstructure_hook(Move, move)
    # The twin of a removal is found out at the end of each run.
    removal = make_dict_unstructure_fn(Remove, converter, side=unsaid, twin=unsaid, is_foreign=unsaid, proof=unsaid)
    converter.register_unstructure_hook(Remove, removal)
    configure_tagged_union(Change, converter, tag_name="do")
    plan = make_dict_unstructure_fn(Plan, converter, kept=unsaid, delayed=unsaid)  # as earlier versions have it
    converter.register_unstructure_hook(Plan, plan)
    return converter
