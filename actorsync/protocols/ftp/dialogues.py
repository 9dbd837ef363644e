"""Dialogues with an FTP server, each a generator that does no I/O (see `actorsync.protocols.ftp.wire`).

Every dialogue here keeps these rules:

* All lines are built before the first flight is sent. A name that cannot be sent raises `OperationRefused` for the
  whole batch, and nothing has happened. `why_unsendable` finds such a name beforehand.
* Flights are bursts that any server can take.
* Every reply is `checked`: 421 raises `ConnectionLost`, a code that the command cannot have raises `ProtocolError`.
* A dialogue can be repeated over a new connection after one was lost at any point, with the same result. So a refusal
  is not final: servers answer 550 to making a directory that exists and to removing a file that does not, and the text
  does not tell. A second flight then looks what exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import attrs

from actorsync.errors import ConnectionLost, LoginRefused
from actorsync.model.entry import Kind
from actorsync.protocols.ftp.flights import OutOfStep
from actorsync.protocols.ftp.listing import mlst_kind
from actorsync.protocols.ftp.replies import (
    Features,
    checked,
    parse_features,
    parse_mdtm_time,
    parse_working_directory,
    set_mode_line,
    size_of,
)
from actorsync.protocols.ftp.wire import Dialogue, ProtocolError, Reply, bursts, command_line, verb_of, why_unsendable

__all__ = [
    "CHECK_LOGIN",
    "disarm_rename",
    "exchange",
    "facts",
    "introduce",
    "login",
    "looks",
    "make_directories",
    "move_files",
    "protect_data",
    "put_back",
    "put_directory_back",
    "read_facts",
    "remove_directories",
    "remove_files",
    "rename_outcome",
    "set_modes",
    "sizes",
    "whereabouts",
]

#: The way out of a refused login that has no other cause.
CHECK_LOGIN: Final = "; check user and password"


def exchange(units: Iterable[tuple[bytes, ...]]) -> Dialogue[list[Reply]]:
    """Send every line of ``units`` in as few flights as servers can take. Returns the checked replies in order."""
    replies: list[Reply] = []
    for flight in bursts(units):
        answers = yield flight
        replies.extend(checked(verb_of(line), answer) for line, answer in zip(flight, answers, strict=True))
    return replies


def login(user: str, password: str) -> Dialogue[None]:
    """Log in. Returns when the server has accepted the login.

    The password is never part of an error, even when the server repeats it.

    Raises:
        LoginRefused: The server refuses the user or the password, or requires an account. ProFTPD sends 530 also when
            there are too many connections: a caller that has logged in before can tell the two apart.
        ConnectionLost: The server refuses for now.
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
            raise LoginRefused(f"the server refuses the login: {reply}{CHECK_LOGIN}")
        if reply.code == 332:
            raise LoginRefused(f"the server requires an account, which actorsync cannot send: {reply}")


def _without(secret: str, reply: Reply) -> Reply:
    if not secret:
        return reply
    return attrs.evolve(reply, lines=tuple(line.replace(secret, "***") for line in reply.lines))


def protect_data() -> Dialogue[None]:
    """Request TLS on the data connections as well (RFC 4217). Played under TLS, before the login.

    Raises:
        LoginRefused: The server accepts files in clear only.
    """
    # PBSZ has no effect under TLS, but servers refuse PROT without it.
    _, prot = yield [command_line("PBSZ", "0"), command_line("PROT", "P")]
    if not checked("PROT", prot).is_positive:
        raise LoginRefused(f'the server does not protect data connections: PROT P was answered with "{prot}"')


#: The facts that are read. Some servers send ``unique`` only on request.
_FACTS: Final = "type;size;modify;unique;unix.mode;"
_INTRODUCTION = tuple(
    command_line(verb, argument)
    # OPTS UTF8 ON is for IIS and old servers, which otherwise use a code page. Other servers refuse it without harm.
    for verb, argument in (
        ("FEAT", None),
        ("TYPE", "I"),
        ("PWD", None),
        ("OPTS", "UTF8 ON"),
    )
)


def introduce(*, asks_perm: bool = False) -> Dialogue[Features]:
    """Ask for the server's features, and set binary mode and UTF-8. One flight, once after each login.

    With ``asks_perm``, listings are to have the fact ``perm`` as well, which ProFTPD needs to tell links.

    Raises:
        ProtocolError: The server has no binary mode. Without it, contents and sizes would be wrong.
        ConnectionLost: The server refuses binary mode for now.
    """
    wanted = command_line("OPTS", f"MLST {_FACTS}perm;" if asks_perm else f"MLST {_FACTS}")
    feat, binary, directory, *_ = yield from exchange([(*_INTRODUCTION, wanted)])
    if not binary.is_positive:
        kind = ConnectionLost if binary.is_transient else ProtocolError
        raise kind(f"the server refuses binary mode: {binary}")
    return attrs.evolve(parse_features(feat), working_directory=parse_working_directory(directory))


def sizes(paths: Iterable[str]) -> Dialogue[list[int | None]]:
    """Return the size of each file; None where the server shows none, as there is no such file."""
    replies = yield from exchange([(command_line("SIZE", path),) for path in paths])
    return [size_of(reply) for reply in replies]


def facts(paths: Iterable[str]) -> Dialogue[list[tuple[int, int | None] | None]]:
    """Return size and time (nanoseconds, UTC) of each file; None where there is no size. A time may be None.

    For servers without MLST, and for single files.
    """
    units = [(command_line("SIZE", path), command_line("MDTM", path)) for path in paths]
    replies = yield from exchange(units)
    return [read_facts(size, time) for size, time in _pairs(replies)]


def read_facts(size_reply: Reply, time_reply: Reply) -> tuple[int, int | None] | None:
    """Read size and time from the checked replies to SIZE and MDTM, in the form of `facts`."""
    size = size_of(size_reply)
    mtime_ns = parse_mdtm_time(time_reply.text.strip(" ")) if time_reply.is_positive else None
    return None if size is None else (size, mtime_ns)


def whereabouts(replies: Sequence[Reply]) -> list[str | None]:
    """Read the directory after each CWD from the replies to pairs of CWD and PWD; None where it is not known."""
    pairs = [(checked("CWD", cwd), checked("PWD", pwd)) for cwd, pwd in _pairs(replies)]
    return [parse_working_directory(pwd) if cwd.is_positive else None for cwd, pwd in pairs]


def make_directories(
    paths: Sequence[str], *, mlst: bool = False, made: Callable[[str], None] | None = None
) -> Dialogue[list[Reply | None]]:
    """Make directories, in order. Returns None for each that exists now, or the server's refusal.

    Paths are absolute. ``made`` is called with each directory that did not exist before. ``mlst`` says that the server
    has MLST, which then shows what exists. Without it a directory exists when it can be entered, and afterwards the
    session stands in the root directory.
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


def remove_files(paths: Sequence[str], *, trusts_looks: bool = True) -> Dialogue[list[Reply | None]]:
    """Remove files. Returns None for each that no longer exists, or the server's refusal.

    With ``trusts_looks`` the server has shown a size before, so a file whose size it refuses with 550 does not exist.
    """
    probes = [command_line("SIZE", path) for path in paths]
    replies = yield from exchange([(command_line("DELE", path),) for path in paths])
    return (yield from _refusals_to_remove(probes, replies, trusts_looks=trusts_looks))


def remove_directories(
    paths: Sequence[str], *, mlst: bool = False, trusts_looks: bool = True
) -> Dialogue[list[Reply | None]]:
    """Remove empty directories, in order. Returns None for each that no longer exists, or the server's refusal.

    Paths and ``mlst`` are as for `make_directories`. A directory that can be neither removed nor entered looks as if it
    did not exist; without ``trusts_looks`` it counts as refused.
    """
    probes = _directory_probes(paths, mlst=mlst)
    replies = yield from exchange([(command_line("RMD", path),) for path in paths])
    return (yield from _refusals_to_remove(probes, replies, trusts_looks=trusts_looks))


def _directory_probes(paths: Sequence[str], *, mlst: bool) -> list[bytes]:
    # Not CWD where there is MLST: Pure-FTPd delays each CWD that fails by another 0.1 s, so 64 take three minutes.
    if not all(path.startswith("/") for path in paths):
        raise ValueError("a relative path means another directory after the first CWD")
    return [command_line("MLST" if mlst else "CWD", path) for path in paths]


def _is_directory(look: Reply, *, mlst: bool) -> bool:
    return look.is_positive and (not mlst or mlst_kind(look) is Kind.DIRECTORY)


def _look(probes: Sequence[bytes], replies: Sequence[Reply]) -> Dialogue[list[Reply | None]]:
    """Send the probe of each path that was refused. Returns the answers, None for the other paths."""
    looks: list[Reply | None] = [None] * len(replies)
    refused = [index for index, reply in enumerate(replies) if reply.is_refusal]
    units = [(probes[index],) for index in refused]
    if units and verb_of(units[0][0]) == "CWD":
        # Leave a directory that may be removed, so that the current directory is known.
        units.append((command_line("CWD", "/"),))
    answers = yield from exchange(units)
    for index, answer in zip(refused, answers, strict=False):
        looks[index] = answer
    return looks


def _refusals_to_remove(
    probes: Sequence[bytes], replies: Sequence[Reply], *, trusts_looks: bool
) -> Dialogue[list[Reply | None]]:
    """Return the refusals, without those of paths that no longer exist.

    A path does not exist when the probe gets 550, and the server is known to answer such probes. The refusal itself
    must be 550, or 553 for a name that the server does not allow. 450 mostly means busy, and 500 and 502 mean that the
    server has no such command. Servers differ, so a caller looks for what is refused in a listing.
    """
    looks = (yield from _look(probes, replies)) if trusts_looks else [None] * len(replies)
    return [
        None if reply.is_positive or (reply.code in {550, 553} and look and look.code == 550) else reply
        for reply, look in zip(replies, looks, strict=True)
    ]


def rename_outcome(rnfr: Reply, rnto: Reply) -> Reply | None:
    """Return the refusal in the checked replies to one RNFR and RNTO of one flight; None when the rename is done.

    Raises:
        OutOfStep: RNFR was refused and RNTO was done. An older RNFR was still armed, and another file now has this
            name. Or RNFR was accepted and RNTO found none: the server took it first.
    """
    if rnfr.is_refusal and rnto.is_positive:
        raise OutOfStep(f'the server renamed another file than requested: "{rnfr}", then "{rnto}"')
    if not rnfr.is_refusal and rnto.code == 503:
        raise OutOfStep(f'answers out of step: RNTO was answered with "{rnto}" after "{rnfr}"')
    return rnfr if rnfr.is_refusal else rnto if rnto.is_refusal else None


def move_files(pairs: Sequence[tuple[str, str]]) -> Dialogue[list[tuple[Reply | None, tuple[int, int | None] | None]]]:
    """Rename files, many in a flight. Returns, for each, None or the refusal, and the facts of the new name.

    An impossible rename follows each one, so that no RNFR stays armed for the next (see `disarm_rename`). Normally the
    server refuses it as out of sequence.
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


def put_back(aside: str, final: str) -> Dialogue[Reply | None]:
    """Restore the name of a file that was set aside, where nothing has it. Returns None when done, or the refusal."""
    rnfr, rnto = yield from exchange([(command_line("RNFR", aside), command_line("RNTO", final))])
    refusal = rename_outcome(rnfr, rnto)
    if refusal is not None and not rnfr.is_refusal:
        yield from disarm_rename()
    return refusal


def set_modes(changes: Sequence[tuple[str, int]]) -> Dialogue[list[Reply]]:
    """Set permissions, and return the replies. The server follows links."""
    return (yield from exchange([(set_mode_line(path, mode),) for path, mode in changes]))


def looks(paths: Sequence[str]) -> Dialogue[list[Reply]]:
    """Return the reply to MLST for each path."""
    return (yield from exchange([(command_line("MLST", path),) for path in paths]))


def put_directory_back(aside: str, final: str) -> Dialogue[None]:
    """Restore the name of a directory that was set aside, if there is one. Servers show no size for it.

    No directory that holds anything can be replaced by another.
    """
    (rnfr,) = yield from exchange([(command_line("RNFR", aside),)])
    if rnfr.is_refusal:
        return
    (rnto,) = yield from exchange([(command_line("RNTO", final),)])
    if rnto.is_refusal:
        yield from disarm_rename()


def disarm_rename() -> Dialogue[None]:
    """Ensure that no RNFR is left armed. Needed once after a refused RNTO whose RNFR was accepted.

    Pure-FTPd keeps the RNFR armed when it refuses a prohibited name (553, such as one with a backslash). All servers
    but vsftpd keep it armed when the next RNFR is refused. With the next pair in the same flight, the old file would
    then get the next file's name. A rename onto the root cannot succeed, and disarms every server that was tested.
    """
    (reply,) = yield from exchange([(command_line("RNTO", "/"),)])
    if not reply.is_refusal:
        raise ProtocolError(f'the server renamed something onto its root directory: "{reply}"')


def _pairs(replies: Sequence[Reply]) -> Iterator[tuple[Reply, Reply]]:
    return zip(replies[::2], replies[1::2], strict=True)
