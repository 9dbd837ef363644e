"""Scenarios from the test suites of mutagen, unison, rclone bisync, syncthing and osync, each told on two trees.

``two_way_scenarios.json`` has facts only: what both sides had agreed on, what each has now, and what must come of it.
Each scenario that is skipped says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.entry import Kind, join, parent_of
from actorsync.model.operation import Copy, Done, Move
from actorsync.planning.pairs.rules import ConflictRule
from actorsync.profile.values.units import MaxDelete
from tests.support import two_way
from tests.support.two_way import TwoTrees

_FILE: Final = Path(two_way.__file__).with_name("two_way_scenarios.json")
SCENARIOS: Final[list[dict[str, Any]]] = json.loads(_FILE.read_text())["scenarios"]

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
    "trash": "a two-way profile has no trash",
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


def _rule_of(scenario: Mapping[str, Any]) -> ConflictRule:
    policy = scenario["policy"]
    if isinstance(policy, str):
        if policy in _OTHER_MODES:
            pytest.skip(_OTHER_MODES[policy])
        return _RULES[policy]
    rules: dict[str, ConflictRule] = {"newer": "newer", "source": "source", "target": "target", "none": "both"}
    if policy["resolve"] not in rules:
        pytest.skip(f"no rule prefers the {policy['resolve']}")
    return rules[policy["resolve"]]


_YEARS: Final = {"2000": 0, "2001": 1, "2002": 2, "2004": 4, "2005": 5, "2006": 6, "later": 9}


def _mtime(text: str | None) -> int | None:
    """Return a time for a date of a scenario: only the order of the dates matters."""
    if text is None:
        return None
    year, _, rest = text.partition("-")
    return 10**18 + _YEARS[year] * 10**16 + int(rest.replace("-", "") or 0) * 10**12


def _walk(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield paths with what is there, parents first: None for a directory."""
    for name, what in tree.items():
        path = join(above, name)
        is_directory = isinstance(what, Mapping) and not any(key.startswith("$") for key in what)
        yield path, None if is_directory else what
        if is_directory:
            yield from _walk(what, path)


def _content(what: Any) -> str | None:
    """Return the content of a file; None for what is no file."""
    if isinstance(what, str):
        return what
    return what.get("$text") if isinstance(what, Mapping) else None


def _put(endpoint: MemoryEndpoint, path: str, what: Any) -> None:
    content = _content(what)
    if what is None:
        endpoint.mkdir(path)
    elif content is not None:
        endpoint.write(path, content.encode(), _mtime(what.get("mtime")) if isinstance(what, Mapping) else None)
    else:  # left out, or not to be looked at: to a run it is there, and that is all
        endpoint.put_special(path, Kind.OTHER)


def _change(endpoint: MemoryEndpoint, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Make a tree into another one, as users would: a file that has moved is moved."""
    old, new = dict(_walk(before)), dict(_walk(after))
    gone = [path for path in old if path not in new or not _is_alike(old[path], new[path])]
    come = [path for path in new if path not in old or not _is_alike(old[path], new[path])]
    moved: dict[str, str] = {}
    for path in come:
        content = _content(new[path])
        places = [it for it in gone if content and _content(old[it]) == content and it not in moved]
        places = [it for it in places if not path.startswith(f"{it}/")]
        if places and path not in old:
            moved[places[0]] = path
    for path, place in moved.items():
        for above in [it for it in come if place.startswith(f"{it}/")]:
            if new[above] is None and endpoint.find(above) is None:
                endpoint.mkdir(above)
        if (parent_of(place) in old and old[parent_of(place)] is None) or endpoint.find(parent_of(place)) is not None:
            endpoint.rename(path, place)
    for path in sorted(gone, reverse=True):
        if path not in moved and endpoint.find(path) is not None:
            kinds = old[path] is None, path in new and new[path] is None
            if _content(old[path]) is None or path not in new or _content(new[path]) is None or any(kinds):
                endpoint.delete(path)
    for path in come:
        if path not in moved.values() and not (new[path] is None and endpoint.find(path) is not None):
            _put(endpoint, path, new[path])


def _is_alike(one: Any, two: Any) -> bool:
    return (one is None) == (two is None) and (one == two)


def _expected(tree: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what must be there by path, without what is left out."""
    return {path: _content(it) for path, it in _walk(tree) if it is None or _content(it) is not None}


def _shown(endpoint: MemoryEndpoint) -> dict[str, str | None]:
    return {path: None if content is None else content.decode() for path, content in two_way.tree_of(endpoint).items()}


def _versions(tree: Mapping[str, str | None]) -> list[str]:
    return sorted(content for content in tree.values() if content is not None)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[it["id"] for it in SCENARIOS])
async def test_scenario(scenario: dict[str, Any]) -> None:
    rule = _rule_of(scenario)
    for need in scenario.get("requires", []):
        if need in _UNMET:
            pytest.skip(_UNMET[need])
    if scenario["id"] in _DIFFERENT:
        pytest.skip(_DIFFERENT[scenario["id"]])
    trees = TwoTrees()
    limit = MaxDelete(int(scenario["max_delete"].rstrip("%")), is_percent=True) if "max_delete" in scenario else None
    for side in (trees.source, trees.target):
        for path, what in _walk(scenario["agreed"]):
            _put(side, path, what)
    if scenario.get("history") != "none":
        agreed = await trees.run()
        assert agreed.report.exit_code == 0, agreed.report
    trees.wait()
    _change(trees.source, scenario["agreed"], scenario["source"])
    _change(trees.target, scenario["agreed"], scenario["target"])
    trees.wait()
    before = _shown(trees.source), _shown(trees.target)
    assert before == (_expected(scenario["source"]), _expected(scenario["target"]))
    done = await trees.run(rule, max_delete=limit or two_way.ALL, by_content=scenario.get("compare") == "checksum")
    expect = scenario["expect"]
    after = _shown(trees.source), _shown(trees.target)
    if expect.get("refused") and not scenario.get("advisory"):
        assert done.report.exit_code == 4
        assert after == before
        return
    wanted = [_expected(expect[side]) for side in ("source", "target")]
    if rule == "both" and expect["conflicts"]:
        assert after[0] == after[1]
        assert _versions(after[0]) == _versions(wanted[0])
    else:
        assert after == (wanted[0], wanted[1])
    if rule == "keep":
        assert done.conflicts == ([] if scenario["id"] in _NO_CONFLICT else sorted(expect["conflicts"]))
    if "moves" in expect:
        moves = [it for it in done.events if isinstance(it, Done) and isinstance(it.operation, Move)]
        assert bool(moves) == bool(expect["moves"])
    if expect.get("bytes_sent") == 0:
        assert not [it for it in done.events if isinstance(it, Done) and isinstance(it.operation, Copy)]
    # At most two runs to rest: then there is nothing to do.
    await trees.run(rule)
    rest = await trees.run(rule)
    changes = [it for it in rest.events if isinstance(it, Done)]
    assert not changes
    assert rest.conflicts == done.conflicts
