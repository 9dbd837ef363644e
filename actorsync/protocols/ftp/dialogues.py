"""Conversations with an FTP server, each a generator that does no I/O (see `actorsync.protocols.ftp.wire`).

What every dialogue here keeps:

* Lines are built before the first flight goes out. A name that cannot be sent raises `OperationRefused` for the
  whole batch while nothing has happened; `why_unsendable` tells beforehand which name it would be.
* Flights are bursts that any server can take.
* Every reply is `checked`: 421 raises `ConnectionLost`, a code that the command cannot have `ProtocolError`.
* Done again over a new connection after one was lost at any point, it comes to the same end. That is why a refusal
  is never the last word: servers answer 550 to making what is there and to removing what is gone, and the text
  is no help, so a second flight looks what is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.model.entry import Kind
from actorsync.protocols.ftp.listing import mlst_kind
from actorsync.protocols.ftp.replies import (
    Features,
    checked,
    parse_features,
    parse_mdtm_time,
    parse_working_directory,
    size_of,
)
from actorsync.protocols.ftp.wire import Dialogue, ProtocolError, Reply, bursts, command_line, verb_of, why_unsendable

__all__ = [
    "disarm_rename",
    "exchange",
    "facts",
    "introduce",
    "login",
    "make_directories",
    "move_files",
    "protect_data",
    "put_back",
    "read_facts",
    "remove_directories",
    "remove_files",
    "rename_outcome",
    "sizes",
    "whereabouts",
]


def exchange(units: Iterable[tuple[bytes, ...]]) -> Dialogue[list[Reply]]:
    """Send every line of ``units`` in as few flights as servers can take, and give the checked replies in order."""
    replies: list[Reply] = []
    for flight in bursts(units):
        answers = yield flight
        replies.extend(checked(verb_of(line), answer) for line, answer in zip(flight, answers, strict=True))
    return replies


def login(user: str, password: str) -> Dialogue[None]:
    """Log in. When it returns, we are in.

    The password never stands in an error, not even when the server repeats it.

    Raises:
        LoginRefused: the server refuses the user, the password, or wants more than these two. ProFTPD also says
            530 when there are too many connections: who has logged in before with the same password knows better.
        ConnectionLost: the server refuses for now.
    """
    for what, text, verb in (("user name", user, "USER"), ("password", password, "PASS")):
        if why := why_unsendable(text, verb=verb):
            raise LoginRefused(f"this {what} cannot be sent over FTP: {why}")
    for verb, text in (("USER", user), ("PASS", password)):
        (answer,) = yield [command_line(verb, text)]
        reply = checked(verb, _without(password, answer))
        if reply.is_positive:
            return
        if reply.is_transient:
            raise ConnectionLost(f"the server refuses the login for now: {reply}")
        if reply.is_permanent:
            raise LoginRefused(f"the server refuses the login: {reply}")
        if reply.code == 332:
            raise LoginRefused(f"the server wants an account besides user and password: {reply}")


def _without(secret: str, reply: Reply) -> Reply:
    if not secret:
        return reply
    return attrs.evolve(reply, lines=tuple(line.replace(secret, "***") for line in reply.lines))


def protect_data() -> Dialogue[None]:
    """Have the data connections under TLS as well (RFC 4217). Played under TLS, before the login.

    Raises:
        LoginRefused: the server would take files in clear only.
    """
    # PBSZ says nothing that is not known, but PROT is refused without it.
    _, prot = yield [command_line("PBSZ", "0"), command_line("PROT", "P")]
    if not checked("PROT", prot).is_positive:
        raise LoginRefused(f'the server does not protect data connections: PROT P was answered with "{prot}"')


_INTRODUCTION = tuple(
    command_line(verb, argument)
    # OPTS UTF8 ON is for IIS and old servers, which otherwise speak a code page. Where it is not known it is refused,
    # which does no harm. OPTS MLST asks for the facts that are read, of which some servers give ``unique`` only then.
    for verb, argument in (
        ("FEAT", None),
        ("TYPE", "I"),
        ("PWD", None),
        ("OPTS", "UTF8 ON"),
        ("OPTS", "MLST type;size;modify;unique;"),
    )
)


def introduce() -> Dialogue[Features]:
    """Ask the server what it can, and set the connection up: binary, UTF-8. One flight, once after each login.

    Raises:
        ProtocolError: there is no binary mode. Without it, files and sizes come out wrong.
        ConnectionLost: there is none for now.
    """
    feat, binary, directory, *_ = yield from exchange([_INTRODUCTION])
    if not binary.is_positive:
        kind = ConnectionLost if binary.is_transient else ProtocolError
        raise kind(f"the server refuses binary mode: {binary}")
    return attrs.evolve(parse_features(feat), working_directory=parse_working_directory(directory))


def sizes(paths: Iterable[str]) -> Dialogue[list[int | None]]:
    """Give the size of each file, ``None`` where the server does not say: gone, or no file."""
    replies = yield from exchange([(command_line("SIZE", path),) for path in paths])
    return [size_of(reply) for reply in replies]


def facts(paths: Iterable[str]) -> Dialogue[list[tuple[int, int | None] | None]]:
    """Give size and time (nanoseconds, UTC) of each file, ``None`` where there is no size; a time may be ``None``.

    For servers without MLST, and for single files.
    """
    units = [(command_line("SIZE", path), command_line("MDTM", path)) for path in paths]
    replies = yield from exchange(units)
    return [read_facts(size, time) for size, time in _pairs(replies)]


def read_facts(size_reply: Reply, time_reply: Reply) -> tuple[int, int | None] | None:
    """Read size and time from the checked replies to SIZE and MDTM, as `facts` gives them."""
    size = size_of(size_reply)
    mtime_ns = parse_mdtm_time(time_reply.text.strip(" ")) if time_reply.is_positive else None
    return None if size is None else (size, mtime_ns)


def whereabouts(replies: Sequence[Reply]) -> list[str | None]:
    """Read where each CWD has led, from the replies to pairs of CWD and PWD; ``None`` where it led nowhere."""
    pairs = [(checked("CWD", cwd), checked("PWD", pwd)) for cwd, pwd in _pairs(replies)]
    return [parse_working_directory(pwd) if cwd.is_positive else None for cwd, pwd in pairs]


def make_directories(
    paths: Sequence[str], *, mlst: bool = False, made: Callable[[str], None] | None = None
) -> Dialogue[list[Reply | None]]:
    """Make directories, in order. ``None`` for each that is there now, whoever made it, or the server's refusal.

    ``made`` is told of each that was not there before.
    Paths are absolute. ``mlst`` says that the server has MLST, which is then used to look what is there. Without it a
    directory is there when it can be entered, and afterwards the session stands in the root directory.
    """
    probes = _directory_probes(paths, mlst=mlst)
    replies = yield from exchange([(command_line("MKD", path),) for path in paths])
    for path, reply in zip(paths, replies, strict=True):
        if made is not None and reply.is_positive:
            made(path)
    looks = yield from _look(probes, replies)
    return [
        None if reply.is_positive or (look and _is_directory(look, mlst=mlst)) else reply
        for reply, look in zip(replies, looks, strict=True)
    ]


def remove_files(paths: Sequence[str]) -> Dialogue[list[Reply | None]]:
    """Remove files. ``None`` for each that is gone now, whoever removed it, or the server's refusal."""
    probes = [command_line("SIZE", path) for path in paths]
    replies = yield from exchange([(command_line("DELE", path),) for path in paths])
    return (yield from _refusals_to_remove(probes, replies))


def remove_directories(paths: Sequence[str], *, mlst: bool = False) -> Dialogue[list[Reply | None]]:
    """Remove empty directories, in order. ``None`` for each that is gone now, or the server's refusal.

    Paths and ``mlst`` are as for `make_directories`. Without MLST, a directory that the server lets us neither
    remove nor enter looks as if it were gone.
    """
    probes = _directory_probes(paths, mlst=mlst)
    replies = yield from exchange([(command_line("RMD", path),) for path in paths])
    return (yield from _refusals_to_remove(probes, replies))


def _directory_probes(paths: Sequence[str], *, mlst: bool) -> list[bytes]:
    # Pure-FTPd holds back the answer to each CWD that fails, 0.1 s longer every time: 64 of them take three minutes.
    if not all(path.startswith("/") for path in paths):
        raise ValueError("a relative path means another directory after the first CWD")
    return [command_line("MLST" if mlst else "CWD", path) for path in paths]


def _is_directory(look: Reply, *, mlst: bool) -> bool:
    return look.is_positive and (not mlst or mlst_kind(look) is Kind.DIRECTORY)


def _look(probes: Sequence[bytes], replies: Sequence[Reply]) -> Dialogue[list[Reply | None]]:
    """Send the probe of each path that was refused, and give what it was answered, ``None`` for the others."""
    looks: list[Reply | None] = [None] * len(replies)
    refused = [index for index, reply in enumerate(replies) if reply.is_refusal]
    units = [(probes[index],) for index in refused]
    if units and verb_of(units[0][0]) == "CWD":
        # Not to stay in a directory that is to be removed, nor to leave where we stand to chance.
        units.append((command_line("CWD", "/"),))
    answers = yield from exchange(units)
    for index, answer in zip(refused, answers, strict=False):
        looks[index] = answer
    return looks


def _refusals_to_remove(probes: Sequence[bytes], replies: Sequence[Reply]) -> Dialogue[list[Reply | None]]:
    """Only the look says gone, and only with 550. 450 is busy, 500 and 502 say that the server has no such command.

    553 is for a name that the server does not allow: whether there is such a file, the look tells all the same.
    """
    looks = yield from _look(probes, replies)
    return [
        None if reply.is_positive or (reply.code in {550, 553} and look and look.code == 550) else reply
        for reply, look in zip(replies, looks, strict=True)
    ]


def rename_outcome(rnfr: Reply, rnto: Reply) -> Reply | None:
    """Give what the checked replies to one RNFR and RNTO, sent in one flight, come to: ``None`` done, or the refusal.

    Raises:
        ProtocolError: RNFR was refused and RNTO done all the same: an older RNFR was still armed, and another file
            now has this name.
    """
    if rnfr.is_refusal and rnto.is_positive:
        raise ProtocolError(f'the server renamed another file than it was told: "{rnfr}", then "{rnto}"')
    return rnfr if rnfr.is_refusal else rnto if rnto.is_refusal else None


def move_files(pairs: Sequence[tuple[str, str]]) -> Dialogue[list[tuple[Reply | None, tuple[int, int | None] | None]]]:
    """Rename files, many in a flight. For each ``None`` or the refusal, and what the server then shows as the new name.

    Behind each there is a rename that cannot be: it leaves no RNFR armed which the next one might find (see
    `disarm_rename`). Where all is well it is refused as out of sequence.
    """
    units = [
        (
            command_line("RNFR", old),
            command_line("RNTO", new),
            command_line("RNTO", "/"),
            command_line("SIZE", new),
            command_line("MDTM", new),
        )
        for old, new in pairs
    ]
    replies = iter((yield from exchange(units)))
    results: list[tuple[Reply | None, tuple[int, int | None] | None]] = []
    for rnfr, rnto, disarmed, size, time in zip(*[replies] * 5, strict=True):
        if not disarmed.is_refusal:
            raise ProtocolError(f'the server renamed something onto its root directory: "{disarmed}"')
        results.append((rename_outcome(rnfr, rnto), read_facts(size, time)))
    return results


def put_back(pairs: Sequence[tuple[str, str]]) -> Dialogue[list[Reply | None]]:
    """Give files that were set aside their names back; where there is a file of that name again, remove them.

    ``pairs`` are of the path aside and the path that it had. ``None`` for each that is no longer aside, or the refusal.
    """
    found = yield from sizes([path for pair in pairs for path in pair])
    refusals: list[Reply | None] = []
    for (aside, final), left, there in zip(pairs, found[::2], found[1::2], strict=True):
        refusal = None
        if left is not None and there is not None:
            (refusal,) = yield from remove_files([aside])
        elif left is not None:
            rnfr, rnto = yield from exchange([(command_line("RNFR", aside), command_line("RNTO", final))])
            refusal = rename_outcome(rnfr, rnto)
            if refusal is not None and not rnfr.is_refusal:
                yield from disarm_rename()
        refusals.append(refusal)
    return refusals


def disarm_rename() -> Dialogue[None]:
    """Make sure that no RNFR is left armed. Needed once after a refused RNTO whose RNFR was accepted.

    Pure-FTPd refuses a name that it prohibits (553, such as one with a backslash) without forgetting the RNFR, and
    no server but vsftpd forgets it for an RNFR that is refused: with the next pair in flight, the old file would
    get the next file's name. A rename onto the root cannot succeed, and disarms on every server that was tried.
    """
    (reply,) = yield from exchange([(command_line("RNTO", "/"),)])
    if not reply.is_refusal:
        raise ProtocolError(f'the server renamed something onto its root directory: "{reply}"')


def _pairs(replies: Sequence[Reply]) -> Iterator[tuple[Reply, Reply]]:
    return zip(replies[::2], replies[1::2], strict=True)
