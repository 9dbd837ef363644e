"""The trash: what a run overwrites or removes is moved there, and never lost, wherever the run breaks off."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import attrs
import pytest

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.releases import Publication, Published, publish
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.planning.publishing.rules import PublishRule, TrashRule
from actorsync.planning.publishing.trash import is_place
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import ONE, Mirror

TRASH = attrs.evolve(ONE, publish=PublishRule(trash=TrashRule(".trash")))


def site(mirror: Mirror) -> dict[str, bytes]:
    """Return what the target has outside of the trash."""
    return {path: data for path, data in mirror.target.files().items() if not path.startswith(".trash/")}


def in_trash(mirror: Mirror) -> set[bytes]:
    return {data for path, data in mirror.target.files().items() if is_place(path)}


async def begun() -> Mirror:
    """Return a mirror whose target has an old version, from a run that kept nothing."""
    mirror = Mirror()
    for path, data in {"same": b"same", "page": b"old page", "d/style": b"old style", "d/gone": b"gone"}.items():
        mirror.source.write(path, data)
    assert (await mirror.run()).exit_code == 0
    return mirror


def change(mirror: Mirror) -> None:
    mirror.source.write("page", b"new page")
    mirror.source.write("d/style", b"new style!")
    mirror.source.write("d/more/added", b"added")
    mirror.source.delete("d/gone")


NEW = {"same": b"same", "page": b"new page", "d/style": b"new style!", "d/more/added": b"added"}
OLD = {"same": b"same", "page": b"old page", "d/style": b"old style", "d/gone": b"gone"}


async def test_replaced_and_removed_files_are_in_the_trash_and_not_on_the_site(autojump_clock: Any) -> None:
    mirror = await begun()
    change(mirror)
    report = await mirror.run(policy=TRASH)
    assert report.exit_code == 0, report
    assert site(mirror) == NEW
    assert in_trash(mirror) == {b"old page", b"old style", b"gone"}
    (run,) = mirror.journal.trash.runs()
    assert (run.files, run.size, run.has_open) == (3, 21, False)
    kinds = {it.trashed.path: it.trashed.because for it in mirror.journal.trash.changes(run.run)}
    assert kinds == {
        "page": "replaced",
        "d/style": "replaced",
        "d/gone": "removed",
        "d/more": "made",
        "d/more/added": "made",
    }
    assert (await mirror.run(policy=TRASH)).exit_code == 0
    assert site(mirror) == NEW
    assert len(mirror.journal.trash.runs()) == 1, "a run with nothing to do keeps nothing"


class _Losing(EndpointWrapper[Endpoint]):
    """A target that replaces one file and does not keep the old one, though it was asked to."""

    @contextlib.asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _LosingSession(session)


class _LosingSession(SessionWrapper):
    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        kept = [attrs.evolve(it, aside=None) if it.staged.path == "page" else it for it in items]
        results = await publish(self._real, kept)
        return [
            attrs.evolve(result, lost_old=True)
            if item.staged.path == "page" and isinstance(result, Published)
            else result
            for item, result in zip(items, results, strict=True)
        ]


@pytest.mark.parametrize("is_burst", [False, True])
async def test_file_whose_old_version_is_lost_is_no_change_that_can_be_undone(
    autojump_clock: Any, is_burst: bool
) -> None:
    mirror = await begun()
    change(mirror)
    policy = attrs.evolve(TRASH, publish=attrs.evolve(TRASH.publish, is_burst=is_burst))
    assert (await mirror.run(_Losing(mirror.target), policy=policy)).exit_code == 0
    assert site(mirror) == NEW
    assert in_trash(mirror) == {b"old style", b"gone"}
    (run,) = mirror.journal.trash.runs()
    changed = {it.trashed.path for it in mirror.journal.trash.changes(run.run)}
    assert "page" not in changed, "an undo would remove the new file, and have no old one"
    assert {"d/style", "d/gone", "d/more/added"} <= changed
    assert mirror.journal.trash.open() == []


class Killed(Exception):
    """The process dies: from here on nothing reaches the target."""


def faults(number: int, raised: type[Exception]) -> Callable[[str, When], None]:
    """Return faults for `Faulty`: the call of that number is lost, or is the last one."""
    count = 0

    def decide(verb: str, when: When) -> None:
        nonlocal count
        if verb in {"identify", "read", "open_session", "list_directory"}:
            return
        count += 1
        if count == number or (count > number and raised is Killed):
            raise raised(f"{when} {verb}")

    return decide


@pytest.mark.parametrize("number", range(1, 60))
@pytest.mark.parametrize("raised", [ConnectionLost, Killed])
async def test_no_old_file_is_lost_wherever_a_run_breaks_off(
    autojump_clock: Any, number: int, raised: type[Exception]
) -> None:
    mirror = await begun()
    change(mirror)
    target = Faulty(mirror.target, faults(number, raised))
    with contextlib.suppress(Killed):
        await mirror.run(target, policy=TRASH)
    assert {b"old page", b"old style", b"gone"} <= in_trash(mirror) | set(site(mirror).values())
    assert (await mirror.run(policy=TRASH)).exit_code == 0
    assert site(mirror) == NEW
    # What a run has put there that was killed before the journal knew may be sent again: then it is there twice.
    assert (
        {b"old page", b"old style", b"gone"} <= in_trash(mirror) <= {b"old page", b"old style", b"gone", *NEW.values()}
    )
    assert mirror.journal.trash.open() == []
    assert not [path for path in mirror.target.files() if ".tmp" in path]


async def test_refused_move_to_the_trash_leaves_the_file_in_place(autojump_clock: Any) -> None:
    mirror = await begun()
    change(mirror)

    def decide(verb: str, when: When) -> None:
        if verb in {"move", "publish"} and when == "before" and mirror.journal.trash.open():
            raise OperationRefused("550 not today")

    report = await mirror.run(Faulty(mirror.target, decide), policy=TRASH)
    assert report.exit_code == 1
    assert site(mirror) == OLD
    assert (await mirror.run(policy=TRASH)).exit_code == 0
    assert site(mirror) == NEW
    assert in_trash(mirror) == {b"old page", b"old style", b"gone"}


async def test_trash_that_takes_no_file_ends_the_run_before_the_first_change(autojump_clock: Any) -> None:
    mirror = await begun()
    change(mirror)

    def decide(verb: str, when: When) -> None:
        if verb == "move":
            raise OperationRefused("another file system")

    report = await mirror.run(Faulty(mirror.target, decide), policy=TRASH)
    assert report.exit_code == 7
    assert report.error is not None
    assert report.error.count("\n") == 0
    assert "nothing was changed; name another directory of the same disk in trash.path" in report.error
    assert mirror.target.files() == OLD


async def test_trash_inside_the_target_is_no_part_of_an_exact_mirror(autojump_clock: Any) -> None:
    mirror = await begun()
    mirror.source.write(".trash/mine", b"of the source")
    change(mirror)
    exact = attrs.evolve(TRASH, delete="everything")
    for _ in range(3):
        assert (await mirror.run(policy=exact)).exit_code == 0
    assert site(mirror) == NEW
    assert in_trash(mirror) == {b"old page", b"old style", b"gone"}


async def test_foreign_file_that_an_exact_mirror_removes_is_in_the_trash(autojump_clock: Any) -> None:
    mirror = await begun()
    mirror.target.write("theirs", b"foreign")
    exact = attrs.evolve(TRASH, delete="everything")
    assert (await mirror.run(policy=exact)).exit_code == 0
    assert site(mirror) == OLD
    assert in_trash(mirror) == {b"foreign"}


async def test_file_that_another_program_has_put_there_is_not_overwritten_for_good(autojump_clock: Any) -> None:
    mirror = await begun()
    mirror.source.write("new", b"ours")
    mirror.target.write("new", b"put there after the survey")
    assert (await mirror.run(policy=TRASH)).exit_code == 0
    assert site(mirror) == OLD | {"new": b"ours"}
    assert in_trash(mirror) == {b"put there after the survey"}


BURST = attrs.evolve(TRASH, publish=attrs.evolve(TRASH.publish, is_burst=True))


@pytest.mark.parametrize("keeps_old", [True, False])
async def test_release_sets_the_old_files_aside_in_the_trash(autojump_clock: Any, keeps_old: bool) -> None:
    mirror = await begun()
    change(mirror)
    policy = attrs.evolve(BURST, publish=attrs.evolve(BURST.publish, keeps_old=keeps_old))
    report = await mirror.run(policy=policy)
    assert report.exit_code == 0, report
    assert site(mirror) == NEW
    assert in_trash(mirror) == {b"old page", b"old style", b"gone"}
    (run,) = mirror.journal.trash.runs()
    assert (run.files, run.changes, run.has_open) == (3, 5, False)


@pytest.mark.parametrize("number", range(1, 60, 2))
@pytest.mark.parametrize("raised", [ConnectionLost, Killed])
async def test_no_old_file_is_lost_wherever_a_release_breaks_off(
    autojump_clock: Any, number: int, raised: type[Exception]
) -> None:
    mirror = await begun()
    change(mirror)
    with contextlib.suppress(Killed):
        await mirror.run(Faulty(mirror.target, faults(number, raised)), policy=BURST)
    assert {b"old page", b"old style", b"gone"} <= in_trash(mirror) | set(site(mirror).values())
    for _ in range(2):
        report = await mirror.run(policy=BURST)
    assert report.exit_code == 0
    assert site(mirror) == NEW
    old = {b"old page", b"old style", b"gone"}
    assert old <= in_trash(mirror) <= old | set(NEW.values())
    assert mirror.journal.trash.open() == []
