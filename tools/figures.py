"""Measure the shape of the code: sizes of files, classes and functions, folders, imports between folders.

    python tools/figures.py [FOLDER ...]        default: actorsync

Prints one line for each figure, then what is over a limit. ``tests/docs/test_structure.py`` holds the limits.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["Class", "Figures", "folder_imports", "measure", "module_imports"]


@dataclass(frozen=True)
class Class:
    """A class: where it is, how many methods it has, inherited ones included, and how many fields of its own."""

    place: str
    methods: int
    fields: int


@dataclass
class Figures:
    """What was counted below some folders. ``files`` are lines by path, ``functions`` are lines of each function."""

    files: dict[Path, int] = field(default_factory=dict)
    classes: list[Class] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    explained: set[Path] = field(default_factory=set)

    @property
    def folders(self) -> Counter[Path]:
        """Return how many modules each folder has, ``__init__.py`` not counted."""
        return Counter(path.parent for path in self.files if path.name != "__init__.py")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def measure(roots: Sequence[Path]) -> Figures:
    """Count what is in the Python files below ``roots``."""
    figures = Figures()
    defined: dict[str, tuple[str, ast.ClassDef]] = {}
    for path in sorted(path for root in roots for path in root.rglob("*.py")):
        text = path.read_text()
        figures.files[path] = text.count("\n")
        tree = _tree(path)
        if "one file because" in " ".join((ast.get_docstring(tree) or "").split()):
            figures.explained.add(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                defined[node.name] = (f"{path}:{node.name}", node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                figures.functions.append(_length(node))
    figures.classes += [
        Class(place, len(_methods(node, defined)), len(_fields(node))) for place, node in defined.values()
    ]
    return figures


def _methods(node: ast.ClassDef, defined: dict[str, tuple[str, ast.ClassDef]]) -> set[str]:
    """Return the names of the methods of a class and of those of its bases that were measured, protocols aside."""
    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
    names = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    if "Protocol" in bases:
        return names
    for base in bases & defined.keys():
        if defined[base][1] is not node and not _is_protocol(defined[base][1]):
            names |= _methods(defined[base][1], defined)
    return names


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def _fields(node: ast.ClassDef) -> set[str]:
    """Return the names that a class annotates in its body or sets on ``self`` in ``__init__``."""
    names = {it.target.id for it in node.body if isinstance(it, ast.AnnAssign) and isinstance(it.target, ast.Name)}
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name in {"__init__", "__attrs_post_init__"}:
            for item in ast.walk(method):
                if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Store):
                    names.add(item.attr)
    return names


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body without its docstring and its signature."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


def folder_imports(package: Path) -> dict[str, set[str]]:
    """Return which folders each folder of the package imports at run time; a module at the top is named by itself.

    Imports under ``if TYPE_CHECKING`` count as well: they make a drawing harder to read in the same way. The
    ``__init__.py`` of a folder hands names on, so what it imports from below its own folder does not count.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        here = _folder(".".join(path.relative_to(package.parent).with_suffix("").parts), package)
        for name in _imports(_tree(path)):
            there = _folder(name, package)
            is_own_face = path.name == "__init__.py" and there.startswith(f"{here}.")
            if name.split(".")[0] == package.name and there != here and not is_own_face:
                found.setdefault(here, set()).add(there)
    return found


def module_imports(package: Path) -> dict[str, set[str]]:
    """Return which modules of the package each module imports, ``if TYPE_CHECKING`` included, faces of folders not."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.name != "__init__.py":
            names = _imports(_tree(path))
            modules = {module for name in names if (module := _module(name, package)) is not None}
            found[".".join(path.relative_to(package.parent).with_suffix("").parts)] = modules
    return found


def _module(name: str, package: Path) -> str | None:
    """Return the module that an imported name is or is in; None outside the package."""
    parts = name.split(".")
    while parts and not package.parent.joinpath(*parts).with_suffix(".py").is_file():
        parts.pop()
    return ".".join(parts) or None


def _folder(module: str, package: Path) -> str:
    parts = module.split(".")[1:]
    while parts and not (package.joinpath(*parts)).is_dir():
        if len(parts) == 1:
            break
        parts.pop()
    return ".".join(parts)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def main(arguments: Sequence[str]) -> None:
    """Print the figures."""
    figures = measure([Path(argument) for argument in arguments] or [Path("actorsync")])
    lengths = sorted(figures.functions)
    print(f"files: {len(figures.files)}, lines: {sum(figures.files.values())}")
    print(f"modules in the fullest folder: {max(figures.folders.values())}")
    print(f"longest file: {max(figures.files.values())}")
    print(f"most methods of a class: {max(it.methods for it in figures.classes)}")
    print(f"most fields of a class: {max(it.fields for it in figures.classes)}")
    print(f"lines of a function, median: {statistics.median(lengths):.0f}")
    print(f"lines of a function, 90th percentile: {lengths[len(lengths) * 9 // 10]}")
    for path, count in sorted(figures.files.items(), key=lambda item: -item[1]):
        if count > 400:
            print(f"over 400 lines: {path}: {count}{' (says why)' if path in figures.explained else ''}")
    for it in figures.classes:
        if it.methods > 25 or it.fields > 20:
            print(f"over 25 methods or 20 fields: {it.place}: {it.methods}, {it.fields}")


if __name__ == "__main__":
    main(sys.argv[1:])
