"""What there is in a story beside its first weather: kinds of trouble, each with a stream of chance of its own.

A kind has up to three parts: what it is like from the beginning (``settle``), what it does at some step of each run
(``during``), and between two runs (``between``). All of it ends when a world asks for peace, except for what is no
trouble but how a place is: coarse times, narrow channels.

To add a kind, add a class and its line in `KINDS`; no seed that there is tells anything else because of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

import trio

from actorsync.actors.connections import parts
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, File
from actorsync.errors import ConnectionLost, OperationRefused, TargetFull
from actorsync.model.entry import Kind, join
from actorsync.model.operation import Operation, Outcome
from actorsync.planning.drift import EVERYTHING, AuditRule
from actorsync.planning.publishing.rules import FILE_BY_FILE, PublishRule
from actorsync.planning.schedule import Schedule
from tests.support.virtual_time import channels_of, stream
from tests.support.world.publishing_climate import Burst, Ranking, Resume, Rule, Trash
from tests.support.world.trouble import Trouble, at
from tests.support.world.world import ALIEN, EPOCH_NS, NAMES, SECOND_NS

if TYPE_CHECKING:
    from tests.support.world.simulation import Story

__all__ = ["BEFORE_RELEASES", "KINDS", "NO_CLIMATE", "Climate"]


class Full(Trouble):
    """The target's disk gets full, and later there is room again."""

    chance = 0.4

    def during(self, story: Story) -> None:
        first, last = sorted((self.rng.randrange(1, 40), self.rng.randrange(1, 200)))

        def fill() -> None:
            used = sum(map(len, story.target.files().values()))
            story.target.capacity = used + self.rng.choice((0, 0, 50, 5_000))

        def empty() -> None:
            story.target.capacity = None

        at(story, first, fill)
        if self.rng.random() < 0.7:
            at(story, last + 1, empty)


class Cursed(Trouble):
    """Paths that the target never takes, or over which all connections break; source files like that."""

    chance = 0.35

    def during(self, story: Story) -> None:
        if story.target.trouble and self.rng.random() < 0.7:  # again and again
            return
        things = [*story.source.files(), *sorted(story.source.directories())]
        if things:
            error = self.rng.choice(
                (
                    OperationRefused("cursed"),
                    OperationRefused("cursed for now", retry=True),
                    ConnectionLost("cursed"),
                    TargetFull("no room for a cursed one"),
                )
            )
            story.target.trouble = dict.fromkeys(self.rng.sample(things, min(3, len(things))), error)
            story.source.trouble = {}
            if self.rng.random() < 0.3:
                story.source.trouble = {self.rng.choice(things): OperationRefused("a bad sector")}


class Crowd(Trouble):
    """Others take the server's connections, and leave them again; sometimes there is none for us."""

    def during(self, story: Story) -> None:
        def change(limit: int | None) -> None:
            story.target.max_sessions = limit
            story.saw("crowd")

        for step in self.steps():
            at(story, step, lambda: change(self.rng.choice((None, 0, 1, 2, 3))))
        at(story, 150, lambda: change(story.most_sessions))

    def between(self, story: Story) -> None:
        story.target.max_sessions = story.most_sessions


class Outage(Trouble):
    """The server is down for a while, once or twice."""

    chance = 0.3

    def during(self, story: Story) -> None:
        def go_down() -> None:
            story.down_until = trio.current_time() + self.rng.choice((0.3, 3.0, 8.0, 300.0))

        for step in self.steps(self.rng.choice((1, 2))):
            at(story, step, go_down)


class Clocks(Trouble):
    """The clocks of both sides are set, forward and back, each by itself, between runs and during them."""

    def during(self, story: Story) -> None:
        for step in self.steps(2):
            at(story, step, lambda: self._set(story))

    def between(self, story: Story) -> None:
        self._set(story)

    def _set(self, story: Story) -> None:
        by = self.rng.choice((1, 2, 3_600, 86_400, 30 * 86_400)) * self.rng.choice((-1, 1)) * SECOND_NS
        if self.rng.random() < 0.6:
            story.skew_ns += by
        else:
            story.server_skew_ns += by
        story.saw("clocks")


class Times(Trouble):
    """A target that keeps times as FAT does, or to the minute."""

    def settle(self, story: Story) -> None:
        story.target.precision_ns = self.rng.choice((2, 60)) * SECOND_NS
        story.saw("times")


class Losses(Trouble):
    """Somebody takes things away from the target: files, folders, temporaries of ours."""

    def during(self, story: Story) -> None:
        for step in self.steps(2):
            at(story, step, lambda: self._take(story))

    def between(self, story: Story) -> None:
        if self.rng.random() < 0.5:
            self._take(story)

    def _take(self, story: Story) -> None:
        things = [*story.target.files(), *sorted(story.target.directories())]
        if things:
            story.take_away(self.rng.choice(things))
            story.saw("losses")


class Strangers(Trouble):
    """Somebody changes files on the target, and puts new things there."""

    def during(self, story: Story) -> None:
        for step in self.steps(2):
            at(story, step, lambda: self._meddle(story))

    def between(self, story: Story) -> None:
        if self.rng.random() < 0.5:
            self._meddle(story)

    def _meddle(self, story: Story) -> None:
        files = [path for path in story.target.files() if path not in story.oracle.intended]
        if files and self.rng.random() < 0.6:
            story.overwrite(self.rng.choice(files))
            story.saw("strangers")
            return
        folders = ["", *sorted(story.target.directories())]
        path = join(self.rng.choice(folders), self.rng.choice((*NAMES, "stranger")))
        if story.target.find("") is not None and story.target.find(path) is None and story.free_for(path):
            with story.unwatched():
                if self.rng.random() < 0.7:
                    story.put_foreign(path, ALIEN, EPOCH_NS - 9)
                else:
                    story.target.mkdir(path)
            story.saw("strangers")


class JournalTrouble(Trouble):
    """The disk that the journal is on gets full in the middle of a run, or cannot be read any more."""

    chance = 0.35

    def during(self, story: Story) -> None:
        def fail() -> None:
            story.journal_trouble = self.rng.choice(("before", "before", "after", "read"))

        if self.rng.random() < 0.6:
            at(story, self.rng.randrange(1, 60), fail)

    def between(self, story: Story) -> None:
        story.journal_trouble = None


class Automatic(Trouble):
    """``connections = "auto"``: `Story` asks for it when it makes a policy."""

    def settle(self, story: Story) -> None:
        story.saw("automatic")


class Patient(Trouble):
    """Runs that leave alone what has failed again and again: `Story` asks for it when it makes a policy."""

    def settle(self, story: Story) -> None:
        story.saw("patient")


class Audits(Trouble):
    """Runs that look at the target: `Story` asks for a rule when it makes a policy."""

    chance = 0.5

    def settle(self, story: Story) -> None:
        story.saw("audits")

    def rule(self) -> AuditRule:
        rng = self.rng
        return AuditRule(
            rng.choice((1, 2, 50, EVERYTHING)), mends=rng.random() < 0.5, large_root=rng.choice((1, 2_000))
        )


class Narrow(Trouble):
    """Every channel has a buffer of 0 or 1."""

    def settle(self, story: Story) -> None:
        story.climate.channel_size = self.rng.choice((0, 1))
        story.saw("narrow")


class Window(Trouble):
    """A schedule that holds next to nothing, so that the scan waits for the wire."""

    def settle(self, story: Story) -> None:
        story.climate.window = self.rng.choice((1, 2, 3))


class Ticks(Trouble):
    """A source whose clock ticks so slowly that a file changes twice and its times do not show it."""

    def settle(self, story: Story) -> None:
        story.tick_ns = self.rng.choice((10**7, SECOND_NS, 2 * SECOND_NS))

    def between(self, story: Story) -> None:
        files = [path for path, data in story.source.files().items() if data]
        for path in self.rng.sample(files, min(2, len(files))):
            node = story.source.find(path)
            assert isinstance(node, File)
            before = story.source.entry(path, node)
            story.source.write(path, self.rng.randbytes(len(node.data)), node.mtime_ns)
            if story.source.entry(path, node) == before:
                story.saw("ticks")
        story.oracle.see_source(story.source)


class Ages(Trouble):
    """Files from before the epoch, and from a future that some numbers are too small for."""

    def settle(self, story: Story) -> None:
        story.saw("ages")

    def age(self, otherwise: int | None) -> int | None:
        return self.rng.choice(
            (otherwise, -1, -5 * SECOND_NS, 0, 2**31 * SECOND_NS, 2**33 * SECOND_NS + 1, 253_402_300_799 * SECOND_NS)
        )


class Links(Trouble):
    """Files in the source that have two names."""

    def during(self, story: Story) -> None:
        at(story, self.step(), lambda: self._link(story))

    def between(self, story: Story) -> None:
        self._link(story)

    def _link(self, story: Story) -> None:
        files, folders = list(story.source.files()), ["", *sorted(story.source.directories())]
        path = join(self.rng.choice(folders), self.rng.choice(NAMES))
        if files and story.source.find(path) is None:
            story.source.link(self.rng.choice(files), path)
            story.oracle.see_source(story.source)
            story.saw("links")


class Specials(Trouble):
    """Symbolic links, pipes and sockets in the source, at new names and in the place of something else."""

    def settle(self, story: Story) -> None:
        self._put(story)

    def during(self, story: Story) -> None:
        at(story, self.step(), lambda: self._put(story))

    def between(self, story: Story) -> None:
        self._put(story)

    def _put(self, story: Story) -> None:
        path = join(self.rng.choice(["", *sorted(story.source.directories())]), self.rng.choice(NAMES))
        if isinstance(story.source.find(path), Directory):
            story.source.delete(path)
        story.source.put_special(path, self.rng.choice((Kind.LINK, Kind.OTHER)))
        story.saw("specials")


class Unmounted(Trouble):
    """For one run, the disk of the source is not mounted: there is another one, with next to nothing on it."""

    def between(self, story: Story) -> None:
        if story.climate.unmounted is not None:
            story.source, story.climate.unmounted = story.climate.unmounted, None
        elif self.rng.random() < 0.5:
            story.climate.unmounted = story.source
            story.source = MemoryEndpoint("unmounted", now=story.source_now)
            story.source.device = 2
            if self.rng.random() < 0.3:
                story.source.write("lost+found", b"")
            story.oracle.see_source(story.source)
            story.saw("unmounted")


KINDS: Final[dict[str, type[Trouble]]] = {
    "full": Full,
    "cursed": Cursed,
    "crowd": Crowd,
    "outage": Outage,
    "clocks": Clocks,
    "times": Times,
    "losses": Losses,
    "strangers": Strangers,
    "journal": JournalTrouble,
    "automatic": Automatic,
    "patient": Patient,
    "narrow": Narrow,
    "window": Window,
    "ticks": Ticks,
    "ages": Ages,
    "links": Links,
    "specials": Specials,
    "audits": Audits,
    "unmounted": Unmounted,
    "burst": Burst,
    "ranks": Ranking,
    "resume": Resume,
    "trash": Trash,
}
#: Kinds that are older than releases.
BEFORE_RELEASES: Final = tuple(kind for kind in KINDS if kind not in {"burst", "ranks", "resume", "trash"})


class Climate:
    """The kinds of trouble that one story has."""

    def __init__(self, troubles: dict[str, Trouble]) -> None:
        self.troubles = troubles
        self.channel_size: int | None = None
        self.window: int | None = None
        self.unmounted: MemoryEndpoint | None = None

    @classmethod
    def of(cls, seed: int, *kinds: str) -> Climate:
        """Return what ``seed`` says, or exactly ``kinds``."""
        troubles = {}
        for name, kind in KINDS.items():
            rng = stream(name, seed)
            if (rng.random() < kind.chance and not kinds) or name in kinds:
                troubles[name] = kind(rng)
        return cls(troubles)

    @classmethod
    def before_releases(cls, seed: int) -> Climate:
        """Return what ``seed`` says without the kinds of releases: what it said before there were any."""
        climate = cls.of(seed)
        return cls({name: trouble for name, trouble in climate.troubles.items() if name in BEFORE_RELEASES})

    def has(self, kind: str) -> bool:
        return kind in self.troubles

    def audit_rule(self) -> AuditRule | None:
        """Return how a run looks at the target; None for not at all."""
        audits = self.troubles.get("audits")
        return audits.rule() if isinstance(audits, Audits) else None

    def publish_rule(self) -> PublishRule:
        """Return how files get their names."""
        rule = FILE_BY_FILE
        for trouble in self.troubles.values():
            if isinstance(trouble, Rule):
                rule = trouble.changed(rule)
        return rule

    def age_of(self, otherwise: int | None) -> int | None:
        """Return the time for a file that was to have the time ``otherwise``."""
        ages = self.troubles.get("ages")
        return ages.age(otherwise) if isinstance(ages, Ages) else otherwise

    def settle(self, story: Story) -> None:
        for trouble in self.troubles.values():
            trouble.settle(story)

    @contextmanager
    def over(self, story: Story) -> Iterator[None]:
        """Have it for as long as the story is told."""
        with ExitStack() as stack:
            stack.enter_context(channels_of(self.channel_size))
            if self.window is not None:
                stack.enter_context(_narrow_schedule(self.window, story))
            if self.has("resume"):  # the journal gets to know after a few bytes how far an upload is
                stack.enter_context(patch.object(parts, "_STEP", 500))
            yield

    @contextmanager
    def during(self, story: Story) -> Iterator[None]:
        """Have it for one run."""
        for trouble in self.troubles.values():
            trouble.during(story)
        yield
        story.agenda.clear()

    async def afterwards(self, story: Story) -> None:
        """Do what is to be done right after a run."""
        for trouble in self.troubles.values():
            if (work := trouble.afterwards(story)) is not None:
                await work()

    def between(self, story: Story) -> None:
        for trouble in self.troubles.values():
            trouble.between(story)

    def calm(self, story: Story) -> None:
        """End it."""
        if self.unmounted is not None:
            story.source, self.unmounted = self.unmounted, None


#: The old weather alone.
NO_CLIMATE: Final = Climate({})


@contextmanager
def _narrow_schedule(window: int, story: Story) -> Iterator[None]:
    """12: give every schedule a window, and see that what waits in it stays below that and one listing."""
    add = Schedule.add

    def watched(schedule: Schedule, operation: Operation) -> list[Outcome]:
        outcomes = add(schedule, operation)
        waiting = schedule.arrivals.copies_ready + schedule._waiting.count
        if schedule.is_full:
            story.saw("window")
        largest = max(map(len, (listing.entries for listing in story.oracle.listings.values())), default=math.inf)
        # What waits for a removal waits for the end of the scan: that must go on, however much it is.
        if not schedule._removals.unsettled and waiting > window + largest:
            story.oracle.blame(f"12: {waiting} operations wait, with a window of {window}")
        return outcomes

    defaults = Schedule.__init__.__kwdefaults__
    assert defaults is not None
    with patch.object(Schedule, "add", watched), patch.dict(defaults, window=window):
        yield
