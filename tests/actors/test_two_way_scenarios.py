"""Scenarios from the test suites of mutagen, unison, rclone bisync, syncthing and osync, each told on two trees.

``two_way_scenarios.json`` has facts only: what both sides had agreed on, what each has now, and what must come of it.
Each scenario that is not told has a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import pytest

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.operation import Copy, Done, Move, Side
from actorsync.planning.pairs.rules import ConflictRule
from actorsync.planning.publishing.rules import TrashRule
from actorsync.profile.values.units import MaxDelete
from tests.support import two_way
from tests.support.two_way import TwoTrees
from tests.support.two_way_scenarios import SCENARIOS, change, expected, put, versions, walk

_RULES: Final[dict[str, ConflictRule]] = {
    "two-way-safe": "keep",
    "two-way-resolved": "source",
    "keep-both": "both",
    "newer": "newer",
}
_OTHER_MODES: Final = {
    "one-way-safe": "only the target is changed: the mirror, and no two-way",
    "one-way-replica": "only the target is changed: the mirror, and no two-way",
    "source-wins": "the source is right in everything: the exact mirror, and no two-way",
}
_UNMET: Final = {
    "atomic directories: .git": "no directory is one unit",
    "links are kept": "symbolic links are left out",
}
_LEFT: Final = "what is left out on one side leaves both sides as they are"
_DIFFERENT: Final = {
    "mutagen-070-two-way-resolved": "no file replaces a directory in a conflict: it stays one",
    "mutagen-102-two-way-safe": _LEFT,
    "mutagen-102-two-way-resolved": _LEFT,
    "mutagen-110-two-way-safe": _LEFT,
    "mutagen-110-two-way-resolved": _LEFT,
}
#: The trees are as expected, but that something is left out on one side is no conflict here.
_NO_CONFLICT: Final = {"mutagen-091-two-way-safe", "mutagen-108-two-way-safe"}


_BY_RESOLUTION: Final[dict[str, ConflictRule]] = {
    "newer": "newer",
    "source": "source",
    "target": "target",
    "none": "both",
}


def _why_not(scenario: Mapping[str, Any]) -> str | None:
    """Return why a scenario is not told; None if it is."""
    policy = scenario["policy"]
    if isinstance(policy, str) and policy in _OTHER_MODES:
        return _OTHER_MODES[policy]
    if not isinstance(policy, str) and policy["resolve"] not in _BY_RESOLUTION:
        return f"no rule prefers the {policy['resolve']}"
    unmet = [_UNMET[need] for need in scenario.get("requires", []) if need in _UNMET]
    return _DIFFERENT.get(scenario["id"]) or next(iter(unmet), None)


def _rule_of(scenario: Mapping[str, Any]) -> ConflictRule:
    policy = scenario["policy"]
    return _RULES[policy] if isinstance(policy, str) else _BY_RESOLUTION[policy["resolve"]]


TOLD: Final = [it for it in SCENARIOS if _why_not(it) is None]
#: How many scenarios are not told, by the reason.
LEFT: Final = Counter(why for it in SCENARIOS if (why := _why_not(it)) is not None)


def _shown(endpoint: MemoryEndpoint) -> dict[str, str | None]:
    return {path: None if content is None else content.decode() for path, content in two_way.tree_of(endpoint).items()}


def _without_copies(tree: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return a tree without what conflicts have left beside a file."""
    return {path: content for path, content in tree.items() if ".conflict-" not in path}


def test_each_scenario_that_is_not_told_has_a_reason() -> None:
    assert len(TOLD) + LEFT.total() == len(SCENARIOS) == 222
    assert {
        _OTHER_MODES["one-way-safe"]: 90,
        _OTHER_MODES["source-wins"]: 5,
        _UNMET["atomic directories: .git"]: 1,
        _UNMET["links are kept"]: 1,
        "no rule prefers the larger": 1,
        _LEFT: 4,
        _DIFFERENT["mutagen-070-two-way-resolved"]: 1,
    } == LEFT


@pytest.mark.parametrize("scenario", TOLD, ids=[it["id"] for it in TOLD])
async def test_scenario(scenario: dict[str, Any]) -> None:
    rule = _rule_of(scenario)
    trees = TwoTrees()
    limit = MaxDelete(int(scenario["max_delete"].rstrip("%")), is_percent=True) if "max_delete" in scenario else None
    for side in (trees.source, trees.target):
        for path, what in walk(scenario["agreed"]):
            put(side, path, what)
    by_content = scenario.get("compare") == "checksum"
    if scenario.get("history") != "none":
        agreed = await trees.run(by_content=by_content)
        assert agreed.report.exit_code == 0, agreed.report
    trees.wait()
    change(trees.source, scenario["agreed"], scenario["source"])
    change(trees.target, scenario["agreed"], scenario["target"])
    trees.wait()
    before = _shown(trees.source), _shown(trees.target)
    assert before == (expected(scenario["source"]), expected(scenario["target"]))
    trash = TrashRule("../.trash") if "trash" in scenario.get("requires", []) else None
    done = await trees.run(rule, max_delete=limit or two_way.ALL, by_content=by_content, trash=trash)
    expect = scenario["expect"]
    after = _shown(trees.source), _shown(trees.target)
    if expect.get("refused") and not scenario.get("advisory"):
        assert done.report.exit_code == 4
        assert after == before
        return
    wanted = [expected(expect[side]) for side in ("source", "target")]
    if rule == "both" and expect["conflicts"]:
        assert after[0] == after[1]
        assert versions(after[0]) == versions(wanted[0])
    else:
        assert _without_copies(after[0]) == wanted[0]
        assert _without_copies(after[1]) == wanted[1]
        assert rule != "keep" or after == (wanted[0], wanted[1])
        written = {*versions(before[0]), *versions(before[1])} - {*versions(expected(scenario["agreed"]))}
        assert written <= {*versions(after[0])} | {*versions(after[1])}, "the loser is kept, where others have none"
    if rule == "keep":
        assert done.conflicts == ([] if scenario["id"] in _NO_CONFLICT else sorted(expect["conflicts"]))
    if "moves" in expect:
        moves = [it for it in done.events if isinstance(it, Done) and isinstance(it.operation, Move)]
        assert bool(moves) == bool(expect["moves"])
    if expect.get("bytes_sent") == 0:
        assert not [it for it in done.events if isinstance(it, Done) and isinstance(it.operation, Copy)]
    for where, endpoint in ((Side.SOURCE, trees.source), (Side.TARGET, trees.target)):
        kept = expect.get("trash", {}).get(where.value, {}) | {
            name: all_of[0] for name, all_of in expect.get("trash_versions", {}).get(where.value, {}).items()
        }
        files = {path: content.encode() for path, content in expected(kept).items() if content is not None}
        assert sorted(endpoint.files("../.trash").values()) == sorted(files.values())
        known = [it for run in trees.journal.trash.runs() for it in trees.journal.trash.changes(run.run)]
        assert {it.trashed.path for it in known if it.side is where} == files.keys()
    # At most two runs to rest: then there is nothing to do.
    await trees.run(rule, trash=trash)
    rest = await trees.run(rule, trash=trash)
    changes = [it for it in rest.events if isinstance(it, Done)]
    assert not changes
    assert rest.conflicts == done.conflicts
