"""What a profile says and hardly means: patterns that match nothing, and variables that nobody replaces. Pure.

A doubt is one line: where the text is, the text, why it does not do what it looks like, and what to write instead. The
rules are those of gitignore(5), and the mistakes are habits from rclone, lftp, WinSCP, shells and Windows. A pattern
that matches an ordinary name is never in doubt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from actorsync.classes import frozen
from actorsync.model.text import display, shorten
from actorsync.planning.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Pattern", "Tree", "extension_doubts", "pattern_doubts", "place_doubt", "secret_doubt", "variable_in"]


@frozen
class Pattern:
    """One line of patterns: where it is, for messages, and whether it is a line of a file, which may be a comment."""

    where: str
    text: str
    is_in_file: bool = False

    def doubt(self, reason: str) -> str:
        """Return the doubt as a line."""
        return f'{self.where}: "{shorten(display(self.text), 100)}" {reason}'


@frozen
class Tree:
    """The source as far as patterns are concerned: its directory, and whether it has a path below that.

    For a source on a server, ``root`` is empty, and ``has`` knows of no path.
    """

    root: str = ""
    has: Callable[[str], bool] = lambda _: False


_COMMENT: Final = (
    "matches only names with that comment in them; give the comment a line of its own, or write \\# for a name"
)
_LITERAL: Final = "which gitignore takes literally"
#: Mistakes, in a text in which escaped characters and classes are masked, and what to do about each.
_MISTAKES: Final = (
    (re.compile(r"\s#(?:\s|$)|\s\s#|\t#|\s//\s"), _COMMENT),
    (re.compile(r"://"), "is a URL; write a path relative to the source"),
    (re.compile(r"\*\.\w+\s*[,;|]\s*\*?\.\w+"), "is one pattern; write one for each extension"),
    (
        re.compile(r"\{[^{}/]*(?:,|\.\.)[^{}/]*\}"),
        f"has braces, {_LITERAL}; write one pattern for each alternative, or \\{{ for a name",
    ),
    (re.compile(r"^/?\{\{.*[\^$*+|()].*\}\}$"), f"has a regular expression, {_LITERAL}; write it with *, ? and [...]"),
    (
        re.compile(r"^(?:regexp?|re|glob|syntax):", re.IGNORECASE),
        f"begins with the name of a syntax, {_LITERAL}; write it without that, and with *, ? and [...]",
    ),
    (re.compile(r"^[-+] \S"), f"begins like a filter of rsync, {_LITERAL}; write the pattern alone, or ! before it"),
    (re.compile(r"^([\"']).+\1$"), "matches only names with these quotes; write it without them"),
    (
        re.compile(r"^(?:\$(?:\{\w+\}|[A-Z_][A-Z0-9_]*)|%[A-Z_][A-Z0-9_]*%)/"),
        "has a variable, which is not replaced; write a path relative to the source",
    ),
    (
        re.compile(r"^\s|\s$"),
        "matches only names with this white space; remove it, or write a backslash before it",
    ),
)
#: A character made literal, or a class.
_MASKED: Final = re.compile(r"\\.|\[[^\]]+\]", re.DOTALL)
#: A backslash between letters: a separator of Windows. It is valid, and only makes the next letter literal.
_SEPARATOR: Final = re.compile(r"\w\\[A-Za-z0-9]")
#: An escaped dot, as regular expressions need it, before the end of such an expression.
_EXPRESSION: Final = re.compile(r"\\\..*\$$")
_DRIVE: Final = re.compile(r"[A-Za-z]:[/\\]")
#: Parts of a path that no path in the source has, and that a file system reads as something else.
_ODD_PARTS: Final = frozenset({"", ".", ".."})
_WILD: Final = re.compile(r"[*?\[]")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_NOTHING_TO_INCLUDE: Final = (
    'brings nothing back, because nothing is excluded; to send only what it matches, also set exclude = ["*", "!*/"]'
)


def pattern_doubts(exclude: Sequence[Pattern], include: Sequence[Pattern], *, others: bool, tree: Tree) -> list[str]:
    """Return the doubts about the patterns of a profile, in their order.

    ``others``: whether something else than ``exclude`` leaves entries out. Every pattern must be valid.
    """
    found: dict[Pattern, str] = {}
    for one in (*exclude, *include):
        if (reason := _reason(one, tree)) is not None:
            found[one] = one.doubt(reason)
    for one in _idle_negations(exclude):
        found.setdefault(one, one.doubt("negates nothing: no pattern before it excludes anything; remove it"))
    is_restricted = others or any(_body(one) for one in exclude)
    for one in include:
        if not is_restricted and ".git" not in one.text and _body(one):
            found.setdefault(one, one.doubt(_NOTHING_TO_INCLUDE))
    if is_restricted:
        for one, reason in _unreachable(exclude, include):
            found.setdefault(one, one.doubt(reason))
    return [found[one] for one in (*exclude, *include) if one in found]


def _body(one: Pattern) -> str:
    """Return a pattern without the exclamation mark and the spaces at its end; "" for a line that says nothing."""
    text = one.text.rstrip(" ")
    if text != one.text and (len(text) - len(text.rstrip("\\"))) % 2:
        text += " "
    return "" if text.startswith("#") else text.removeprefix("!").removesuffix("/")


def _parts(body: str) -> list[str]:
    return body.removeprefix("/").split("/")


def _reason(one: Pattern, tree: Tree) -> str | None:
    body = _body(one)
    if not body:
        return _reason_of_nothing(one)
    is_plain = not _WILD.search(body) and _ODD_PARTS.isdisjoint(_parts(body))
    if is_plain and tree.has(_ESCAPE.sub(r"\1", body).strip("/")):
        return None
    if _DRIVE.match(body):
        return _absolute("")
    if _SEPARATOR.search(body):
        return "has a backslash, which only makes the next character literal; write / between directories"
    if _EXPRESSION.search(body):
        return f"is a regular expression, {_LITERAL}; write it with *, ? and [...]"
    masked = _MASKED.sub("_", body)
    for mistake, reason in _MISTAKES:
        if mistake.search(masked):
            return reason
    return _reason_of_path(body, "/" * one.text.rstrip(" ").endswith("/"), tree)


def _reason_of_nothing(one: Pattern) -> str | None:
    text = one.text.strip(" ")
    if text.startswith("#"):
        return None if one.is_in_file else "is a comment; write \\# for a name that begins with #"
    if not text:
        return None if one.is_in_file else "is empty and matches nothing; remove it"
    if text.startswith("!"):
        return "matches nothing: it negates no pattern; write the pattern after the exclamation mark"
    return 'matches nothing: the source itself is never excluded; write "*" for everything in it'


def _reason_of_path(body: str, end: str, tree: Tree) -> str | None:
    """Return why no path matches. ``end`` is the slash at the end of the pattern, which ``body`` does not have."""
    parts = _parts(body)
    if ".." in parts:
        return "matches nothing: patterns are relative to the source, and do not lead out of it"
    if "." in parts or "" in parts:
        rest = [part for part in parts if part not in {"", "."}]
        hint = f'write "/{display("/".join(rest))}{end}"' if rest else "remove it"
        return f'matches nothing: no path in the source has "{"./" if "." in parts else "//"}" in it; {hint}'
    if parts[0] == "~" and not tree.has("~"):
        return _absolute("")
    if tree.root.strip("/") and not tree.has(parts[0]):
        if f"{body}/".startswith(f"{tree.root}/"):
            below = body.removeprefix(tree.root)
            return _absolute(below and below + end)
        if len(parts) > 1 and parts[0] == tree.root.rpartition("/")[2]:
            better = display("/".join(parts[1:]) + end)
            return f'begins with the name of the source, but patterns are relative to the source; write "/{better}"'
    return None


def _absolute(better: str) -> str:
    hint = f'write "{display(better)}"' if better else "write a path relative to the source"
    return f"matches nothing: patterns are relative to the source, also with / at their beginning; {hint}"


def _idle_negations(lines: Sequence[Pattern]) -> Iterator[Pattern]:
    for one in lines:
        if not _body(one):
            continue
        if not one.text.startswith("!"):
            return
        yield one


def _unreachable(exclude: Sequence[Pattern], include: Sequence[Pattern]) -> Iterator[tuple[Pattern, str]]:
    """Yield the patterns that would bring something back from a directory that is not entered, and the way out."""
    back = [one for one in exclude if one.text.startswith("!")] + list(include)
    named = [(one, directory) for one in back if (directory := _directory_of(_body(one)))]
    if not named:
        return
    selection = Selection([one.text for one in exclude], [one.text for one in include])
    for one, directory in named:
        parts = directory.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        hidden = next((it for it in above if selection.hides(it, is_directory=True)), None)
        if hidden is not None:
            shown = display(hidden)
            # Whether the contents are excluded one by one as well.
            is_each = not selection.is_selected(f"{hidden}/\0", is_directory=False)
            way_out = f'bring "{shown}/" back as well' if is_each else f'exclude "{shown}/*" instead of "{shown}/"'
            yield one, f'brings nothing back, because "{shown}" is excluded and not looked into; {way_out}'


def _directory_of(body: str) -> str:
    """Return the directory that everything is in that a pattern matches; "" if that may be anywhere."""
    parts = _parts(body)[:-1]
    names = []
    for part in parts:
        if _WILD.search(part):
            break
        names.append(_ESCAPE.sub(r"\1", part))
    return "/".join(names)


def extension_doubts(where: str, extensions: Sequence[str]) -> list[str]:
    """Return the doubts about a list of extensions, which are compared with the ends of names as they are."""
    return [
        f'{where}: "{shorten(display(one), 100)}" matches only names that end exactly so; write it like ".bak"'
        for one in extensions
        if one != one.strip() or re.search(r"[*?]|,\s*\.", one)
    ]


# Variables.

#: A secret that is a variable as a whole, in the forms of shells, Windows, PowerShell and CI systems.
_WHOLE: Final = re.compile(
    r"\$\{(?:env:)?(\w+)\}|\$env:(\w+)|%([A-Za-z_]\w*)%|env:(\w+)|\$\{\{\s*(?:\w+\.)*(\w+)\s*\}\}|\{\{\s*(?:\w+\.)*(\w+)\s*\}\}",
    re.IGNORECASE,
)
_SHELL: Final = re.compile(r"\$([A-Za-z_]\w*)")
_COMMAND: Final = re.compile(r"\$\(.+\)|`.+`", re.DOTALL)
#: A variable in a path or a URL.
_PART: Final = re.compile(r"\$\{(\w+)\}|\$([A-Z_][A-Z0-9_]*)(?![A-Za-z0-9_])|%([A-Z_][A-Z0-9_]*)%")


def secret_doubt(noun: str, text: str, is_set: Callable[[str], bool]) -> str | None:
    """Return why a secret in clear text is probably a variable, or None.

    ``is_set`` says whether a variable exists. The text may be the secret itself after all. So a name is only shown if
    there is such a variable, or if it has an underscore, as no generated password has in this form.
    """
    if _COMMAND.fullmatch(text):
        return f'is taken literally: no command is run for it; write {noun} = {{ command = ["..."] }}'
    found = _WHOLE.fullmatch(text)
    name = next((it for it in found.groups() if it), "") if found else ""
    if found is None and (shell := _SHELL.fullmatch(text)) and (shell[1].isupper() or is_set(shell[1])):
        found, name = shell, shell[1]
    if found is None:
        return None
    shown = name if is_set(name) or "_" in name.strip("_") else "NAME"
    return (
        f'is taken literally: variables are not replaced in a profile; write {noun} = {{ env = "{shown}" }}, '
        f'or {noun} = {{ file = "..." }} if this is the {noun} itself'
    )


def variable_in(text: str, is_set: Callable[[str], bool]) -> str | None:
    """Return the variable in a path or a URL as it is written there, or None. A password in a URL is not looked at."""
    scheme, mark, rest = text.rpartition("://") if "://" in text else ("", "", text)
    login, at, place = rest.rpartition("@")
    for found in _PART.finditer(f"{scheme}{mark}{login.partition(':')[0]}{at}{place}"):
        # %AB%CD are bytes in a URL.
        if found[3] is None or is_set(found[3]) or "_" in found[3]:
            return found[0]
    return None


def place_doubt(text: str, is_set: Callable[[str], bool]) -> str | None:
    """Return why a path or a URL is probably not meant as it is, or None."""
    variable = variable_in(text, is_set)
    return variable and (
        f"{variable} is taken literally: variables are not replaced in a profile; write the value, or set the key in "
        "the environment or with --set"
    )
