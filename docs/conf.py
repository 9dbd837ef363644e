"""The site: the Markdown of this folder, as it reads on a forge, and an API reference from the docstrings.

Built by ``make docs``, and by the tests with every warning an error. Needs no network.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docutils import nodes  # noqa: E402
from sphinx import addnodes  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

import actorsync  # noqa: E402 - it may be nowhere else

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

#: The pages in reading order, by the heading that they stand under. One that is not there is left out; one that is
#: there and not named here fails the build.
PAGES = {
    "Use it": [
        "quickstart",
        "deploy",
        "watch",
        "two-way",
        "profile",
        "recipes",
        "observe",
        "any-to-any",
        "cli",
        "mistakes",
        "filesmirror",
    ],
    "Build on it": ["library", "pipelines", "endpoints", "testing"],
    "Trust it": ["servers", "security", "reliability", "performance", "journal"],
    "Know it": ["design", "glossary", "contributing", "changelog"],
    "API": ["api/actorsync", "api/errors", "api/model", "api/endpoints", "api/transforms", "api/testing"],
}

project = "actorsync"
author = "actorsync"
version = release = actorsync.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

html_theme = "furo"
html_title = f"actorsync {version}"
html_copy_source = False
html_show_copyright = False
pygments_style = "friendly"
highlight_language = "text"

myst_heading_anchors = 4
myst_enable_extensions = []

nitpicky = True
default_role = "py:obj"  # `name` in a docstring: a link where it leads somewhere, see `_plain_name`
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_typehints = "signature"


def _expand(_: Sphinx, page: str, source: list[str]) -> None:
    """Put in what is not written by hand: the table of contents, the changelog, the names of a module."""
    if page == "index":
        source[0] += "\n" + "\n".join(_contents(caption, names) for caption, names in PAGES.items())
    elif page == "changelog":
        source[0] = (HERE.parent / "CHANGELOG.md").read_text("utf-8")
    elif page.startswith("api/"):
        lines = source[0].splitlines()
        directive = ".. every-name-of:: "
        source[0] = "\n".join(
            _every_name(line.removeprefix(directive)) if line.startswith(directive) else line for line in lines
        )


def _contents(caption: str, names: list[str]) -> str:
    there = [name for name in names if any((HERE / f"{name}{suffix}").exists() for suffix in source_suffix)]
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", *there, "```", ""])


def _every_name(module_name: str) -> str:
    """Directives for all of a module's ``__all__``. What `actorsync` itself exports stands on that page alone."""
    module = importlib.import_module(module_name)
    exported = {} if module is actorsync else {name: getattr(actorsync, name) for name in _names(actorsync)}
    lines = []
    for name in _names(module):
        found = getattr(module, name)
        known_as = [other for other, one in exported.items() if one is found]
        if inspect.ismodule(found):
            continue
        if known_as:
            lines += [f"`{name}`", f"   Is :py:obj:`actorsync.{known_as[0]}`.", ""]
        elif isinstance(found, UnionType):
            names = ", ".join(f"`{one.__name__}`" for one in found.__args__)
            lines += [f".. py:type:: {name}", f"   :module: {module_name}", "", f"   One of {names}.", ""]
        elif inspect.isclass(found):
            kind = "exception" if issubclass(found, BaseException) else "class"
            lines += [f".. auto{kind}:: {module_name}.{name}", "   :members:", ""]
        elif callable(found) and not isinstance(found, type) and inspect.isroutine(found):
            lines += [f".. autofunction:: {module_name}.{name}", ""]
        else:
            lines += [f".. autodata:: {module_name}.{name}", "   :no-value:", ""]
    return "\n".join(lines)


def _unions() -> dict[str, UnionType]:
    """Every union that has a name, the longest first."""
    modules = [actorsync, *(importlib.import_module(f"actorsync.model.{name}") for name in ("event", "operation"))]
    found = {
        name: value
        for module in modules
        for name in _names(module)
        if isinstance(value := getattr(module, name), UnionType)
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[1].__args__)))


def _names(module: Any) -> list[str]:
    return [name for name in getattr(module, "__all__", ()) if not name.startswith("__")]


def _plain_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Element
) -> nodes.Element | None:
    """Link a name that is documented on another page; one that exists stays what it is; any other is warned of."""
    if node.get("refdomain") != "py":
        return None
    target, module, inside = str(node["reftarget"]), node.get("py:module"), node.get("py:class")
    is_of_signature = node.get("reftype") != "obj"
    if is_of_signature and not target.startswith("actorsync."):
        return text
    searched = target.rpartition(".")[2] if is_of_signature else target
    found = env.domains.python_domain.find_obj(env, module, inside, searched, None, 1)
    if len({entry.node_id for _, entry in found}) == 1:
        name, entry = found[0]
        return make_refnode(app.builder, str(node["refdoc"]), entry.docname, entry.node_id, text, name)
    if is_of_signature:
        return text  # of a signature: Python has checked it
    home = getattr(_object(f"{module}.{inside}"), "__module__", module)  # what is exported may have been made elsewhere
    places = [f"{module}.{inside}.{target}", f"{module}.{target}", f"{home}.{target}", target, f"builtins.{target}"]
    return None if all(_object(place) is None for place in places) else text


def _object(name: str) -> Any:
    """What a dotted name stands for, or None."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except (ImportError, ValueError):
            continue
        for part in parts[length:]:
            found = getattr(found, part, None) or getattr(found, "__annotations__", {}).get(part)
        return found
    return None


def _signature(
    _: Sphinx, what: str, __: str, found: object, ___: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show a class of attrs as it is called, and a protocol as what it is: nothing to be called."""
    if what == "class" and getattr(found, "_is_protocol", False):
        return "", None
    if returns and inspect.isasyncgenfunction(getattr(found, "__wrapped__", None)):
        returns = returns.replace("AsyncIterator[", "AsyncContextManager[", 1)  # what it is called for
    return signature and _short(signature.replace(" = NOTHING", " = ...")), returns and _short(returns)


def _short(text: str) -> str:
    """Give unions by their names, where they have one, and not by all that is in them."""
    for name, union in UNIONS.items():
        for form in ("~{0.__module__}.{0.__qualname__}", "{0.__module__}.{0.__qualname__}", "{0.__name__}"):
            text = text.replace(" | ".join(form.format(one) for one in union.__args__), name)
    return text


def _shorten_property(_: Sphinx, __: str, kind: str, content: addnodes.desc_content) -> None:
    """Do the same for the type of a property, which is no part of a signature."""
    if kind == "property" and content.parent is not None:
        for annotation in content.parent.findall(addnodes.desc_annotation):
            # A name is there twice, in full and as it will be shown.
            parts = [part for part in annotation.findall(nodes.Text) if part.parent.get("condition") != "*"]
            text = "".join(parts)
            if (short := _short(text)) != text:
                annotation.clear()
                annotation += nodes.Text(short)


UNIONS = _unions()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _expand)
    app.connect("autodoc-process-signature", _signature)
    app.connect("object-description-transform", _shorten_property)
    app.connect("missing-reference", _plain_name)
