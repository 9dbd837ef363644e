"""The public API equals the pinned list of names and signatures, so that every change to it is a change to a file.

``python -m tests.docs.test_public_api`` updates the file, ``public_api.txt``.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import attrs
import pytest

from tests.support.root import ROOT

PINNED = Path(__file__).with_name("public_api.txt")
#: `actorsync.endpoints` hands on what is public of its modules ``contract``, ``simple`` and ``plugins``.
MODULES = (
    "actorsync",
    "actorsync.events",
    "actorsync.errors",
    "actorsync.endpoints",
    "actorsync.transforms",
    "actorsync.testing",
)


def described(module: str) -> Iterator[str]:
    home = importlib.import_module(module)
    for name in sorted(home.__all__):
        thing = getattr(home, name)
        yield f"{module}.{name}{shape_of(thing)}"
        if inspect.isclass(thing) and not issubclass(thing, BaseException | enum.Enum):
            for member in sorted(vars(thing)):
                if not member.startswith("_") and member not in {f.name for f in fields_of(thing)}:
                    yield f"{module}.{name}.{member}{shape_of(inspect.getattr_static(thing, member))}"


def fields_of(thing: type) -> tuple[Any, ...]:
    return attrs.fields(thing) if attrs.has(thing) else ()


def shape_of(thing: Any) -> str:
    """Return the signature of a thing, or its kind, without details that differ between versions of Python."""
    if isinstance(thing, classmethod | staticmethod):
        thing = thing.__func__
    if inspect.isclass(thing) and issubclass(thing, enum.Enum):
        return f": {', '.join(thing.__members__)}"
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return f"({', '.join(base.__name__ for base in thing.__bases__)})"
    if inspect.isclass(thing) and getattr(thing, "_is_protocol", False):
        return ": protocol"
    if inspect.isclass(thing) or inspect.isfunction(thing):
        signature = str(inspect.signature(thing)).replace("'", "")
        signature = re.sub(r"<factory>|NOTHING|<[^<>]* at 0x[0-9a-f]+>|Factory\([^()]*\)", "...", signature)
        return ("" if inspect.isclass(thing) or not inspect.iscoroutinefunction(thing) else ": async ") + signature
    if isinstance(thing, property):
        assert thing.fget is not None
        return f" -> {inspect.signature(thing.fget).return_annotation}"
    if isinstance(thing, UnionType):
        return f" = {' | '.join(arg.__name__ for arg in get_args(thing))}"
    return f": {type(thing).__name__}" if not isinstance(thing, str) else ": str"


def text() -> str:
    return "".join(f"{line}\n" for module in MODULES for line in described(module))


def test_public_api_equals_the_pinned_list() -> None:
    assert text() == PINNED.read_text(), "the public API changed; if intended: python -m tests.docs.test_public_api"


@pytest.mark.parametrize("module", MODULES)
def test_public_names_have_a_public_module_and_a_docstring(module: str) -> None:
    home = importlib.import_module(module)
    for name in home.__all__:
        thing = getattr(home, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert not re.search(r"\._|<", f"{thing.__module__}.{thing.__qualname__}"), name
        assert getattr(importlib.import_module(thing.__module__), thing.__name__) is thing
        assert inspect.getdoc(thing), f"{name} has no docstring"


def imports_of(code: str) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import from the package."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "actorsync":
            yield from ((str(node.module), alias.name) for alias in node.names)


def shown_code() -> Iterator[tuple[str, str]]:
    """Yield each example, and each Python block of the pages for authors of endpoints and stages."""
    for example in sorted((ROOT / "examples").glob("*.py")):
        yield example.name, example.read_text()
    for page in ("endpoints.md", "pipelines.md"):
        for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE):
            yield page, block


def test_what_examples_and_docs_import_is_public() -> None:
    for where, code in shown_code():
        for module, name in imports_of(code):
            assert module in MODULES, f"{where} imports {name} from {module}, which may change"
            assert name in importlib.import_module(module).__all__, f"{where} imports {name}, which is not public"


@pytest.mark.full
def test_examples_pass_strict_mypy_with_the_installed_package(tmp_path: Path) -> None:
    """The examples are checked in another folder, without the project's settings."""
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    for example in sorted((ROOT / "examples").glob("*.py")):
        (tmp_path / example.name).write_text(example.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    PINNED.write_text(text())
