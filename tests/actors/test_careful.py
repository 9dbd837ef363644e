"""Changes of a two-way run, with another program that writes at any moment, and one fault at any verb.

The combinations are generated: what is done, when another program acts and how, which verb fails and how, and whether
the process dies then. Whatever comes together, a version that another program has written is there in the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Final, Literal, get_args

import attrs
import pytest
import trio

from actorsync.actors.connections.careful import Careful, Going, Placement
from actorsync.actors.messages import Fact
from actorsync.actors.pairs.recovery import Recovery
from actorsync.endpoints.contract import Session, Staged
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry
from actorsync.model.event import Swept
from actorsync.model.operation import Side
from actorsync.model.pair import Agreement, Doubt, Pending
from actorsync.planning.temporary_names import is_own
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.mirror import QUICK

_SECOND: Final = 10**9
_ASIDE: Final = ".actorsync+0123456789abcdef-a"
_TEMPORARY: Final = ".actorsync-0123456789abcdef.tmp"
_AGREED, _NEW, _EDIT, _LATER = b"agreed", b"new one", b"edited", b"written anew"
_DIGEST: Final = hashlib.blake2b(_AGREED, digest_size=32).digest()
_LOSSES: Final = 3
#: So many verbs and moves has a change with a repeat after a lost connection; what is numbered higher does not happen.
_MOST: Final = 8

Verb = Literal["place", "remove"]
How = Literal["lost before", "lost after", "refused before", "refused after", "killed before", "killed after"]


Act = Literal["nothing", "edit", "replace", "remove", "put the old one back"]


class _KilledError(Exception):
    """The process is gone."""


@attrs.define(eq=False)
class _Scene:
    """One change of the file ``a``, on a side that has the agreed version of it.

    ``acts`` has, by number, what another program does inside a move: between its check and its rename. ``proof`` is as
    in `Copy`: what the times of the old file do not tell, its contents do.
    """

    verb: Verb
    fault: tuple[int, How] | None = None
    acts: Mapping[int, Act] = attrs.Factory(dict)
    proof: bytes | None = None
    is_remote: bool = False
    tree: MemoryEndpoint = attrs.field(init=False)
    over: Entry = attrs.field(init=False)
    verbs: int = 0
    moves: int = 0
    acted: list[Act] = attrs.Factory(list)
    #: What the other program has written, and what it has itself replaced or removed.
    written: set[bytes] = attrs.Factory(set)
    superseded: set[bytes] = attrs.Factory(set)

    def __attrs_post_init__(self) -> None:
        self.tree = MemoryEndpoint(inodes=not self.is_remote, precision_ns=_SECOND if self.is_remote else 1)
        self.tree.write("a", _AGREED, 1_000 * _SECOND)
        node = self.tree.find("a")
        assert node is not None
        self.over = self.tree.entry("a", node)
        if self.verb == "place":
            self.tree.write(_TEMPORARY, _NEW, 2_000 * _SECOND)
        self.tree.in_between = self._in_between

    def _in_between(self) -> None:
        self.moves += 1
        self.act(self.acts.get(self.moves, "nothing"))

    def act(self, act: Act) -> None:
        """Let another program do something with the file."""
        there = self.tree.files().get("a")
        if act == "nothing" or (act == "remove" and there is None):
            return
        if there is not None:
            self.superseded.add(there)
        if act in {"remove", "replace"} and there is not None:
            self.tree.delete("a")
        self.acted.append(act)
        match act:
            case "edit":
                self._write(_EDIT, 7_000 if self.proof is None else 1_000)
            case "replace":
                self._write(_LATER, 8_000)
            case "put the old one back":
                self.tree.write("a", _AGREED, 1_000 * _SECOND)  # which is no new version

    def _write(self, version: bytes, seconds: int) -> None:
        self.tree.write("a", version, seconds * _SECOND)
        self.written.add(version)
        self.superseded.discard(version)

    def _decide(self, _verb: str, when: When) -> None:
        self.verbs += when == "before"
        if self.fault is None or self.fault[0] != self.verbs or not self.fault[1].endswith(when):
            return
        how = self.fault[1]
        if how.startswith("lost"):
            raise ConnectionLost("the cable is out")
        if how.startswith("refused"):
            raise OperationRefused("450 try later")
        raise _KilledError

    async def change(self) -> Entry | OperationRefused | bool | None:
        """Make the change, with a new session after a lost one. Return its outcome; None if the process was killed."""
        send, receive = trio.open_memory_channel[Fact](100)
        target = Faulty(self.tree, self._decide)
        for attempt in range(_LOSSES):
            try:
                async with target.open_session() as session:
                    return await self._attempt(session, send, is_repeat=attempt > 0)
            except ConnectionLost:
                continue
            except _KilledError:
                return None
        receive.close()
        return OperationRefused("the connection was lost too often")

    async def _attempt(
        self, session: Session, facts: trio.MemorySendChannel[Fact], *, is_repeat: bool
    ) -> Entry | OperationRefused | bool:
        careful = Careful(session, facts, Side.TARGET, lambda: 3_000 * _SECOND)
        if self.verb == "remove":
            return (await careful.remove({0: Going(self.over, _ASIDE, self.proof)}))[0]
        staged = Staged("a", _TEMPORARY, len(_NEW), 2_000 * _SECOND)
        (result,) = await careful.place([Placement(staged, self.over, _ASIDE, self.proof)], is_repeat=is_repeat)
        return result

    async def recover(self, outcome: Entry | OperationRefused | bool | None) -> set[str]:
        """Do what the next run does first. The journal has what was intended, and the outcome if there was one."""
        doubt = Doubt.NONE if self.proof is None else Doubt.TARGET_TIME
        agreed: Agreement | None = Agreement(self.over, self.over, self.proof, doubt)
        if isinstance(outcome, Entry):
            agreed = Agreement(outcome, outcome, None, Doubt.NONE)
        elif outcome is True:
            agreed = None
        time = None if self.proof is not None else self.over.mtime_ns
        pending = [Pending(_ASIDE, "a", self.over.size, time, is_aside=True), Pending(_TEMPORARY, "a", len(_NEW))]
        send, receive = trio.open_memory_channel[Fact](100)
        self.tree.in_between = lambda: None
        recovery = Recovery(Side.TARGET, self.tree, lambda _: agreed, QUICK, trio.Event(), lambda: 4_000 * _SECOND)
        unsettled = await recovery.run(pending, send)
        swept = {path for event in _received(receive) if isinstance(event, Swept) for path in event.temporaries}
        there = {path for path in self.tree.files() if is_own(path)}
        assert not swept & there, f"said to be gone: {swept & there}"
        return unsettled

    def check(self, outcome: Entry | OperationRefused | bool | None, unsettled: set[str], told: str) -> None:
        """Check that every version is there, and that nothing is left aside."""
        left = {path: data for path, data in self.tree.files().items() if not is_own(path)}
        assert self.written - self.superseded <= set(left.values()), f"lost: {told}"
        assert not unsettled, told
        assert left == self.tree.files(), f"left aside: {told}"
        if self.acted:
            return
        if self.proof is not None and len(left) == 2:  # not known by its time, the old version is kept
            left = {path: data for path, data in left.items() if data != _AGREED}
        is_done = outcome is True or isinstance(outcome, Entry)
        done = {} if self.verb == "remove" else {"a": _NEW}
        assert left in ([done] if is_done else [done, {"a": _AGREED}]), told


def _received(receive: trio.MemoryReceiveChannel[Fact]) -> list[object]:
    events: list[object] = []
    while True:
        try:
            events.append(receive.receive_nowait())
        except trio.WouldBlock:
            return events


def _faults() -> Iterator[tuple[int, How] | None]:
    yield None
    yield from product(range(1, _MOST), get_args(How))


def _acts() -> Iterator[Mapping[int, Act]]:
    acts: tuple[Act, ...] = ("edit", "replace", "remove")
    yield {}
    yield from ({move: act} for move, act in product((1, 2, 3), acts))
    yield from ({1: first, 2: second} for first, second in product(acts, get_args(Act)[1:]))


@pytest.mark.parametrize("is_remote", [False, True], ids=["with-inodes", "to-the-second"])
@pytest.mark.parametrize(
    "proof", [None, hashlib.blake2b(_AGREED, digest_size=32).digest()], ids=["times-tell", "contents-tell"]
)
@pytest.mark.parametrize("verb", get_args(Verb))
async def test_what_another_program_writes_at_any_moment_is_there_after_any_fault(
    verb: Verb, proof: bytes | None, is_remote: bool
) -> None:
    seen = 0
    for acts, fault in product(_acts(), _faults()):
        for later in get_args(Act):
            scene = _Scene(verb, fault, acts, proof, is_remote)
            outcome = await scene.change()
            if fault is not None and scene.verbs < fault[0]:
                break  # the change has ended before
            at_once = scene.tree.files()
            scene.act(later)
            unsettled = await scene.recover(outcome)
            told = f"{acts}, {fault}, later {later}: {outcome!r}; {at_once}, then {scene.tree.files()}"
            scene.check(outcome, unsettled, told)
            seen += bool(scene.acted)
            if not any(map(is_own, at_once)):
                break  # there is nothing left that could be taken for something else later
    assert seen > 100
