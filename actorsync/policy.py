"""What a run may do, and what its caller supplies: `Policy`, `RunOptions`, `Clock`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from actorsync.actors.backoff import Backoff
from actorsync.actors.control import Control
from actorsync.actors.feed import Feed
from actorsync.actors.messages import Blocking, in_thread
from actorsync.actors.observers import Listener, Observer, is_async, require_observers
from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.actors.watching.upcoming import Upcoming
from actorsync.classes import frozen
from actorsync.endpoints.wrappers.bandwidth import Bandwidth
from actorsync.endpoints.wrappers.transform import Transform
from actorsync.journal import Journal
from actorsync.model.entry import Entry
from actorsync.model.event import Event
from actorsync.model.pair import Take
from actorsync.planning.admission.ceiling import Shares
from actorsync.planning.drift import AuditRule
from actorsync.planning.modes import Modes
from actorsync.planning.pairs.rules import PairRule
from actorsync.planning.publishing.rules import FILE_BY_FILE, PublishRule
from actorsync.planning.removal_guard import DeleteLimit, Deletion, Protected
from actorsync.planning.selection import Selection
from actorsync.planning.watching.shrinking import Shrinking

if TYPE_CHECKING:
    from actorsync.endpoints.wrappers.shared_listing import ListingReader
    from actorsync.planning.pairs.settling import Settling

__all__ = ["Allowed", "Clock", "Companion", "Policy", "RunOptions", "token_source"]

#: What stands beside a run, or a loop of passes, while it holds its journal: is entered with the journal and with a
#: function that publishes an event, and left when the run is over. It must neither delay the run nor end it.
Companion: TypeAlias = Callable[[Journal, Callable[[Event], None]], AbstractAsyncContextManager[None]]

#: What becomes of symbolic links of the source.
Links: TypeAlias = Literal["skip", "follow", "error"]

#: How many tokens are made at once.
_TOKENS: Final = 256


@frozen
class Allowed:
    """What the user says of the places, against guards that are not sure.

    ``any_device`` allows removals although the source is on another device than in the last run. ``no_links``: there
    are no symbolic links to directories on servers. Then removals are allowed although a link might look like one.
    """

    any_device: bool = False
    no_links: bool = False


@frozen
class Policy:
    """What a run may do, and how hard it tries.

    ``connections`` is the highest number of connections. With ``is_automatic`` the run begins with fewer, and opens
    more while that makes it faster. ``is_patient`` skips paths that failed in earlier runs until their retry time, or
    until they change. ``bandwidth`` limits the file data sent per second, and may be changed during the run; None means
    no limit. ``transforms`` make the content of some files, see `Transform`. ``by_content`` records the checksums of
    files; a file whose times alone have changed is then read and compared, and not sent. With ``by_size_time`` a file
    of the same size and time is unchanged, whatever its inode. ``modes`` is the rule for permissions; None for the
    default of the target. ``links``: symbolic links of the source are left out, or fail ("error"), or the source shows
    what they lead to ("follow"). ``audit`` says how the run looks at a target that the journal knows; None for not at
    all. ``publish`` says how files get their final names, and what is kept of old versions and broken transfers.
    ``delete_settle``: what is gone is removed only if an earlier run, so many seconds ago, has found it gone as well.
    """

    selection: Selection
    max_delete: DeleteLimit
    delete: Deletion = False
    allowed: Allowed = attrs.Factory(Allowed)
    connections: int = 4
    is_automatic: bool = False
    is_patient: bool = False
    by_content: bool = False
    by_size_time: bool = False
    modes: Modes | None = None
    links: Links = "skip"
    backoff: Backoff = attrs.Factory(Backoff)
    bandwidth: Bandwidth | None = None
    transforms: tuple[Transform, ...] = ()
    audit: AuditRule | None = None
    publish: PublishRule = FILE_BY_FILE
    pair: PairRule | None = None
    """What becomes of conflicts, if both sides may change; None for a mirror."""
    delete_settle: float = 0.0
    counts_drift: bool = True
    """Whether what is known to have drifted counts, also without an audit. A plan shows what a run does, not that."""
    protected: frozenset[str] = frozenset()
    """Paths on the target that an exact mirror (``delete`` is "everything") never removes, with all below them."""

    def sparing(self, held: Mapping[str, Entry | None]) -> Policy:
        """Return the policy that leaves the trash alone, and what was undone. See `TrashMemory.held`."""
        restored = frozenset(path for path, source in held.items() if source is None)
        trash = self.publish.trash
        own = frozenset((trash.path,)) if trash is not None and trash.is_inside else frozenset()
        if not (restored or own):
            return self
        selection = attrs.evolve(self.selection, private=self.selection.private | own)
        return attrs.evolve(self, selection=selection, protected=self.protected | restored)

    @property
    def protects(self) -> Protected | None:
        """What an exact mirror never removes, although no run has put it there; None for any other mirror."""
        if self.delete != "everything":
            return None
        return Protected(attrs.evolve(self.selection, private=self.selection.private | self.protected))


def token_source() -> Callable[[], str]:
    """Return a function that returns a new random token of 64 bits, in hexadecimal, at each call.

    Random bytes are requested from the system for many tokens at a time.
    """

    def tokens() -> Iterator[str]:
        while True:
            block = secrets.token_hex(8 * _TOKENS)
            yield from (block[start : start + 16] for start in range(0, len(block), 16))

    return partial(next, tokens())


@frozen
class Clock:
    """The time of day, randomness and threads of a run. A simulation supplies its own.

    Deadlines follow trio's clock in any case.
    """

    wall_ns: Callable[[], int] = time.time_ns
    token: Callable[[], str] = attrs.Factory(token_source)
    blocking: Blocking = in_thread


def _do_nothing() -> None:
    pass


@frozen(eq=False)
class RunOptions:
    """Everything that the caller of a run supplies, besides the two trees and the journal.

    ``shutdown`` stops the run. Each of ``observers`` is called with each event. A plain function must not wait; an
    async function is called in a task of its own, see `actorsync.runs.observing`, which makes ``listeners`` of them.
    ``statistics`` holds the levels of the run, and may be read at any time. ``pipeline`` holds the caller's stages and
    hooks. ``feed`` takes the events for a reader in another task. ``control`` holds what a user changes meanwhile.
    ``within`` are the directories of the source that one pass lists, and what is new below them; None for all.
    ``companions`` stand beside the run while it holds its journal.
    ``name`` is that of the mirror, if the process has several: what is logged has it.
    ``listings`` are those that this run shares with other runs of the source; None for a run that scans alone.
    ``shares`` is what it may have of the logins that several runs share.
    ``upcoming`` tells displays what comes next while the source is watched.
    ``begun`` is called when the journal is open and the secrets are known: the run cannot be refused any more.
    ``takes`` are the choices of the user for paths of a two-way mirror that are in conflict. With ``is_plan``, such a
    run does nothing, and reports its operations as if it had.
    ``settling`` lets the removals of a two-way run wait for a later pass that finds the entry gone as well.
    ``shrinking`` lets the removal guards count over passes that follow one another; None for a single run.

    Raises `TypeError` for an observer that cannot be called.
    """

    policy: Policy
    shutdown: Shutdown = attrs.Factory(Shutdown)
    observers: Sequence[Observer] = ()
    statistics: Statistics = attrs.Factory(Statistics)
    pipeline: Pipeline = attrs.Factory(Pipeline)
    feed: Feed | None = None
    clock: Clock = attrs.Factory(Clock)
    listeners: Sequence[Listener] = ()
    control: Control = attrs.Factory(Control)
    within: frozenset[str] | None = None
    companions: Sequence[Companion] = ()
    name: str = ""
    listings: ListingReader | None = None
    shares: Shares = attrs.Factory(Shares)
    upcoming: Upcoming = attrs.Factory(Upcoming)
    begun: Callable[[], object] = _do_nothing
    shrinking: Shrinking | None = None
    settling: Settling | None = None
    takes: Mapping[str, Take] = attrs.Factory(dict)
    is_plan: bool = False

    def __attrs_post_init__(self) -> None:
        require_observers(self.observers)

    def publish(self, event: Event) -> None:
        """Show the observers an event that does not belong to a pass. Listeners get it for the async ones."""
        for observer in self.observers:
            if not is_async(observer):
                observer(event)
        for feed in self.feeds:
            feed.observe(event)

    @property
    def feeds(self) -> Sequence[Feed]:
        """Every buffer that events go to."""
        own = () if self.feed is None else (self.feed,)
        return [*own, *(listener.feed for listener in self.listeners)]
