"""Plans that are saved and applied: as they were reviewed, or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from trio.abc import ReceiveChannel, SendChannel

import actorsync
from actorsync import Copy, Plan, operation_stage
from actorsync.actors.pipeline import Change
from actorsync.cli.commands import run_command
from actorsync.errors import PlanOutdated, ProfileError
from actorsync.events import Done, Event, Failed, MakeDirectory, Move, Remove, Side
from actorsync.planning.temporary_names import is_own
from tests.support import FtpTarget
from tests.support.mirror import contents
from tests.support.scenarios import write
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.ssh_target import ASYNCSSH, SshTarget
from tests.support.system.program import write_profile
from tests.support.tiers import diagonals

OLD = 1_600_000_000


class Site:
    """A source, a target, and a profile."""

    def __init__(self, folder: Path, target: FtpTarget | SshTarget | Path) -> None:
        self.source = folder / "source"
        self.root = target if isinstance(target, Path) else target.root / "site"
        self.profile = write_profile(
            folder / "profile.toml", self.source, target, "site", "[sync]", "delete = true", 'max-delete = "100%"'
        )
        self.put("a", "1")
        self.put("gone", "22")
        self.put("d/changed", "333")

    def put(self, path: str, text: str, when: int = OLD) -> None:
        write(self.source / path, text.encode())
        os.utime(self.source / path, (when, when))

    def mirror(self) -> None:
        assert actorsync.run(self.profile).exit_code == 0
        assert self.is_mirrored()

    def is_mirrored(self) -> bool:
        return contents(self.root) == contents(self.source)

    def change(self) -> None:
        self.put("new/deep", "4444")
        self.put("d/changed", "other", OLD + 100)
        (self.source / "gone").unlink()


SITES = ("directory", "ftp", "sftp")


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, server_folder: Path) -> Iterator[Site]:
    match request.param:
        case "directory":
            yield Site(tmp_path, tmp_path / "target")
        case "ftp":
            with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
                yield Site(tmp_path, server)
        case _:
            with ssh_servers.serving(ASYNCSSH, server_folder) as ssh:
                yield Site(tmp_path, ssh)


def test_apply_does_what_the_plan_lists(site: Site, tmp_path: Path) -> None:
    site.mirror()
    site.change()
    plan = actorsync.plan(site.profile)
    assert {(type(operation), operation.path) for operation in plan.operations} == {
        (MakeDirectory, "new"),
        (Copy, "new/deep"),
        (Copy, "d/changed"),
        (Remove, "gone"),
    }
    assert plan.report.exit_code == 0
    assert not site.is_mirrored()
    plan.save(tmp_path / "plan")
    assert (tmp_path / "plan").stat().st_mode & 0o777 == 0o600
    saved = Plan.load(tmp_path / "plan")
    assert saved == plan
    report = actorsync.apply(site.profile, saved)
    assert (report.exit_code, report.copied, report.removed) == (0, 2, 1)
    assert site.is_mirrored()
    with pytest.raises(PlanOutdated, match="needs no change any more, or is gone from the source"):
        actorsync.apply(site.profile, saved)


@pytest.mark.parametrize("site", ["ftp", "sftp"], indirect=True)
def test_apply_publishes_in_a_burst_what_the_plan_lists_or_nothing(site: Site, tmp_path: Path) -> None:
    """The programs of the profile are run as well. The check sees the new site, and is content the second time."""
    log = tmp_path / "log"
    says = f"echo $1 >> {log}; test -e {site.root}/new/deep && echo there >> {log}; test $1 != check || test -e good"
    (tmp_path / "say").write_text(f"#!/bin/sh\n{says}\n")
    (tmp_path / "say").chmod(0o755)
    hooks = '[hooks]\nbefore-commit = ["./say", "before"]\nafter = ["./say", "after"]'
    burst = '[publish]\nmode = "burst"\ncheck = ["./say", "check"]'
    site.mirror()
    with open(site.profile, "a") as profile:
        profile.write(f"\n{burst}\n{hooks}\n")
    site.change()
    before = {path: data for path, data in contents(site.root).items() if data is not None}
    plan = actorsync.plan(site.profile)
    assert not log.exists()
    report = actorsync.apply(site.profile, plan)
    assert (report.exit_code, report.copied, report.removed) == (1, 0, 0)
    assert (report.not_published or "").startswith("rolled back: the check failed: publish.check: ./say failed")
    now = {path: data for path, data in contents(site.root).items() if data is not None}
    assert {path: data for path, data in now.items() if not is_own(path)} == before
    assert log.read_text().split() == ["before", "check", "there", "after"]

    (tmp_path / "good").touch()
    site.put("d/changed", "since", OLD + 200)
    with pytest.raises(PlanOutdated, match='"d/changed" has changed on the source'):
        actorsync.apply(site.profile, plan)
    assert not site.is_mirrored()
    log.unlink()
    assert actorsync.apply(site.profile, actorsync.plan(site.profile)).exit_code == 0
    assert site.is_mirrored()
    assert log.read_text().split() == ["before", "check", "there", "after", "there"]


def test_a_plan_for_an_unknown_target_is_applied(site: Site) -> None:
    plan = actorsync.plan(site.profile)
    assert len(plan.steps) == 4
    assert all(step.target is None for step in plan.steps)
    assert actorsync.apply(site.profile, plan).exit_code == 0
    assert site.is_mirrored()


MOVES: dict[str, tuple[str, str]] = {
    "a planned file has changed": ("source", '"new/deep" has changed on the source'),
    "a planned file is gone": ("unlink", '"new/deep" needs no change any more, or is gone from the source'),
    "there is one more": ("more", '"more" would be changed too'),
    "what is to be replaced was changed": ("target", '"d/changed" has changed on the target'),
    "what is to be removed was changed": ("removal", '"gone" has changed on the target'),
    "a name is taken": ("taken", '"new" has changed on the target'),
    "what is to be replaced is gone": ("vanished", '"d/changed" has changed on the target'),
}


@pytest.mark.parametrize(("site", "move"), diagonals(SITES, MOVES, every=2), indirect=["site"])
def test_an_outdated_plan_is_refused_and_changes_nothing(move: str, site: Site) -> None:
    what, text = MOVES[move]
    site.mirror()
    site.change()
    plan = actorsync.plan(site.profile)
    match what:
        case "source":
            site.put("new/deep", "5555", OLD + 1)
        case "unlink":
            (site.source / "new/deep").unlink()
        case "more":
            site.put("more", "6")
        case "target":
            write(site.root / "d/changed", b"by hand")
        case "removal":
            write(site.root / "gone", b"by hand")
        case "taken":
            write(site.root / "new/mine", b"by hand")
        case "vanished":
            (site.root / "d/changed").unlink()
    before = contents(site.root)
    with pytest.raises(PlanOutdated) as raised:
        actorsync.apply(site.profile, plan)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)
    assert contents(site.root) == before
    assert actorsync.plan(site.profile).report.exit_code == 0


def test_a_run_in_between_makes_a_plan_outdated(site: Site) -> None:
    site.mirror()
    site.change()
    plan = actorsync.plan(site.profile)
    site.mirror()
    site.put("d/changed", "once more", OLD + 300)
    with pytest.raises(PlanOutdated):
        actorsync.apply(site.profile, plan)


def test_a_file_that_changes_during_apply_fails_alone(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")
    site.put("z/late", "1")
    plan = actorsync.plan(site.profile)

    def change(event: Event) -> None:
        if isinstance(event, Done) and event.operation.path == "":  # the run itself begins, and the checks are over
            site.put("z/late", "another", OLD + 5)
            site.put("z/unplanned", "new")

    report = actorsync.apply(site.profile, plan, observers=[change])
    failures = dict(report.failures)
    assert not (site.root / "z/unplanned").exists()
    if failures:
        assert report.exit_code == 1
        assert failures.keys() <= {"z", "z/late", "z/unplanned"}  # a directory changes with what is put into it
        assert set(failures.values()) == {"it has changed since the plan was checked"}


def test_a_plan_of_another_profile_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")
    other = write_profile(tmp_path / "other.toml", site.source, tmp_path / "elsewhere")
    with pytest.raises(PlanOutdated, match=r"the plan is for .*target, and the profile for .*elsewhere"):
        actorsync.apply(other, actorsync.plan(site.profile))


def test_an_operation_that_a_stage_drops_is_not_planned(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")

    @operation_stage
    async def only_a(receive: Any, send: Any) -> None:
        async for operation in receive:
            if operation.path == "a":
                await send.send(operation)

    plan = actorsync.plan(site.profile, stages=[only_a])
    assert [operation.path for operation in plan.operations] == ["a"]
    report = actorsync.apply(site.profile, plan, stages=[only_a])
    assert (report.exit_code, report.copied) == (0, 1)
    assert contents(site.root).keys() == {"a"}


BAD_PLANS: dict[str, tuple[bytes | None, str]] = {
    "none": (None, "the plan cannot be read: No such file or directory"),
    "empty": (b"", "not a saved plan; save one with: actorsync plan --save"),
    "other json": (b'["x"]', "not a saved plan"),
    "binary": (b"\xff\xfe\x00", "not a saved plan"),
    "newer": (b'{"actorsync-plan": 2}', "the plan is of another version of actorsync; save a new one"),
    "damaged": (b'{"actorsync-plan": 1, "profile": "x"}', "the plan is damaged; save a new one"),
}


@pytest.mark.parametrize("kind", BAD_PLANS)
def test_a_file_that_is_not_a_plan_is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, text = BAD_PLANS[kind]
    if content is not None:
        (tmp_path / "plan").write_bytes(content)
    with pytest.raises(ProfileError) as raised:
        Plan.load(tmp_path / "plan")
    assert str(raised.value).endswith(text) or text in str(raised.value)
    site = Site(tmp_path, tmp_path / "target")
    assert run_command(["apply", str(site.profile), str(tmp_path / "plan")]) == 2
    assert capsys.readouterr().err == f"actorsync: {raised.value}\n"


def test_a_plan_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")
    plan = actorsync.plan(site.profile)
    with pytest.raises(ProfileError, match="the plan cannot be written: No such file or directory"):
        plan.save(tmp_path / "nowhere" / "plan")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ProfileError, match="the plan cannot be written: Is a directory"):
        plan.save(tmp_path / "folder")
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_plan_is_not_saved_over_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan --save shop.toml` takes the profile for the name of the plan."""
    site = Site(tmp_path, tmp_path / "target")
    text = site.profile.read_text()
    assert run_command(["plan", str(site.profile), "--save", str(site.profile)]) == 2
    assert "this is no saved plan, and is not overwritten; use another name" in capsys.readouterr().err
    assert site.profile.read_text() == text
    for _ in range(2):  # an earlier plan is replaced
        assert run_command(["plan", str(site.profile), "--save", str(tmp_path / "plan")]) == 0


def test_odd_names_survive_saving_and_loading(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")
    with open(os.fsencode(site.source) + b"/\xff\n\xe2\x82\xac", "wb") as file:
        file.write(b"odd")
    plan = actorsync.plan(site.profile)
    plan.save(tmp_path / "plan")
    assert Plan.load(tmp_path / "plan") == plan
    json.loads((tmp_path / "plan").read_text("ascii"))
    assert actorsync.apply(site.profile, Plan.load(tmp_path / "plan")).exit_code == 0


def test_saved_plan_names_a_side_only_where_it_is_not_the_target(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")
    plan = actorsync.plan(site.profile)
    plan.save(tmp_path / "plan")
    assert '"side"' not in (tmp_path / "plan").read_text("ascii")
    assert plan.steps
    other = attrs.evolve(
        plan,
        steps=tuple(
            attrs.evolve(step, operation=attrs.evolve(step.operation, side=Side.SOURCE)) for step in plan.steps
        ),
    )
    other.save(tmp_path / "plan")
    assert Plan.load(tmp_path / "plan") == other


def test_the_commands_save_and_apply_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(tmp_path, tmp_path / "target")
    arguments = [str(site.profile), str(tmp_path / "plan")]
    assert run_command(["plan", arguments[0], "--save", arguments[1]]) == 0
    assert "+ a\n" in capsys.readouterr().out
    assert run_command(["apply", *arguments]) == 0
    assert site.is_mirrored()
    assert run_command(["apply", *arguments]) == 4
    assert "nothing was changed" in capsys.readouterr().err


def test_a_rename_is_planned_and_applied_as_a_rename(site: Site, tmp_path: Path) -> None:
    site.mirror()
    (site.source / "d").rename(site.source / "e")
    plan = actorsync.plan(site.profile)
    kinds = sorted((type(operation).__name__, operation.path) for operation in plan.operations)
    assert kinds == [("MakeDirectory", "e"), ("Move", "e/changed"), ("Remove", "d")]
    plan.save(tmp_path / "plan")
    report = actorsync.apply(site.profile, Plan.load(tmp_path / "plan"))
    assert (report.exit_code, report.moved, report.copied) == (0, 1, 0)
    assert site.is_mirrored()


def with_digest(plan: Plan, digest: bytes | None) -> Plan:
    """Return the plan as it is at another moment: a run reads a file that is to be moved only while it is young."""
    steps = [
        attrs.evolve(step, operation=attrs.evolve(step.operation, digest=digest))
        if isinstance(step.operation, Move)
        else step
        for step in plan.steps
    ]
    return attrs.evolve(plan, steps=tuple(steps))


def test_a_plan_with_a_rename_is_applied_when_the_file_is_older(tmp_path: Path) -> None:
    site = Site(tmp_path, tmp_path / "target")
    site.mirror()
    (site.source / "d").rename(site.source / "e")
    plan = actorsync.plan(site.profile)
    young, old, other = (with_digest(plan, digest) for digest in (b"1", None, b"2"))
    young.check(old)
    old.check(young)
    with pytest.raises(PlanOutdated, match='"e/changed" has changed on the source'):
        young.check(other)
    report = actorsync.apply(site.profile, old)
    assert (report.exit_code, report.moved, report.copied) == (0, 1, 0)
    assert site.is_mirrored()


def test_a_rename_of_a_changed_file_is_refused(site: Site) -> None:
    site.mirror()
    (site.source / "d").rename(site.source / "e")
    plan = actorsync.plan(site.profile)
    write(site.root / "d/changed", b"by hand")
    with pytest.raises(PlanOutdated, match='"d/changed" has changed on the target'):
        actorsync.apply(site.profile, plan)
    assert not (site.root / "e").exists()


def test_removals_that_a_plan_postpones_are_left_by_apply(tmp_path: Path) -> None:
    @operation_stage
    async def refuse_new(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        async for operation in receive:
            await send.send(Failed(operation, "not today") if operation.path == "new" else operation)

    site = Site(tmp_path, tmp_path / "target")
    site.mirror()
    (site.source / "gone").unlink()
    site.put("new", "4444")
    site.put("d/changed", "other", OLD + 100)
    plan = actorsync.plan(site.profile, stages=[refuse_new])
    assert [operation.path for operation in plan.operations] == ["d/changed"]
    assert [removal.path for removal in plan.kept] == ["gone"]
    plan.save(tmp_path / "saved")
    saved = Plan.load(tmp_path / "saved")
    assert saved == plan
    report = actorsync.apply(site.profile, saved, stages=[refuse_new])
    assert (report.exit_code, report.failures, report.left) == (1, (("new", "not today"),), 1)
    assert (site.root / "gone").exists()
