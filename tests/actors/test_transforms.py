"""Content that is made on the way: what a transform may do, what the journal makes of it, and runs to real servers."""

from __future__ import annotations

import gzip
import itertools
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import Shutdown
from actorsync.cli.output.lines import progress_text
from actorsync.endpoints.contract import Endpoint, Session, size_of
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.endpoints.wrappers.transform import Transform, Transformed
from actorsync.errors import OperationRefused, TransformFailed
from actorsync.journal import open_memory_journal
from actorsync.model.entry import Entry, Kind, Listing
from actorsync.model.event import Adopted, Confirmed, Forgotten, Intended
from actorsync.model.operation import Copy, Done, Failed
from actorsync.planning.fingerprint import fingerprint, is_fingerprinted
from actorsync.planning.reconcile import looks_equal
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults
from actorsync.testing.network.faults import Cut, CutData, Fault, Truncate
from actorsync.testing.network.proxy import CutWire
from actorsync.transforms import gzip_stream
from tests.support.mirror import Run, contents, mirror, settings_for, temporaries
from tests.support.observer import Observer, is_whole, self_evident
from tests.support.servers.any_side import FTPES, LOCAL, OLD, Side, Sides, put
from tests.support.system.forks import Forks
from tests.support.world.memory_mirror import ONE, Mirror

LATER = 10**18 * 3  # a wall clock by which every file is old


@attrs.define(eq=False)
class Mapped(trio.abc.ReceiveStream):
    """What comes, piece by piece through ``change``; and ``tail`` at the end."""

    stream: trio.abc.ReceiveStream
    change: Callable[[bytes], Any] = bytes
    tail: bytes = b""
    is_closed: bool = False

    async def receive_some(self, max_bytes: int | None = None) -> Any:
        piece = await self.stream.receive_some(max_bytes)
        if not piece:
            tail, self.tail = self.tail, b""
            return tail
        return self.change(bytes(piece))

    async def aclose(self) -> None:
        self.is_closed = True
        await self.stream.aclose()


def mapping(change: Callable[[bytes], Any], tail: bytes = b"") -> Callable[[trio.abc.ReceiveStream], Mapped]:
    return lambda stream: Mapped(stream, change, tail)


UPPER = Transform("upper", ["*.txt"], mapping(bytes.upper))
BANG = Transform("bang", lambda path: path.endswith("t"), mapping(bytes, b"!"))
TWICE = Transform("twice", ["*.txt"], mapping(lambda piece: piece * 2))


async def read(source: Endpoint, path: str, size: int = 1000) -> bytes:
    data = b""
    async with source.open_session() as session, session.open(path) as content:
        while piece := await content.read(size):
            assert len(piece) <= size
            data += piece
        assert await content.read(size) == b""
        assert await content.is_unchanged()
    return data


def tree(**files: bytes) -> MemoryEndpoint:
    memory = MemoryEndpoint()
    for name, data in files.items():
        memory.write(name.replace("_", "."), data)
    return memory


# What is opened.


async def test_what_a_transform_makes_is_read_in_place_of_the_file() -> None:
    memory = tree(a_txt=b"content" * 1000, b_dat=b"other")
    source = Transformed(memory, [UPPER])
    assert await read(source, "a.txt") == b"CONTENT" * 1000
    assert await read(source, "b.dat") == b"other"
    async with source.open_session() as session:
        async with session.open("b.dat") as content, memory.open_session() as real, real.open("b.dat") as raw:
            assert type(content) is type(raw), "nothing is in its way"
        async with session.open("a.txt") as content, memory.open_session() as real, real.open("a.txt") as raw:
            assert size_of(content) is None
            assert content.fileno() is None
            assert content.entry == attrs.evolve(raw.entry, inode=fingerprint("a.txt", raw.entry.inode, ["upper"]))
            assert is_fingerprinted(content.entry)
            assert not is_fingerprinted(raw.entry)
            memory.write("a.txt", b"changed")
            assert not await content.is_unchanged()


async def test_several_are_used_in_their_order() -> None:
    memory = tree(a_txt=b"x", b_t=b"x")
    assert await read(Transformed(memory, [TWICE, BANG]), "a.txt") == b"xx!"
    assert await read(Transformed(memory, [TWICE, BANG]), "b.t") == b"x!"
    shout = Transform("shout", ["*.txt"], mapping(bytes, b"?"))
    assert await read(Transformed(memory, [shout, BANG]), "a.txt") == b"x?!"
    assert await read(Transformed(memory, [BANG, shout]), "a.txt") == b"x!?"


COPY = Transform("copy", ["*.copy"], mapping(bytes, b" (copy)"), origin=lambda path: path.removesuffix(".copy"))


async def test_what_is_made_of_another_file_is_made_of_what_is_sent_of_that() -> None:
    memory = tree(a_txt=b"text", b_dat=b"data")
    source = Transformed(memory, [COPY, UPPER])
    assert await read(source, "a.txt.copy") == b"TEXT (copy)"
    assert await read(source, "a.txt.copy.copy") == b"TEXT (copy) (copy)"
    assert await read(source, "b.dat.copy") == b"data (copy)"
    async with source.open_session() as session, session.open("a.txt.copy") as content:
        assert content.entry.path == "a.txt.copy"
        node = memory.find("a.txt")
        assert node is not None
        assert content.entry.inode == fingerprint("a.txt.copy", node.inode, ["upper", "copy"])
        memory.write("a.txt", b"changed")
        assert not await content.is_unchanged()


def around(path: str) -> str:
    return {"a.txt": "b.txt", "b.txt": "a.txt"}[path]


def explode(*_: Any) -> Any:
    raise ValueError("of no use\nto anybody\x1b[2J")


def bad(applies: Any = ("*.txt",), wrap: Any = gzip_stream, origin: Any = None, *, name: str = "t") -> Transform:
    """Give what its types would not allow."""
    return Transform(name, applies, wrap, origin)


@pytest.mark.parametrize(
    ("transforms", "reason"),
    [
        ([bad(explode)], "transform 't' failed: ValueError: of no use"),
        ([bad(wrap=explode)], "transform 't' failed: ValueError: of no use"),
        ([bad(wrap=mapping(explode))], "transform 't' failed: ValueError: of no use"),
        ([UPPER, bad(wrap=mapping(explode)), BANG], "transform 't' failed: ValueError: of no use"),
        ([bad(wrap=mapping(bytes.decode))], "transform 't' failed: TypeError: it gave a str, and not bytes"),
        ([bad(wrap=lambda _: b"")], "transform 't' failed: TypeError: it gave a bytes, and not ReceiveStream"),
        ([bad(origin=explode)], "transform 't' failed: ValueError: of no use"),
        ([bad(origin=lambda _: "../x")], "transform 't' failed: its origin is no path: '../x'"),
        ([bad(origin=lambda _: "a\0")], "transform 't' failed: its origin is no path: 'a\\x00'"),
        ([bad(origin=lambda _: None)], "transform 't' failed: its origin is no path: None"),
        ([bad(origin=around)], "transform 't' failed: in the end it would be made of itself"),
        (
            [bad(origin=lambda _: "x", name="one"), bad(origin=lambda _: "y", name="two")],
            "'one' and 'two' make it of different files",
        ),
    ],
)
async def test_what_goes_wrong_in_a_transform_is_told_with_its_name(transforms: list[Transform], reason: str) -> None:
    with pytest.raises(TransformFailed) as failure:
        await read(Transformed(tree(a_txt=b"content"), transforms), "a.txt")
    assert str(failure.value).startswith(reason)
    assert "\n" not in str(failure.value)
    assert not failure.value.retry


async def test_of_several_things_that_go_wrong_at_once_one_is_told() -> None:
    class Grouped(Mapped):
        async def receive_some(self, max_bytes: int | None = None) -> Any:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise KeyError("key")

    with pytest.raises(TransformFailed, match=r"transform 't' failed: KeyError: 'key'"):
        await read(Transformed(tree(a_txt=b"content"), [Transform("t", ["*"], Grouped)]), "a.txt")


class Careless(Mapped):
    """Takes whatever goes wrong for the end."""

    async def receive_some(self, max_bytes: int | None = None) -> Any:
        try:
            return await super().receive_some(max_bytes)
        except OperationRefused:
            return b""


async def test_what_goes_wrong_with_the_source_is_not_the_transforms_fault(autojump_clock: MockClock) -> None:
    count = itertools.count()

    def refuse_the_second(verb: str, when: str) -> None:
        if verb == "read" and when == "before" and next(count) % 2:
            raise OperationRefused("the disk is broken", retry=True)

    source = Faulty(tree(a_txt=bytes(100_000)), refuse_the_second)
    for transforms in ([BANG], [BANG, UPPER], [Transform("careless", ["*"], Careless), UPPER]):
        with pytest.raises(OperationRefused, match="the disk is broken") as refused:
            await read(Transformed(source, transforms), "a.txt")
        assert not isinstance(refused.value, TransformFailed)
        assert refused.value.retry


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0b", None])
def test_a_transform_has_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="is not a name for a transform"):
        Transform(name, ["*"], gzip_stream)


def test_what_cannot_be_meant_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="more than one transform of the name 'upper'"):
        Transformed(tree(), [UPPER, UPPER])
    with pytest.raises(TypeError, match="a list of patterns"):
        Transform("t", "*.txt", gzip_stream)
    with pytest.raises(ValueError, match="is not a valid gitignore pattern"):
        Transform("t", ["a\\"], gzip_stream)


async def test_no_more_is_read_than_is_asked_for_and_streams_are_closed() -> None:
    made: list[Mapped] = []

    def wrap(stream: trio.abc.ReceiveStream) -> Mapped:
        made.append(Mapped(stream, lambda piece: piece * 100))
        return made[-1]

    memory = tree(a_txt=bytes(1 << 20))
    source = Transformed(memory, [Transform("blown up", ["*"], wrap), UPPER])
    async with source.open_session() as session:
        async with session.open("a.txt"):
            assert made == [], "nothing is begun before something is read"
        async with session.open("a.txt") as content:
            assert len(await content.read(1_000)) == 1_000
            raw = made[-1].stream
            assert isinstance(raw, trio.abc.ReceiveStream)
            for _ in range(99):
                assert len(await content.read(1_000)) == 1_000
            left = b"".join([piece async for piece in raw])
            assert len(left) == (1 << 20) - 1_000, "a hundred times as much comes out of what was read"
        assert made[-1].is_closed


@pytest.mark.parametrize("size", [0, 1, 5_000, 300_000])
async def test_gzip_is_gzip_and_always_the_same(size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    source = Transformed(tree(a_txt=data), [Transform("gzip", ["*"], gzip_stream)])
    packed = await read(source, "a.txt", 777)
    assert gzip.decompress(packed) == data
    assert packed == await read(source, "a.txt", 100_000)
    assert packed[4:8] == bytes(4), "no time"


def test_a_stamped_entry_never_looks_like_what_a_target_has() -> None:
    entry = Entry("a", Kind.FILE, 7, OLD * 10**9, 1, 2)
    target = Entry("a", Kind.FILE, 7, OLD * 10**9)
    assert looks_equal(entry, target)
    assert not looks_equal(attrs.evolve(entry, inode=fingerprint("a", 2, ["t"])), target)
    names = (["a"], ["a", "b"], ["b", "a"], ["ab"])
    assert len({fingerprint("path", inode, those) for inode in (None, 0, 1) for those in names}) == 12
    assert fingerprint("one", 1, ["t"]) == fingerprint("two", 1, ["t"]), "it was renamed"
    assert fingerprint("one", None, ["t"]) != fingerprint("two", None, ["t"]), "nobody knows"


# Runs in memory.


class Derived:
    """A source that lists a copy beside each text, as a stage of somebody's pipeline would."""

    def __init__(self, real: MemoryEndpoint) -> None:
        self._real = real
        self.display, self.lanes, self.identify = real.display, real.lanes, real.identify

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self._real.open_session() as session:
            yield _DerivedSession(session)


@attrs.frozen
class _DerivedSession:
    _session: Session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def list_directory(self, directory: str) -> Listing:
        listing = await self._session.list_directory(directory)
        copies = [attrs.evolve(it, path=f"{it.path}.copy") for it in listing.entries if it.path.endswith(".txt")]
        return attrs.evolve(listing, entries=(*listing.entries, *copies))


def site(*, settled: bool = True) -> Mirror:
    made = Mirror(wall_ns=lambda: LATER) if settled else Mirror(wall_ns=lambda: 0)
    for number in range(6):
        made.source.write(f"d{number % 2}/{number}.txt", b"text %d" % number * 1000)
        made.source.write(f"d{number % 2}/{number}.dat", b"data %d" % number * 1000)
    return made


def sent(made: Mirror) -> set[str]:
    return {it.operation.path for it in made.seen(Done) if isinstance(it.operation, Copy)}


async def run(made: Mirror, *transforms: Transform, code: int = 0, source: Any = None, **changes: Any) -> set[str]:
    policy = attrs.evolve(ONE, transforms=transforms, **changes)
    report = await made.run(source=source, policy=policy)
    assert report.exit_code == code, report
    made.check_one_outcome_each()
    if not code:
        made.check_nothing_left()
    return sent(made)


def expected(made: Mirror, change: Callable[[bytes], bytes] = bytes.upper) -> dict[str, bytes]:
    return {path: change(data) if path.endswith(".txt") else data for path, data in made.source.files().items()}


TEXTS = {f"d{number % 2}/{number}.txt" for number in range(6)}


async def test_only_what_has_changed_is_sent_again(autojump_clock: MockClock) -> None:
    made = site()
    assert len(await run(made, TWICE)) == 12
    assert made.target.files() == expected(made, lambda data: data * 2)
    assert await run(made, TWICE) == set()
    made.source.write("d0/0.txt", b"new")
    made.source.write("d1/1.dat", b"new")
    assert await run(made, TWICE) == {"d0/0.txt", "d1/1.dat"}
    assert made.target.files() == expected(made, lambda data: data * 2)
    record = made.journal.record("d0/0.txt")
    assert record is not None
    assert record.source is not None
    assert (record.source.size, record.target.size) == (3, 6)


async def test_another_set_of_transforms_sends_again_what_it_makes_otherwise(autojump_clock: MockClock) -> None:
    made = site()
    await run(made)
    assert await run(made, UPPER) == TEXTS
    assert made.target.files() == expected(made)
    other = Transform("not for these", ["*.html"], gzip_stream)
    assert await run(made, UPPER, other) == set(), "what was added says nothing of these files"
    newer = attrs.evolve(UPPER, name="upper 2", wrap=mapping(bytes.upper, b"."))
    assert await run(made, newer) == TEXTS
    assert made.target.files() == expected(made, lambda data: data.upper() + b".")
    some = attrs.evolve(newer, applies=["/d0/*.txt"])
    assert await run(made, some) == {path for path in TEXTS if path.startswith("d1")}
    assert await run(made) == {path for path in TEXTS if path.startswith("d0")}
    assert made.target.files() == made.source.files()


async def test_the_order_of_transforms_counts(autojump_clock: MockClock) -> None:
    made = site()
    await run(made, UPPER, BANG)
    assert await run(made, BANG, UPPER) == TEXTS


async def test_what_is_transformed_is_never_adopted(autojump_clock: MockClock) -> None:
    """Not even what has the size and the time of the file: it may be the file itself, as it was before."""
    made = site()
    await run(made)
    made.journal = open_memory_journal()
    assert await run(made, UPPER) == TEXTS
    assert {event.source.path for event in made.seen(Adopted) if event.source.kind is Kind.FILE} == {
        path for path in made.source.files() if path not in TEXTS
    }
    assert made.target.files() == expected(made)
    made.journal = open_memory_journal()
    assert await run(made, UPPER) == TEXTS, "nothing tells that it is what would be made today"


async def test_files_of_which_the_source_has_not_got_one(autojump_clock: MockClock) -> None:
    made = site()
    source: Any = Derived(made.source)
    assert len(await run(made, COPY, source=source)) == 18
    assert made.target.files()["d0/0.txt.copy"] == made.source.files()["d0/0.txt"] + b" (copy)"
    assert await run(made, COPY, source=source) == set()
    made.source.write("d0/0.txt", b"new")
    assert await run(made, COPY, source=source) == {"d0/0.txt", "d0/0.txt.copy"}
    assert made.target.files()["d0/0.txt.copy"] == b"new (copy)"
    assert await run(made, UPPER, COPY, source=source) == TEXTS | {f"{path}.copy" for path in TEXTS}
    assert made.target.files()["d0/0.txt.copy"] == b"NEW (copy)"
    made.source.delete("d0/0.txt")
    await run(made, UPPER, COPY, source=source)
    assert not {"d0/0.txt", "d0/0.txt.copy"} & made.target.files().keys()


async def test_a_source_that_is_transformed_already_is_the_same(autojump_clock: MockClock) -> None:
    made = site()
    assert len(await run(made, source=Transformed(made.source, [UPPER]))) == 12
    assert made.target.files() == expected(made)
    assert await run(made, UPPER) == set()


@pytest.mark.parametrize("remote", [False, True])
async def test_contents_are_compared_as_they_are_sent(remote: bool, autojump_clock: MockClock) -> None:
    """Of files so young that their times prove nothing, what was sent is known again by what is made of them."""
    made = site(settled=False)
    made.source.is_remote = remote
    assert len(await run(made, UPPER)) == 12
    made.wall_ns = lambda: LATER
    assert await run(made, UPPER) == set()
    assert len(made.seen(Confirmed)) == 12
    assert await run(made, UPPER) == set()
    assert made.seen(Confirmed) == []


async def test_what_is_made_differently_each_time_is_sent_again(autojump_clock: MockClock) -> None:
    made, count = site(settled=False), itertools.count()
    encrypt = Transform("encrypt", ["*.txt"], lambda stream: Mapped(stream, tail=b"%d" % next(count)))
    await run(made, encrypt)
    made.wall_ns = lambda: LATER
    assert await run(made, encrypt) == TEXTS
    assert await run(made, encrypt) == set()


async def test_a_transform_that_fails_is_one_failure_of_one_file(autojump_clock: MockClock) -> None:
    made, tried = site(), []

    def fail(stream: trio.abc.ReceiveStream) -> Mapped:
        tried.append(stream)
        return Mapped(stream, explode)

    await run(made, UPPER, Transform("minify", ["0.txt"], fail), code=1)
    (failed,) = made.seen(Failed)
    assert failed.operation.path == "d0/0.txt"
    assert failed.reason == "transform 'minify' failed: ValueError: of no use"
    assert len(tried) == 1, "trying again would give the same"
    assert made.target.files() == {path: data for path, data in expected(made).items() if path != "d0/0.txt"}
    assert await run(made, UPPER) == {"d0/0.txt"}


async def test_a_transform_that_cannot_tell_is_one_failure_of_one_file(autojump_clock: MockClock) -> None:
    made = site()

    def applies(path: str) -> bool:
        return path.endswith(".txt") and (path != "d0/0.txt" or explode())

    await run(made, attrs.evolve(UPPER, applies=applies), code=1)
    assert [(it.operation.path, it.reason) for it in made.seen(Failed)] == [
        ("d0/0.txt", "transform 'upper' failed: ValueError: of no use")
    ]
    assert await run(made, UPPER) == {"d0/0.txt"}


@pytest.mark.parametrize(("verb", "most"), [("drain", 35), ("cancel", 5), ("now", 0)])
async def test_a_transform_that_hangs_is_stopped(verb: str, most: float, autojump_clock: MockClock) -> None:
    class Hanging(Mapped):
        async def receive_some(self, max_bytes: int | None = None) -> Any:
            await trio.sleep_forever()

    made = site()
    made.shutdown = Shutdown(drain_seconds=30, cancel_seconds=5)

    async def stop() -> None:
        await trio.sleep(100)
        getattr(made.shutdown, verb)()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        policy = attrs.evolve(ONE, transforms=(Transform("hangs", ["0.txt"], Hanging),), connections=2)
        report = await made.run(policy=policy)
    assert report.seconds <= 100 + most + 2
    assert report.exit_code in {3, 130}
    made.shutdown = Shutdown()
    await run(made)
    assert made.target.files() == made.source.files()


@pytest.mark.parametrize("seed", range(20))
async def test_connections_that_are_lost_are_made_up_for(seed: int, autojump_clock: MockClock) -> None:
    made, rng = site(), random.Random(seed)
    for number in range(20):
        made.source.write(f"e/{number}.txt", rng.randbytes(rng.choice((0, 10, 100_000))))
    faulty = Faulty(made.target, RandomFaults(rng, 0.03, kinds=("lose",)))
    policy = attrs.evolve(ONE, transforms=(UPPER,), connections=3)
    for _ in range(20):
        if (await made.run(faulty, policy=policy)).exit_code == 0:
            break
    await run(made, UPPER)
    assert made.target.files() == expected(made)


async def test_what_was_renamed_by_a_run_that_then_died_is_ours(autojump_clock: MockClock) -> None:
    """By the size that it had come to: else nobody would remove it when its source is gone."""
    made = site()
    intents: list[Intended] = []
    policy = attrs.evolve(ONE, transforms=(TWICE,))
    await made.run(policy=policy, observe=lambda event: intents.append(event) if isinstance(event, Intended) else None)
    told = [it for it in intents if it.source is not None and it.source.path == "d0/0.txt"]
    assert [it.source.size for it in told if it.source is not None] == [2 * len(b"text 0" * 1000)], "and not before"
    made.journal.apply([Forgotten("d0/0.txt"), told[-1]])
    made.source.delete("d0/0.txt")
    await run(made, TWICE)
    assert "d0/0.txt" not in made.target.files()


async def test_a_run_that_died_before_the_rename_is_not_mistaken(autojump_clock: MockClock) -> None:
    """What the target has under the name, of the size and time of the source, is not what would have been sent."""
    made = site()
    await run(made)
    record = made.journal.record("d0/0.txt")
    assert record is not None
    made.journal.apply([Forgotten("d0/0.txt"), Intended(("d0/.actorsync-1.tmp",))])
    assert await run(made, UPPER) == TEXTS
    assert made.target.files() == expected(made)


@pytest.mark.parametrize("factor", [0, 1, 3])
async def test_progress_is_never_more_than_all(factor: int, autojump_clock: MockClock) -> None:
    made = site()
    made.source.write("big.txt", bytes(2_000_000))
    levels = made.statistics
    shown: list[str] = []

    async def watch() -> None:
        while True:
            await trio.sleep(0.01)
            assert levels.bytes_sent <= levels.bytes_expected
            shown.append(progress_text(levels, 1_000.0))

    transform = Transform("bigger", ["*.txt"], mapping(lambda piece: piece * factor, b"tail"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        slow = Faulty(made.target, lambda verb, when: 0.02 if verb == "read" else None)
        policy = attrs.evolve(ONE, transforms=(transform,), connections=2)
        report = await made.run(slow, policy=policy)
        nursery.cancel_scope.cancel()
    assert report.exit_code == 0
    assert levels.bytes_sent == levels.bytes_planned == report.copied_bytes
    assert len(shown) > 5


async def test_a_plan_makes_nothing(autojump_clock: MockClock) -> None:
    made = site()
    report = await made.run(
        DryRun(made.target), policy=attrs.evolve(ONE, transforms=(Transform("t", ["*.txt"], explode),))
    )
    assert (report.exit_code, report.copied) == (0, 12)
    assert made.target.files() == {}


# Runs between real places.


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with Sides.made() as made:
        yield made


GZIP = Transform("gzip", ["*.txt"], gzip_stream)


def unpacked(path: str, data: bytes) -> bytes:
    return gzip.decompress(data) if path.endswith(".txt") else data


def files(side: Side, change: Callable[[str, bytes], bytes] = lambda _, data: data) -> dict[str, bytes]:
    paths = [path for path, digest in contents(side.root).items() if digest is not None]
    return {path: change(path, (side.root / path).read_bytes()) for path in paths}


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (LOCAL, LOCAL),
        (LOCAL, "pyftpdlib"),
        (LOCAL, "vsftpd"),
        (LOCAL, FTPES),
        (LOCAL, "asyncssh"),
        ("pyftpdlib", "asyncssh"),
        ("asyncssh", LOCAL),
    ],
)
async def test_texts_arrive_compressed(sides: Sides, kind: str, other: str, tmp_path: Path) -> None:
    source, target = sides.side(kind), sides.side(other)
    rng = random.Random(kind + other)
    for number, size in enumerate([0, 1, 5_000, 65_536, 400_000, 1_500_000]):
        put(source, f"d{number % 2}/{number}.txt", rng.randbytes(size // 2).hex().encode())
        put(source, f"d{number % 2}/{number}.dat", rng.randbytes(size))
    source.adopt()

    async def run() -> int:
        made = await mirror(source.endpoint(), target.endpoint(), tmp_path, transforms=(GZIP,))
        assert (made.report.exit_code, made.failures) == (0, {}), made.report
        assert files(target, unpacked) == files(source)
        assert temporaries(target.root) == []
        return made.report.copied

    assert await run() == 12
    assert await run() == 0
    put(source, "d0/0.txt", b"new", time=OLD + 5)
    source.adopt()
    assert await run() == 1
    (source.root / "d0/0.txt").unlink()
    assert await run() == 0


@pytest.mark.parametrize(("kind", "other"), [(LOCAL, "pyftpdlib"), ("proftpd", "openssh")])
async def test_connections_that_are_cut_while_texts_are_compressed(
    sides: Sides, kind: str, other: str, tmp_path: Path
) -> None:
    rng = random.Random(f"cut {kind} {other}")
    source, target = sides.side(kind), sides.side(other)
    for number in range(12):
        path = f"d{number % 3}/{number}.txt"
        put(source, path, self_evident(path, rng.choice((200, 60_000, 400_000)), rng))
    source.adopt()
    ftp: list[Fault] = [CutData(verb="STOR", at_transfer=2, after=300), Cut(verb="STOR", at_line=4, when="unanswered")]
    read_ftp: list[Fault] = [
        CutData(verb="RETR", at_transfer=3, after=500),
        Truncate(verb="RETR", at_transfer=5, after=100),
    ]
    wire = [CutWire(after=9_000, direction="up"), CutWire(after=30_000, direction="down")]
    observer = Observer(target.root, lambda path, data: is_whole(path, gzip.decompress(data)))
    with observer.watching(pause=0.02):
        async with source.disturbed(*read_ftp) as reading, target.disturbed(*ftp, wire=wire) as writing:
            disturbed: Run = await mirror(reading, writing, tmp_path, transforms=(GZIP,))
        last = await mirror(source.endpoint(), target.endpoint(), tmp_path, transforms=(GZIP,))
    assert disturbed.report.exit_code in {0, 1, 5}
    assert disturbed.report.reconnects or kind != LOCAL
    assert (last.report.exit_code, last.failures) == (0, {})
    assert files(target, unpacked) == files(source)
    assert observer.wrong == []


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


KILLS = int(os.environ.get("ACTORSYNC_KILLS", "3"))


@pytest.mark.parametrize("name", ["pyftpdlib", "asyncssh"])
def test_kill_9_while_texts_are_compressed(sides: Sides, forks: Forks, name: str, tmp_path: Path) -> None:
    rng = random.Random(f"kill {name}")
    source, target = sides.side(LOCAL), sides.side(name)
    assert target.server is not None
    settings = settings_for(source.root, target.server.target, tmp_path, path=target.path)
    settings["gzip"] = ["*.txt"]
    observer = Observer(target.root, lambda path, data: is_whole(path, gzip.decompress(data)))
    killed, window = 0, 0.25
    with observer.watching():
        for round_ in range(8 * KILLS):
            for number in rng.sample(range(30), 10):
                path = f"d{number % 3}/{number}.txt"
                put(source, path, self_evident(path, rng.choice((200, 5_000, 300_000)), rng), time=OLD + round_)
            is_killed = forks.run(settings, kill_after=rng.uniform(0, window)).is_killed
            window *= 1.05 if is_killed else 0.7
            killed += is_killed
            if killed == KILLS:
                break
            (source.root / f"d0/{rng.randrange(10) * 3}.txt").unlink(missing_ok=True)
        last = forks.run(settings)
    observer.look()
    assert killed == KILLS
    assert last.report is not None
    assert (last.report["exit_code"], last.report["failures"]) == (0, [])
    assert observer.wrong == []
    assert files(target, unpacked) == files(source)
    assert temporaries(target.root) == []


async def test_what_is_made_of_a_big_file_is_not_kept(tmp_path: Path) -> None:
    """A piece is made when the one before it was taken; neither memory nor a disk holds the rest."""
    size, most, taken, given = 1 << 24, 0, 0, 0
    (tmp_path / "source").mkdir()
    (tmp_path / "source/big").touch()
    os.truncate(tmp_path / "source/big", size)

    @attrs.define(eq=False)
    class Metered(Mapped):
        async def receive_some(self, max_bytes: int | None = None) -> Any:
            nonlocal taken, most
            piece = await super().receive_some(max_bytes)
            taken += len(piece)
            most = max(most, taken - given)
            return piece

    source = Transformed(LocalEndpoint(tmp_path / "source"), [Transform("metered", ["*"], Metered)])
    async with source.open_session() as session, session.open("big") as content:
        while piece := await content.read(1 << 18):
            given += len(piece)
    assert given == size
    assert most <= 1 << 19
