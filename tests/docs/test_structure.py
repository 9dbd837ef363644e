"""The shape of the package: small folders, imports that only go down, small classes and files.

``python tools/figures.py`` prints the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache

import pytest

from tests.support.root import ROOT
from tools.figures import Figures, folder_imports, measure, module_imports

PACKAGE = ROOT / "actorsync"

#: The layers of docs/design.md, from the bottom up. A folder imports from its own layer and from those before it.
LAYERS = (
    {"classes"},
    {"errors", "model"},
    {"planning", "protocols"},
    {"endpoints", "transforms"},
    {"journal"},
    {"actors"},
    {"policy", "assembly", "ending", "pair_assembly", "pair_supervisor", "supervisor"},
    {"profile"},
    {"runs"},
    {"observe"},
    {"service"},
    {"library"},
    {"api", "events", "testing"},
    {"rehearsal", "cli"},
    {"__main__"},
)

#: No trio, no I/O and no clock in these.
PURE = ("model", "planning", "protocols")

#: Actors know endpoints by their contract, and wrap them; they never know a protocol.
OF_ENDPOINTS_FOR_ACTORS = {"endpoints", "endpoints.wrappers"}

#: Classes over a limit, and why. A record of results has a field for each column of its JSON record, and a table of a
#: profile has one for each of its keys.
EXEMPT = {"Report", "Sync"}


@cache
def figures() -> Figures:
    """Measure the package once."""
    return measure([PACKAGE])


def rank(folder: str) -> int:
    """Return the number of the layer that a folder is in."""
    (found,) = (number for number, layer in enumerate(LAYERS) if folder.split(".")[0] in layer)
    return found


@cache
def imports() -> Mapping[str, AbstractSet[str]]:
    """Return the imports between folders without ``actorsync/__init__.py``, which hands names on to users."""
    face = {"", "__init__", "__version__"}
    return {here: there - face for here, there in folder_imports(PACKAGE).items() if here not in face}


def test_no_folder_has_more_than_sixteen_modules() -> None:
    assert {str(folder): count for folder, count in figures().folders.items() if count > 16} == {}


def test_no_import_goes_upward() -> None:
    upward = [(here, name) for here, there in imports().items() for name in there if rank(name) > rank(here)]
    assert upward == []


def circles(edges: Mapping[str, AbstractSet[str]]) -> list[tuple[str, ...]]:
    """Return a circle for each node that is in one: the way back to it."""
    found: list[tuple[str, ...]] = []
    for start in edges:
        ways: dict[str, tuple[str, ...]] = {start: (start,)}
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for name in edges.get(here, ()):
                if name == start:
                    found.append((*ways[here], start))
                elif name not in ways:
                    ways[name] = (*ways[here], name)
                    waiting.append(name)
    return found


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [("b", "c", "b"), ("c", "b", "c")]


def test_no_folders_import_each_other_in_a_circle() -> None:
    assert circles(imports()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(module_imports(PACKAGE)) == []


@pytest.mark.parametrize("layer", PURE)
def test_pure_layers_import_no_trio(layer: str) -> None:
    texts = {path: path.read_text() for path in (PACKAGE / layer).rglob("*.py")}
    assert [path for path, text in texts.items() if "import trio" in text or "from trio" in text] == []


def test_actors_know_endpoints_by_their_contract() -> None:
    known = {name for here, there in imports().items() if rank(here) == rank("actors") for name in there}
    assert {name for name in known if name.startswith("endpoints")} <= OF_ENDPOINTS_FOR_ACTORS


def test_no_class_is_too_big() -> None:
    big = [it for it in figures().classes if it.methods > 25 or it.fields > 20]
    assert [it for it in big if it.place.rpartition(":")[2] not in EXEMPT] == []


def test_a_long_file_says_why_at_its_top() -> None:
    long = {path for path, count in figures().files.items() if count > 400}
    assert long - figures().explained == set(), 'its docstring has to say: "... is one file because ..."'


def test_the_supervisor_is_the_diagram() -> None:
    assert figures().files[PACKAGE / "supervisor.py"] < 200
