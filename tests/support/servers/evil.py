"""An FTP server with files in memory that answers some commands wrongly, as a test wants.

``answers`` maps a verb to a reply that is sent without executing the command: bytes, or a function of the argument that
returns bytes. The function returns None to execute the command as usual. Tests check ``files`` and ``commands``
afterwards.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import trio

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

__all__ = ["Answer", "EvilServer", "evil_server"]

Answer = bytes | Callable[[str], bytes | None]

_TIME = b"20240229123456"
#: The first byte of a character of three, with a line end in place of the rest.
_CUT_OFF = re.compile(rb"[\xe0-\xef]\r\n")
_FEATURES = b"211-Features\r\n EPSV\r\n MDTM\r\n MFMT\r\n MLST type*;size*;modify*;\r\n SIZE\r\n211 End\r\n"


@attrs.define(eq=False)
class EvilServer:
    """A running server; obtained from `evil_server`."""

    answers: Mapping[str, Answer]
    greeting: bytes = b"220 pyftpdlib? hello\r\n"  # by default a server that is known to take flights
    greets_after: float = 0.0
    listing: bytes | None = None  # sent by MLSD instead of the real listing
    early: bool = False  # send 226 before the data arrives
    tls: ssl.SSLContext | None = None  # used from AUTH TLS on
    is_implicit: bool = False  # use ``tls`` from the first byte
    data_tls: ssl.SSLContext | Literal["as control", "clear"] = "as control"
    says_goodbye: bool = True  # send close_notify at the end of a listing
    room: int | None = None  # bytes for all files; an upload that does not fit fails, and its beginning stays
    limit: int | None = None  # bytes of one file
    full: bytes = b"451 no more"
    date: str = "Jan 1 00:00"  # of every entry in LIST
    folds: bool = False  # names are case-insensitive
    replaces: bool = False  # stores U+FFFD for each character that is not ASCII
    lists_missing: bool = False  # MLSD of a missing directory sends an empty listing, and 226
    list_form: Literal["unix", "dos"] = "unix"
    dash_a: Literal["option", "refused", "file"] = "option"  # what "-a" is to LIST
    hides_dots: bool = False  # listings leave out names that begin with a dot
    shows_ascii: bool = False  # listings show "?" for what is not ASCII
    waits_for_data: bool = False  # after EPSV or PASV, read nothing until the data connection is there
    swallows: bool = False  # read the line end after a byte that is not UTF-8 as a part of the character
    port: int = 0
    host: str = "127.0.0.1"
    files: dict[str, bytes] = attrs.field(factory=dict)
    folders: set[str] = attrs.field(factory=lambda: {"/"})
    times: dict[str, bytes] = attrs.field(factory=dict)
    commands: list[str] = attrs.field(factory=list)
    user: str = "demo"
    password: str = "CANARY-4711"

    def count(self, verb: str) -> int:
        return sum(line.split(" ", 1)[0] == verb for line in self.commands)

    def place(self, path: str) -> str:
        """Return the path of an existing entry that ``path`` refers to, in its own case; otherwise ``path``."""
        if self.replaces:
            path = re.sub("[^ -~]", "\ufffd", path)
        if not self.folds or path in {"", "/"}:
            return path
        above, _, name = path.rpartition("/")
        path = f"{self.place(above)}/{name}".replace("//", "/")
        return next((known for known in [*self.files, *self.folders] if known.lower() == path.lower()), path)

    def most(self, path: str) -> int:
        """Return how many bytes a file can have now."""
        used = sum(len(data) for known, data in self.files.items() if known != path)
        room = 1 << 40 if self.room is None else max(0, self.room - used)
        return min(room, 1 << 40 if self.limit is None else self.limit)

    def shown(self, folder: str) -> bytes:
        """Return the lines of MLSD."""
        inside = folder.rstrip("/") + "/"
        lines = [
            b"type=file;size=%d;modify=%s; %s" % (len(data), self.times.get(path, _TIME), self.printed(path))
            for path, data in self.files.items()
            if self.is_shown(path, inside)
        ]
        lines += [
            b"type=dir; " + self.printed(path)
            for path in self.folders
            if path != inside and self.is_shown(path, inside)
        ]
        return b"".join(line + b"\r\n" for line in lines)

    def is_shown(self, path: str, inside: str) -> bool:
        name = path.removeprefix(inside)
        return path.startswith(inside) and "/" not in name and not (self.hides_dots and name.startswith("."))

    def printed(self, path: str) -> bytes:
        """Return the name of a path as listings show it."""
        name = path.rpartition("/")[2].encode()
        return re.sub(rb"[^ -~]", b"?", name) if self.shows_ascii else name


@attrs.define(eq=False)
class _Session:
    server: EvilServer
    stream: Stream
    listener: socket.socket | None = None
    renamed: str = ""
    folder: str = "/"
    waiting: Stream | None = None  # a data connection for the next transfer

    async def run(self) -> None:
        raw = self.stream
        try:
            if self.server.is_implicit:
                await self.secure()
            await trio.sleep(self.server.greets_after)
            await self.stream.send_all(self.server.greeting)
            rest = b""
            while data := await self.stream.receive_some():
                received = rest + data
                if self.server.swallows:
                    received = _CUT_OFF.sub(b"?", received)
                *lines, rest = received.split(b"\r\n")
                for line in lines:
                    await self.answer(line.decode(errors="surrogateescape"))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        finally:
            if self.listener is not None:
                self.listener.close()
            await trio.aclose_forcefully(raw)

    async def answer(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        self.server.commands.append(line)
        answer = self.server.answers.get(verb)
        reply = answer(argument) if callable(answer) else answer
        if reply is None:
            method = getattr(self, f"do_{verb.lower()}", None)
            reply = b"500 what?" if method is None else await method(argument)
        if reply:
            await self.stream.send_all(reply if reply.endswith(b"\n") else reply + b"\r\n")

    async def secure(self) -> None:
        assert self.server.tls is not None and isinstance(self.stream, trio.SocketStream)
        self.stream = trio.SSLStream(self.stream, self.server.tls, server_side=True)
        await self.stream.do_handshake()

    async def do_auth(self, _: str) -> bytes:
        if self.server.tls is None:
            return b"500 what?"
        await self.stream.send_all(b"234 go on\r\n")
        await self.secure()
        return b""

    async def do_user(self, name: str) -> bytes:
        return b"331 go on"

    async def do_pass(self, word: str) -> bytes:
        return b"230 come in" if word == self.server.password else b"530 no"

    async def do_feat(self, _: str) -> bytes:
        return _FEATURES

    async def do_type(self, _: str) -> bytes:
        return b"200 ok"

    do_opts = do_pbsz = do_prot = do_type

    async def do_pwd(self, _: str) -> bytes:
        return b'257 "%s" is where you are' % self.folder.encode()

    async def do_cwd(self, path: str) -> bytes:
        self.folder = path
        return b"250 ok" if path in self.server.folders else b"550 no"

    async def do_quit(self, _: str) -> bytes:
        return b"221 bye"

    def listen(self) -> int:
        if self.listener is not None:
            self.listener.close()
        self.listener = socket.create_server((self.server.host, 0))
        self.listener.setblocking(False)
        return int(self.listener.getsockname()[1])

    async def do_epsv(self, _: str) -> bytes:
        return await self.passive(b"229 here (|||%d|)" % self.listen())

    async def do_pasv(self, _: str) -> bytes:
        port = self.listen()
        return await self.passive(b"227 here (127,0,0,1,%d,%d)" % (port // 256, port % 256))

    async def passive(self, reply: bytes) -> bytes:
        if not self.server.waits_for_data:
            return reply
        await self.stream.send_all(reply + b"\r\n")
        self.waiting = await self.accept()
        return b""

    async def accept(self) -> Stream:
        if self.waiting is not None:
            stream, self.waiting = self.waiting, None
            return stream
        assert self.listener is not None
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self.listener))
        self.listener = None
        async with listener:
            stream = await listener.accept()
        context = self.server.tls if self.server.data_tls == "as control" else self.server.data_tls
        if not isinstance(context, ssl.SSLContext):
            return stream
        secured = trio.SSLStream(stream, context, server_side=True)
        try:
            await secured.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured

    async def do_mlsd(self, path: str) -> bytes:
        path = self.server.place(path)
        if path not in self.server.folders and not self.server.lists_missing:
            return b"550 no"
        shown = self.server.shown(path) if self.server.listing is None else self.server.listing
        await self.stream.send_all(b"150 now\r\n")
        async with await self.accept() as data:
            await data.send_all(shown)
            if isinstance(data, trio.SSLStream) and not self.server.says_goodbye:
                await data.transport_stream.aclose()
        return b"226 done"

    async def do_list(self, option: str) -> bytes:
        is_unix, date = self.server.list_form == "unix", self.server.date
        lines = [f"drwxr-xr-x 2 o g 0 {date} {name}".encode() for name in (".", "..") if is_unix]
        facts = [fact.decode().partition(" ") for fact in self.server.shown(self.folder).splitlines()]
        if option == "-a" and self.server.dash_a != "option":
            lines, facts = [], []
            if self.server.dash_a == "refused":
                return b"550 -a: no such file"
        for fact, _, name in facts:
            size = fact.partition("size=")[2].partition(";")[0] or "0"
            kind = "drwxr-xr-x" if "dir" in fact else "-rw-r--r--"
            if is_unix:
                lines.append(f"{kind} 1 o g {size} {date} {name}".encode())
            else:
                column = "<DIR>         " if "dir" in fact else f"{size:>14}"
                lines.append(f"02-03-20  03:15PM {column} {name}".encode())
        async with await self.accept() as data:
            await self.stream.send_all(b"150 now\r\n")
            await data.send_all(b"".join(line + b"\r\n" for line in lines))
        return b"226 done"

    async def do_mlst(self, path: str) -> bytes:
        path = self.server.place(path)
        if path in self.server.folders:
            return b"250-here\r\n type=dir; %s\r\n250 end\r\n" % path.encode()
        if (data := self.server.files.get(path)) is None:
            return b"550 no"
        facts = b"type=file;size=%d;modify=%s;" % (len(data), self.server.times.get(path, _TIME))
        return b"250-here\r\n %s %s\r\n250 end\r\n" % (facts, path.encode("utf-8", "surrogateescape"))

    async def do_mkd(self, path: str) -> bytes:
        path = self.server.place(path)
        if path in self.server.folders:
            return b"550 exists"
        self.server.folders.add(path)
        return b'257 "%s" made' % path.encode()

    async def do_stor(self, path: str) -> bytes:
        await self.stream.send_all(b"150 send it\r\n")
        self.server.times.pop(self.server.place(path), None)
        if self.server.early:
            await self.stream.send_all(b"226 got it\r\n")
        received = b""
        async with await self.accept() as data:
            while piece := await data.receive_some():
                received += piece
        kept = received[: self.server.most(path)]
        self.server.files[self.server.place(path)] = kept
        if kept != received:
            return self.server.full
        return b"" if self.server.early else b"226 got it"

    async def do_retr(self, path: str) -> bytes:
        data = self.server.files.get(self.server.place(path))
        if data is None:
            return b"550 no"
        await self.stream.send_all(b"150 take it\r\n")
        async with await self.accept() as stream:
            await stream.send_all(data)
        return b"226 done"

    async def do_size(self, path: str) -> bytes:
        found = self.server.files.get(self.server.place(path))
        return b"550 no" if found is None else b"213 %d" % len(found)

    async def do_mdtm(self, path: str) -> bytes:
        path = self.server.place(path)
        return b"213 " + self.server.times.get(path, _TIME) if path in self.server.files else b"550 no"

    async def do_mfmt(self, argument: str) -> bytes:
        time, _, path = argument.partition(" ")
        path = self.server.place(path)
        self.server.times[path] = time.encode()
        return b"213 set"

    async def do_rnfr(self, path: str) -> bytes:
        self.renamed = path = self.server.place(path)
        return b"350 and then?" if path in {*self.server.files, *self.server.folders} else b"550 no"

    async def do_rnto(self, path: str) -> bytes:
        if self.renamed not in self.server.files:
            return b"503 what?"
        if path in self.server.folders:
            self.renamed = ""
            return b"550 a directory"
        path = self.server.place(path) if self.server.place(path) != self.renamed else path
        self.server.files[path] = self.server.files.pop(self.renamed)
        if self.renamed in self.server.times:
            self.server.times[path] = self.server.times.pop(self.renamed)
        return b"250 done"

    async def do_dele(self, path: str) -> bytes:
        return b"550 no" if self.server.files.pop(self.server.place(path), None) is None else b"250 gone"

    async def do_rmd(self, path: str) -> bytes:
        if path not in self.server.folders or self.server.shown(path):
            return b"550 no"
        self.server.folders.remove(path)
        return b"250 gone"


@asynccontextmanager
async def evil_server(answers: Mapping[str, Answer] | None = None, **lies: object) -> AsyncIterator[EvilServer]:
    """Run a server during an ``async with`` block. ``lies`` are fields of `EvilServer`."""
    server = EvilServer(answers or {}, **lies)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host=server.host)
        server.port = listener.socket.getsockname()[1]

        async def serve(stream: trio.SocketStream) -> None:
            await _Session(server, stream).run()

        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield server
        nursery.cancel_scope.cancel()
