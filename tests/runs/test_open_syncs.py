"""Several runs beside one block of a program on trio."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import actorsync
from actorsync import Event, open_sync, open_syncs
from actorsync.errors import ProfileError, RunFailed, StageFailed
from actorsync.events import Done, FromTarget, Started, Stopped
from tests.runs.profiles import tree

NAMES = ("berlin", "tokyo")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A profile with two targets."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    targets = [f'[[target]]\nname = "{name}"\nurl = "{name}"' for name in NAMES]
    (tmp_path / "shop.toml").write_text("\n".join(['[source]\npath = "source"', *targets]))
    return tmp_path / "shop.toml"


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    """A profile with one target, of another source."""
    (tmp_path / "posts").mkdir()
    (tmp_path / "posts" / "b.txt").write_text("b")
    (tmp_path / "blog.toml").write_text('[source]\npath = "posts"\n[target]\nurl = "blog"\n')
    return tmp_path / "blog.toml"


async def test_all_targets_of_all_profiles_are_mirrored_and_their_events_have_names(shop: Path, blog: Path) -> None:
    seen: dict[str, list[Event]] = {}
    observed: list[str] = []

    async def observe(event: FromTarget) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(event.event, Stopped):
            observed.append(event.target)

    with trio.fail_after(30):
        async with open_syncs(shop, actorsync.load_profile(blog), observers=[observe]) as syncs:
            async for event in syncs.events:
                seen.setdefault(event.target, []).append(event.event)
            await syncs.stopped.wait()
    assert list(syncs) == ["shop/berlin", "shop/tokyo", "blog"]
    assert sorted(observed) == sorted(seen) == sorted(syncs)
    for name, events in seen.items():
        assert isinstance(events[0], Started), name
        assert events[-1] == Stopped(syncs[name].report), name
    assert syncs.reports.exit_code == 0
    assert tree(shop.parent / "berlin") == tree(shop.parent / "tokyo") == {"a.txt": b"a"}
    assert tree(shop.parent / "blog") == {"b.txt": b"b"}


async def test_a_change_reaches_every_target_until_the_block_ends(shop: Path) -> None:
    with trio.fail_after(30):
        async with open_syncs(shop, watch=True) as syncs:
            (shop.parent / "source" / "a.txt").write_text("newer")
            for sync in syncs.values():
                report = await sync.catch_up()
                assert report.exit_code == 0
            assert tree(shop.parent / "berlin") == tree(shop.parent / "tokyo") == {"a.txt": b"newer"}
            syncs.pause()
            assert all(sync.is_paused for sync in syncs.values())
            syncs.resume()
    assert syncs.stopped.is_set()
    codes = {name: report.exit_code for name, report in syncs.reports.items()}
    assert codes.keys() == {*NAMES}
    assert {*codes.values()} <= {0, 3}, "the end of the block drains a pass that goes on"


@pytest.mark.parametrize(("verb", "code"), [("drain", 3), ("cancel", 130), ("now", 130)])
async def test_one_call_stops_all_runs(verb: str, code: int, shop: Path) -> None:
    with trio.fail_after(30):
        async with open_syncs(shop, watch=True) as syncs:
            syncs.pause()
            getattr(syncs, verb)()
            await syncs.stopped.wait()
    assert {report.exit_code for report in syncs.reports.values()} <= {code, 0}
    async with open_syncs(shop) as syncs:
        pass
    assert syncs.reports.exit_code == 0
    assert tree(shop.parent / "tokyo") == {"a.txt": b"a"}


async def test_a_mirror_that_another_run_locks_is_reported_and_the_other_runs(shop: Path) -> None:
    (tokyo,) = actorsync.load_profiles(shop, only=["tokyo"])
    with trio.fail_after(30):
        async with open_sync(tokyo, watch=True):
            async with open_syncs(shop) as syncs:
                assert syncs["tokyo"].report.exit_code == 8
                assert [event async for event in syncs["tokyo"].events] == []
            assert syncs.reports["berlin"].exit_code == 0
            with pytest.raises(RunFailed, match=r"^tokyo: .*another run"):
                syncs.reports.raise_for_failures()


async def test_what_an_observer_raises_is_raised_when_all_have_ended(shop: Path) -> None:
    def fail(event: FromTarget) -> None:
        if event.target == "berlin" and isinstance(event.event, Done):
            raise ValueError("of the observer")

    async def block() -> None:
        async with open_syncs(shop, observers=[fail]):
            pass

    with trio.fail_after(30), pytest.raises(StageFailed, match=r"fail.* raised ValueError"):
        await block()
    assert tree(shop.parent / "tokyo") == {"a.txt": b"a"}


async def test_an_error_in_the_block_cancels_all_runs_and_is_raised(shop: Path) -> None:
    error = ValueError("of the block")

    async def block() -> None:
        async with open_syncs(shop, watch=True):
            raise error

    with trio.fail_after(30), pytest.raises(ValueError, match="of the block") as raised:
        await block()
    assert raised.value is error


async def test_several_targets_where_one_is_meant_are_an_error_that_names_the_way_out(shop: Path) -> None:
    message = (
        r"^[^\n]*shop\.toml: has several targets, berlin, tokyo, and this works on one; use run_many or open_syncs, or "
        r'give one of load_profiles\(\.\.\., only=\["berlin"\]\)$'
    )
    with pytest.raises(ProfileError, match=message):
        async with open_sync(shop):
            pytest.fail("it has two targets")
    with pytest.raises(ProfileError, match="named twice; name each profile once"):
        async with open_syncs(*actorsync.load_profiles(shop, only=["tokyo"]), shop):
            pytest.fail("it is there twice")
    with pytest.raises(TypeError, match="at least one profile"):
        async with open_syncs():
            pytest.fail("there is nothing to do")


async def test_a_busy_run_does_not_hold_back_the_events_of_another(shop: Path) -> None:
    for number in range(1_500):
        (shop.parent / "source" / f"{number}").write_text("x")
    first: dict[str, int] = {}
    with trio.fail_after(60):
        async with open_syncs(shop) as syncs:
            number = 0
            async for event in syncs.events:
                number += 1
                if isinstance(event.event, Stopped):
                    first[event.target] = number
    assert min(first.values()) > 0.5 * max(first.values()), "they take turns"


async def test_a_target_that_waits_for_its_canary_makes_it_pass_at_once(shop: Path) -> None:
    table = '[[target]]\nname = "berlin"\n'
    text = (await trio.Path(shop).read_text()).replace(table, f"{table}canary = true\n")
    await trio.Path(shop).write_text(text + '\n[publish]\nmode = "burst"\n')
    with trio.fail_after(30):
        async with open_syncs(shop, overrides={"sync.every": "1h"}, repeat=True) as syncs:
            await trio.Path(shop.parent / "source" / "a.txt").write_text("newer")
            report = await syncs["tokyo"].catch_up()
            assert report.exit_code == 0
            assert tree(shop.parent / "berlin")["a.txt"] == tree(shop.parent / "tokyo")["a.txt"] == b"newer"
