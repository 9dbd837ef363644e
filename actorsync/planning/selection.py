"""Which entries are mirrored: gitignore patterns, extensions, depth. Pure: paths in, yes or no out."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Final

import attrs

from actorsync.classes import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Selection"]

# pathspec lets a pattern that matches a directory match everything below it as well, and weighs the two kinds
# of match against each other. Git does not: the last pattern that matches the entry *itself* decides, and the
# walk takes care of what lies below. (`*`, `!*/`, `!*.txt` is where it shows: pathspec excludes each directory.)
# So every pattern and every path gets one more component, a name that no file can have; a match up to there
# is a match of the entry itself. It also says what the entry is, for patterns that end in a slash.
_FILE, _DIRECTORY, _EITHER = "/f\0", "/d\0", "/?\0"

# What pathspec reads differently from git, without a warning. A line that excludes nothing publishes files.
_MISREAD = re.compile(r"(?<!\\)\[[^\]]*(?:\\|\[:)")

#: The directory of a repository, or the file that names it in a submodule. It has the whole history, and credentials.
_GIT: Final = ".git"

_Rule = tuple[bool, re.Pattern[str]]


def _tuple(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(lines)


@frozen
class Selection:
    """Decide, for relative paths separated by "/", which entries are mirrored.

    ``exclude`` and ``include`` are lines in gitignore syntax: in each list the last line that matches wins, and
    an entry that ``include`` matches is in, whatever ``exclude`` and ``exclude_extensions`` say. Extensions are
    compared with the end of a file's name, without regard to case, the leading dot may be left out. Entries
    deeper than ``max_depth`` are out; those directly in the root have depth 1.

    ``private`` are paths that are out whatever the patterns say, with everything below them. With ``keeps_git_back``,
    so is every ``.git``, unless a line of ``include`` that names it matches.

    A line that cannot be read as a pattern raises ``ValueError`` with a text that quotes it.
    """

    exclude: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    include: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    exclude_extensions: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    max_depth: int | None = None
    private: frozenset[str] = frozenset()
    keeps_git_back: bool = False
    _excluding: tuple[_Rule, ...] = attrs.field(init=False, repr=False, eq=False)
    _including: tuple[_Rule, ...] = attrs.field(init=False, repr=False, eq=False)
    _endings: tuple[str, ...] = attrs.field(init=False, repr=False, eq=False)
    _including_git: tuple[_Rule, ...] = attrs.field(init=False, repr=False, eq=False)
    _private_names: Mapping[str, frozenset[str]] = attrs.field(init=False, repr=False, eq=False)

    @_excluding.default
    def _compile_exclude(self) -> tuple[_Rule, ...]:
        return _compile(self.exclude)

    @_including.default
    def _compile_include(self) -> tuple[_Rule, ...]:
        return _compile(self.include)

    @_endings.default
    def _fold_extensions(self) -> tuple[str, ...]:
        return tuple("." + extension.removeprefix(".").casefold() for extension in self.exclude_extensions)

    @_including_git.default
    def _compile_include_of_git(self) -> tuple[_Rule, ...]:
        return _compile(tuple(line for line in self.include if _GIT in line)) if self.keeps_git_back else ()

    @_private_names.default
    def _by_directory(self) -> Mapping[str, frozenset[str]]:
        names: dict[str, set[str]] = {}
        for path in self.private:
            names.setdefault(path.rpartition("/")[0], set()).add(_name(path))
        return {directory: frozenset(found) for directory, found in names.items()}

    @property
    def is_everything(self) -> bool:
        """Whether no pattern, extension or depth leaves anything out. See also `may_be_private`."""
        return not (self._excluding or self._endings) and self.max_depth is None

    def is_included(self, path: str, is_directory: bool) -> bool:
        """Whether the entry is in, given that every directory above it is.

        This is the question of a walk from the root down, which does not enter what is out. The root itself,
        ``""``, is always in.
        """
        if not path:
            return True
        return not self.is_private(path, is_directory) and self.is_selected(path, is_directory)

    def is_selected(self, path: str, is_directory: bool) -> bool:
        """Return what `is_included` does, for an entry that is not private."""
        if self.max_depth is not None and path.count("/") >= self.max_depth:
            return False
        if not self._excluding and not self._endings:
            return True
        # `.` in pathspec's expressions stops at a line feed, which a name may contain and a pattern may not.
        subject = _subject(path, is_directory)
        excluded = _matches(self._excluding, subject) or (
            not is_directory and bool(self._endings) and _name(path).casefold().endswith(self._endings)
        )
        return not excluded or _matches(self._including, subject)

    def may_be_private(self, directory: str) -> frozenset[str]:
        """Return the names in a directory that `is_private` may be true for: few, so that most need no question."""
        names = self._private_names.get(directory, frozenset())
        return names | {_GIT} if self.keeps_git_back else names

    def is_private(self, path: str, is_directory: bool) -> bool:
        """Return whether the entry is never sent: it is in ``private``, or it is a ``.git`` that is kept back."""
        if path in self.private:
            return True
        if not self.keeps_git_back or _name(path) != _GIT:
            return False
        return not _matches(self._including_git, _subject(path, is_directory))

    def keeps_back(self, path: str) -> bool:
        """Return whether the entry, or a directory above it, is never sent."""
        names = path.split("/")
        return any(self.is_private("/".join(names[:depth]), is_directory=True) for depth in range(1, len(names) + 1))

    def hides(self, path: str, is_directory: bool) -> bool:
        """Whether a walk would not reach the entry: it, or a directory above it, is out.

        A hidden entry is never removed: that a scan does not show it does not mean that it is gone.
        """
        slash = path.find("/")
        while slash != -1:
            if not self.is_included(path[:slash], is_directory=True):
                return True
            slash = path.find("/", slash + 1)
        return not self.is_included(path, is_directory)


def _subject(path: str, is_directory: bool) -> str:
    """Return what the expressions are matched with."""
    return path.replace("\n", "\r") + (_DIRECTORY if is_directory else _FILE)


def _name(path: str) -> str:
    return path[path.rfind("/") + 1 :]


def _matches(rules: tuple[_Rule, ...], subject: str) -> bool:
    """Whether the first rule that matches is a positive one; ``rules`` come last line first."""
    for positive, expression in rules:
        if expression.match(subject):
            return positive
    return False


def _compile(lines: tuple[str, ...]) -> tuple[_Rule, ...]:
    """The patterns of ``lines`` as expressions over a path with its extra component, last line first."""
    rules: list[_Rule] = []
    if not lines:
        return ()
    from pathspec import GitIgnoreSpec  # slow to import, and of use only here

    for line in lines:
        if "\n" in line or "\0" in line:
            raise ValueError(f"{line!r} is not a gitignore pattern: it has a line break or a NUL in it")
        pattern = _for_the_entry_itself(line)
        if pattern is None:
            continue
        if _MISREAD.search(pattern):
            raise ValueError(f"{line!r} has a backslash or a class like [:alpha:] in its [...]; list the characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # `[[a]`: means today what it is meant to
                compiled = GitIgnoreSpec.from_lines([pattern]).patterns
        except (ValueError, re.error):
            raise ValueError(f"{line!r} is not a valid gitignore pattern") from None
        for one in compiled:
            if one.include is None or one.regex is None:  # such as `[a`, that git drops without a word
                raise ValueError(f"{line!r} is not a valid gitignore pattern")
            rules.append((one.include, one.regex))
    rules.reverse()
    return tuple(rules)


def _for_the_entry_itself(line: str) -> str | None:
    """Rewrite one gitignore line to match a path with the extra component; None for a line that says nothing."""
    stripped = line.rstrip(" ")
    if stripped != line and _ends_in_a_lone_backslash(stripped):
        stripped += " "  # an escaped space is part of the pattern
    if not stripped or stripped.startswith("#"):
        return None
    negation = "!" if stripped.startswith("!") else ""
    body = stripped.removeprefix("!")
    kind = _DIRECTORY if body.endswith("/") else _EITHER
    body = body.removesuffix("/")
    if not body:
        return None
    if "/" not in body:
        body = f"**/{body}"  # a plain name matches at any depth; the extra component would anchor it
    if body.endswith("/**"):
        body += "/*"  # what lies below, not the directory itself
    return f"{negation}{body}{kind}"


def _ends_in_a_lone_backslash(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1
