"""Parsers for directory listings: of MLSD (RFC 3659 section 7) and of LIST (which has no standard).

A listing decides about removals, so every line of it has to be understood. A listing with a line that is not understood
is *not whole*: the directory then counts as unknown, and nothing in it may be removed.

Names come from anyone who can write to the server. A name with a slash would lead out of the directory, and one with a
line break can forge a second entry. Neither becomes an entry, and a listing that contains one is not whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Kind
from actorsync.model.text import display, shorten
from actorsync.protocols.ftp.replies import parse_mdtm_time
from actorsync.protocols.ftp.wire import Reply

__all__ = [
    "ListedEntry",
    "ParsedListing",
    "disguised_links",
    "mlst_entry",
    "mlst_kind",
    "parse_list",
    "parse_mlsd",
    "shows_name",
]

_SHOWN = 200  # characters of a line in a problem
_MAX_PROBLEMS = 20  # so that 100,000 lines in an unknown format do not become 100,000 problems


@frozen
class ListedEntry:
    """One name in a directory, as the server describes it. A fact that it does not send is None.

    Only files have a size. Entries of LIST never have a time. ``mode`` has the nine permission bits. ``unique``
    identifies a file or directory under all of its names (RFC 3659 section 7.5.2). ``perm`` is what may be done with it
    (section 7.5.5). None of these takes part in comparisons.
    """

    name: str
    kind: Kind
    size: int | None = None
    mtime_ns: int | None = None
    mode: int | None = attrs.field(default=None, eq=False)
    unique: str | None = attrs.field(default=None, eq=False)
    perm: str = attrs.field(default="", eq=False)


@frozen
class ParsedListing:
    """The result of parsing one listing.

    ``is_whole`` says that every line was understood. If not, ``problems`` has the reasons, escaped for display.
    ``has_dot_entries`` says that the directory itself (and for LIST its parent, too) was listed. Only this tells LIST's
    answer for an empty directory from that for an unreadable one: both are empty, and both end with 226. MLSD refuses
    unreadable directories instead. pyftpdlib's MLSD never has these entries, nor has LIST in DOS form.
    """

    entries: tuple[ListedEntry, ...]
    has_dot_entries: bool
    is_whole: bool
    problems: tuple[str, ...]
    is_dos: bool = attrs.field(default=False, eq=False)
    """Whether every line was in DOS form. Such listings have no dot entries."""
    own_perm: str = attrs.field(default="", eq=False)
    """What may be done with the directory itself, as far as its own entry tells."""


def disguised_links(parsed: ParsedListing) -> set[str]:
    """Return the names of directories that have the permissions of files, if another directory has those of one.

    So ProFTPD shows links to directories where it is told to hide them.
    """
    directories = [entry for entry in parsed.entries if entry.kind is Kind.DIRECTORY]
    if not any("e" in perm or "l" in perm for perm in (parsed.own_perm, *(it.perm for it in directories))):
        return set()
    return {it.name for it in directories if not _FILE_PERM.isdisjoint(it.perm) and _DIRECTORY_PERM.isdisjoint(it.perm)}


def shows_name(name: str, names: Collection[str], *, shows_dots: bool) -> bool:
    """Return whether a listing with ``names`` would also show ``name``, so that its absence means something.

    Some servers hide names that begin with a dot, and some print ``?`` or U+FFFD for what is not ASCII. ``shows_dots``
    says that another listing of the server has shown a name that begins with a dot.
    """
    if name.startswith(".") and not (shows_dots or any(other.startswith(".") for other in names)):
        return False
    return name.isascii() or not any("?" in other or "\ufffd" in other for other in names)


def parse_mlsd(data: bytes) -> ParsedListing:
    """Parse a listing of MLSD. Never raises: a line that is not understood becomes a problem."""
    return _parse(data, _mlsd_entry, needed_dots=1)


def parse_list(data: bytes) -> ParsedListing:
    """Parse a listing of LIST, in the form of Unix' ``ls -l`` or of DOS. Never raises.

    Its times are left out: they are in an unknown time zone, and precise to the minute at best, to the day for old
    files. Use MDTM where a time is needed.
    """
    return _parse(data, _list_entry, needed_dots=2)


_FORBIDDEN = re.compile(r"[/\0\r\n]")

#: Permissions that only a file has, and those that only a directory has.
_FILE_PERM = frozenset("arw")
_DIRECTORY_PERM = frozenset("celmp")


class _NotUnderstoodError(Exception):
    """Raised with the reason when a line is no entry."""


def _parse(data: bytes, read: Callable[[str], ListedEntry | None], *, needed_dots: int) -> ParsedListing:
    problems: list[str] = []
    entries: list[ListedEntry] = []
    dots: dict[str, str] = {}
    lines = _lines(data, problems)
    for line in lines:
        try:
            entry = read(line)
            if entry is None:
                continue
            if entry.kind is Kind.DIRECTORY and entry.name in {".", ".."}:
                dots[entry.name] = entry.perm
                continue
            _check_name(entry.name)
        except _NotUnderstoodError as error:
            problems.append(f'{error}: "{shorten(display(line), _SHOWN)}"')
        else:
            entries.append(entry)
    names = [entry.name for entry in entries]
    repeated = {name for name, count in Counter(names).items() if count > 1} if len(set(names)) < len(names) else set()
    problems += [f'listed more than once: "{shorten(display(name), _SHOWN)}"' for name in sorted(repeated)]
    if len(problems) > _MAX_PROBLEMS:
        problems[_MAX_PROBLEMS:] = [f"and {len(problems) - _MAX_PROBLEMS} more"]
    return ParsedListing(
        entries=tuple(entry for entry in entries if entry.name not in repeated) if repeated else tuple(entries),
        has_dot_entries=len(dots) >= needed_dots,
        is_whole=not problems,
        problems=tuple(problems),
        is_dos=needed_dots == 2 and bool(lines) and all(map(_DOS.fullmatch, lines)),
        own_perm=dots.get(".", ""),
    )


def _lines(data: bytes, problems: list[str]) -> list[str]:
    """Split at CRLF only, as a lone CR or LF is part of a name. A listing without any CRLF is split at LF.

    A last line without its end is a problem: the connection broke, and a name that was cut short is another name.
    """
    end = b"\r\n" if b"\r\n" in data else b"\n"
    *lines, rest = data.split(end)
    if rest:
        problems.append(f'ends in the middle of a line: "{_shown(rest)}"')
    return [line.decode("utf-8", "surrogateescape") for line in lines if line]


def _shown(data: bytes) -> str:
    return shorten(display(data[: 4 * _SHOWN].decode("utf-8", "surrogateescape")), _SHOWN)


def _check_name(name: str) -> None:
    if name in {"", ".", ".."}:
        raise _NotUnderstoodError("an empty or reserved name")
    # A backslash is allowed: servers that can store one treat it as any other character.
    if forbidden := _FORBIDDEN.search(name):
        raise _NotUnderstoodError(f"a name with {forbidden[0]!r}")


# --- MLSD

_MLSD_KINDS = {"file": Kind.FILE, "dir": Kind.DIRECTORY}
_MLSD_DOTS = {"cdir": ".", "pdir": ".."}
#: Facts of which some have a space. Only the values of these few may: other text with a space may be the name.
_FACTS_WITH_SPACES = re.compile(
    r"((?:[a-z0-9.-]++=(?>(?<=name=)[^;]*|(?<=type=)os\.unix=s(?:ym)?link:[^;]*|[^; ]*);)++) ", re.IGNORECASE
)
_MLSD_LINKS = ("os.unix=slink", "os.unix=symlink")
_SIZE = re.compile(r"[0-9]{1,19}")
#: Octal; pyftpdlib writes it as Python does: "0o644".
_MODE = re.compile(r"(?:0o)?[0-7]{1,7}")


def _mlsd_entry(line: str) -> ListedEntry:
    # The facts end at the first space. Some servers send spaces inside: a group "domain users", the target of a link.
    if match := _FACTS_WITH_SPACES.match(line):
        head, name = match[1], line[match.end() :]
    else:
        head, _, name = line.partition(" ")
        if not head.endswith(";") and ";" in name:
            raise _NotUnderstoodError("facts and name cannot be told apart")
    facts = {key.lower(): value for key, _, value in [fact.partition("=") for fact in head.split(";")]}
    if (type_ := facts.get("type", "").lower()) == "":
        raise _NotUnderstoodError("an entry without a type")
    if dot := _MLSD_DOTS.get(type_):
        # Some servers send the full path as its name.
        return ListedEntry(dot, Kind.DIRECTORY, perm=facts.get("perm", "").lower())
    is_link = type_.startswith(_MLSD_LINKS)
    kind = Kind.LINK if is_link else _MLSD_KINDS.get(type_, Kind.OTHER)
    size = facts.get("size") if kind is Kind.FILE else None
    if size is not None and not _SIZE.fullmatch(size):
        raise _NotUnderstoodError("an invalid size")
    return ListedEntry(
        name=name,
        kind=kind,
        size=None if size is None else int(size),
        mtime_ns=parse_mdtm_time(facts.get("modify", "")),
        mode=int(mode, 8) & 0o777 if _MODE.fullmatch(mode := facts.get("unix.mode", "")) else None,
        unique=facts.get("unique") or None,
        perm=facts.get("perm", "").lower(),
    )


def mlst_kind(reply: Reply) -> Kind | None:
    """Read the kind of a path from the reply to MLST. None: refused, or not understood."""
    found = mlst_entry(reply)
    return None if found is None else found.kind


def mlst_entry(reply: Reply) -> ListedEntry | None:
    """Read the facts of a path from the reply to MLST. None: refused, or not understood.

    The facts are those of a listing. The name may have any form, and must not be used.
    """
    # RFC 3659 wants one line that begins with a space, between two others. Some servers leave the space out, and send
    # an empty line behind.
    described = [line for line in (line.lstrip(" ") for line in reply.lines[1:-1]) if line]
    if not reply.is_positive or len(described) != 1:
        return None
    try:
        return _mlsd_entry(described[0])
    except _NotUnderstoodError:
        return None


# --- LIST

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = r"[0-9]{1,2}"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}"
_DATE = "|".join(
    (
        rf"{_MONTH} +{_DAY} +(?:{_CLOCK}|[0-9]{{4}})",
        rf"{_DAY} +{_MONTH} +(?:{_CLOCK}|[0-9]{{4}})",
        rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} +{_CLOCK}(?::[0-9]{{2}}(?:\.[0-9]+ +[+-][0-9]{{4}})?)?",
    )
)
# The columns up to the date are counted: the number of links, the owner, and the group, which may be missing or contain
# a space. If they could be anything, a name that looks like columns could pass for columns that were not understood.
# One space ends the date. Further spaces belong to the name.
_UNIX = re.compile(
    r"(?P<kind>[-a-zA-Z])(?P<rights>[-rwxsStTlL]{9})[.+@]? *[0-9]+ +(?:[^ ]+ +){0,3}?"
    rf"(?P<size>[0-9]{{1,19}}|[0-9]+, *[0-9]+) +(?i:{_DATE}) (?P<name>.*)",
    re.DOTALL,
)
_UNIX_KINDS = {"-": Kind.FILE, "d": Kind.DIRECTORY, "l": Kind.LINK}

# IIS pads <DIR> with ten spaces, to the width of its column of sizes, which ends with one space.
_DOS = re.compile(
    rf"(?:[0-9]{{2}}-[0-9]{{2}}-(?:[0-9]{{4}}|[0-9]{{2}})|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}) +{_CLOCK} ?(?i:[AP]M)? +"
    r"(?:(?P<size>[0-9]{1,19}) |<(?P<tag>[A-Z]+)> {1,10})(?P<name>.*)",
    re.DOTALL,
)
_DOS_KINDS = {
    None: Kind.FILE,
    "DIR": Kind.DIRECTORY,
    "JUNCTION": Kind.LINK,
    "SYMLINK": Kind.LINK,
    "SYMLINKD": Kind.LINK,
}

_TOTAL = re.compile(r"total [0-9]+", re.IGNORECASE)


def _mode_of(rights: str) -> int:
    """Return the mode that nine letters stand for. ``s`` and ``t`` in place of ``x`` mean that it is set as well."""
    return sum(0o400 >> place for place, letter in enumerate(rights) if letter in "rwxst")


def _list_entry(line: str) -> ListedEntry | None:
    mode = None
    if match := _UNIX.fullmatch(line):
        kind = _UNIX_KINDS.get(match["kind"], Kind.OTHER)
        name = _link_name(match["name"]) if kind is Kind.LINK else match["name"]
        mode = _mode_of(match["rights"])
    elif match := _DOS.fullmatch(line):
        kind, name = _DOS_KINDS.get(match["tag"], Kind.OTHER), match["name"]
    elif _TOTAL.fullmatch(line):
        return None
    else:
        raise _NotUnderstoodError("a line that is not understood")
    size = match["size"] if kind is Kind.FILE else None
    if size is not None and not _SIZE.fullmatch(size):
        raise _NotUnderstoodError("an invalid size")
    return ListedEntry(name, kind, None if size is None else int(size), mode=mode)


def _link_name(text: str) -> str:
    name, *targets = text.split(" -> ")
    if len(targets) > 1:
        raise _NotUnderstoodError("name and target of a link cannot be told apart")
    return name
