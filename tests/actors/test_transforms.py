"""Transforms: how transformed content is read, and how a failure shows."""

from __future__ import annotations

import gzip
import itertools
import random
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import Source
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.transform import Transform, Transformed
from actorsync.errors import OperationRefused, TransformFailed
from actorsync.model.entry import Entry, Kind
from actorsync.planning.fingerprint import fingerprint, is_fingerprinted
from actorsync.planning.reconcile import looks_equal
from actorsync.testing.faulty_endpoint import Faulty
from actorsync.transforms import gzip_stream
from tests.support.servers.any_side import OLD
from tests.support.streams import BANG, COPY, TWICE, UPPER, Mapped, explode, mapping


async def read(source: Source, path: str, size: int = 1000) -> bytes:
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


async def test_reading_a_transformed_path_returns_the_transformed_content() -> None:
    memory = tree(a_txt=b"content" * 1000, b_dat=b"other")
    source = Transformed(memory, [UPPER])
    assert await read(source, "a.txt") == b"CONTENT" * 1000
    assert await read(source, "b.dat") == b"other"
    async with source.open_session() as session:
        async with session.open("b.dat") as content, memory.open_session() as real, real.open("b.dat") as raw:
            assert type(content) is type(raw), "the content is not wrapped"
        async with session.open("a.txt") as content, memory.open_session() as real, real.open("a.txt") as raw:
            assert content.size is None
            assert content.fileno() is None
            assert content.entry == attrs.evolve(raw.entry, inode=fingerprint("a.txt", raw.entry.inode, ["upper"]))
            assert is_fingerprinted(content.entry)
            assert not is_fingerprinted(raw.entry)
            memory.write("a.txt", b"changed")
            assert not await content.is_unchanged()


async def test_several_transforms_apply_in_order() -> None:
    memory = tree(a_txt=b"x", b_t=b"x")
    assert await read(Transformed(memory, [TWICE, BANG]), "a.txt") == b"xx!"
    assert await read(Transformed(memory, [TWICE, BANG]), "b.t") == b"x!"
    shout = Transform("shout", ["*.txt"], mapping(bytes, b"?"))
    assert await read(Transformed(memory, [shout, BANG]), "a.txt") == b"x?!"
    assert await read(Transformed(memory, [BANG, shout]), "a.txt") == b"x!?"


async def test_origin_that_is_transformed_is_read_transformed() -> None:
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


def bad(applies: Any = ("*.txt",), wrap: Any = gzip_stream, origin: Any = None, *, name: str = "t") -> Transform:
    """Return a transform whose arguments may have wrong types."""
    return Transform(name, applies, wrap, origin)


@pytest.mark.parametrize(
    ("transforms", "reason"),
    [
        ([bad(explode)], "transform 't' failed: ValueError: of no use"),
        ([bad(wrap=explode)], "transform 't' failed: ValueError: of no use"),
        ([bad(wrap=mapping(explode))], "transform 't' failed: ValueError: of no use"),
        ([UPPER, bad(wrap=mapping(explode)), BANG], "transform 't' failed: ValueError: of no use"),
        ([bad(wrap=mapping(bytes.decode))], "transform 't' failed: TypeError: returned str instead of bytes"),
        ([bad(wrap=lambda _: b"")], "transform 't' failed: TypeError: returned bytes instead of ReceiveStream"),
        ([bad(origin=explode)], "transform 't' failed: ValueError: of no use"),
        ([bad(origin=lambda _: "../x")], "transform 't' failed: its origin is not a path: '../x'"),
        ([bad(origin=lambda _: "a\0")], "transform 't' failed: its origin is not a path: 'a\\x00'"),
        ([bad(origin=lambda _: None)], "transform 't' failed: its origin is not a path: None"),
        ([bad(origin=around)], "transform 't' failed: its origin depends on its own content"),
        (
            [bad(origin=lambda _: "x", name="one"), bad(origin=lambda _: "y", name="two")],
            "transforms 'one' and 'two' name different origins",
        ),
    ],
)
async def test_failed_transform_raises_one_line_with_its_name(transforms: list[Transform], reason: str) -> None:
    with pytest.raises(TransformFailed) as failure:
        await read(Transformed(tree(a_txt=b"content"), transforms), "a.txt")
    assert str(failure.value).startswith(reason)
    assert "\n" not in str(failure.value)
    assert not failure.value.retry


async def test_exception_group_of_a_transform_shows_its_first_error() -> None:
    class Grouped(Mapped):
        async def receive_some(self, max_bytes: int | None = None) -> Any:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise KeyError("key")

    with pytest.raises(TransformFailed, match=r"transform 't' failed: KeyError: 'key'"):
        await read(Transformed(tree(a_txt=b"content"), [Transform("t", ["*"], Grouped)]), "a.txt")


class Careless(Mapped):
    """A stream that treats every error as the end."""

    async def receive_some(self, max_bytes: int | None = None) -> Any:
        try:
            return await super().receive_some(max_bytes)
        except OperationRefused:
            return b""


async def test_read_error_of_the_source_does_not_blame_the_transform(autojump_clock: MockClock) -> None:
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
def test_transform_without_a_printable_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="is not a name for a transform"):
        Transform(name, ["*"], gzip_stream)


def test_pattern_text_and_duplicate_names_are_refused() -> None:
    with pytest.raises(ValueError, match="more than one transform is called 'upper'"):
        Transformed(tree(), [UPPER, UPPER])
    with pytest.raises(TypeError, match="a list of patterns"):
        Transform("t", "*.txt", gzip_stream)
    with pytest.raises(ValueError, match="is not a valid gitignore pattern"):
        Transform("t", ["a\\"], gzip_stream)


async def test_transform_reads_on_demand_and_closes_its_streams() -> None:
    made: list[Mapped] = []

    def wrap(stream: trio.abc.ReceiveStream) -> Mapped:
        made.append(Mapped(stream, lambda piece: piece * 100))
        return made[-1]

    memory = tree(a_txt=bytes(1 << 20))
    source = Transformed(memory, [Transform("blown up", ["*"], wrap), UPPER])
    async with source.open_session() as session:
        async with session.open("a.txt"):
            assert made == [], "no stream is made before the first read"
        async with session.open("a.txt") as content:
            assert len(await content.read(1_000)) == 1_000
            raw = made[-1].stream
            assert isinstance(raw, trio.abc.ReceiveStream)
            for _ in range(99):
                assert len(await content.read(1_000)) == 1_000
            left = b"".join([piece async for piece in raw])
            assert len(left) == (1 << 20) - 1_000, "the output is a hundred times the input read so far"
        assert made[-1].is_closed


@pytest.mark.parametrize("size", [0, 1, 5_000, 300_000])
async def test_gzip_stream_is_valid_and_reproducible(size: int) -> None:
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    source = Transformed(tree(a_txt=data), [Transform("gzip", ["*"], gzip_stream)])
    packed = await read(source, "a.txt", 777)
    assert gzip.decompress(packed) == data
    assert packed == await read(source, "a.txt", 100_000)
    assert packed[4:8] == bytes(4), "no time"


def test_fingerprint_of_a_transformed_entry_never_equals_a_target_entry() -> None:
    entry = Entry("a", Kind.FILE, 7, OLD * 10**9, 1, 2)
    target = Entry("a", Kind.FILE, 7, OLD * 10**9)
    assert looks_equal(entry, target)
    assert not looks_equal(attrs.evolve(entry, inode=fingerprint("a", 2, ["t"])), target)
    names = (["a"], ["a", "b"], ["b", "a"], ["ab"])
    assert len({fingerprint("path", inode, those) for inode in (None, 0, 1) for those in names}) == 12
    assert fingerprint("one", 1, ["t"]) == fingerprint("two", 1, ["t"]), "a rename keeps the fingerprint"
    assert fingerprint("one", None, ["t"]) != fingerprint("two", None, ["t"]), "without an inode, the path counts"
