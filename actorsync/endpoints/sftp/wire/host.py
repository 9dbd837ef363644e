"""How a server behaves, as this run and earlier ones have seen it.

Version 3 of SFTP leaves much to the server: how many files may be open, whether requests are carried out one after the
other, what OPEN accepts. A server that is not known is treated with care first. What it has shown is kept as traits for
the next run, as long as it greets with the same version.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from actorsync.classes import define
from actorsync.model.traits import Traits

__all__ = ["Host"]

#: Servers that carry out the requests of a channel one after the other: their source says so, or they run OpenSSH's
#: sftp-server. `paramiko` and asyncssh handle the requests of a channel in one thread.
_IN_ORDER: Final = re.compile(r"SSH-2\.0-(OpenSSH|dropbear|mod_sftp|AsyncSSH|paramiko)", re.IGNORECASE)
#: Replies in the order of the requests, while others were due, after which a server is believed to keep the order.
_ENOUGH_REPLIES: Final = 400
#: Files whose content is read back: so many with other files open at the same time, or so many in all.
_CROWDED_SAMPLES, _SAMPLES = 8, 32
#: The most files that are read back from software that is known.
_KNOWN_SAMPLES: Final = 16
#: Connections lost over the same kind of request that prove a fault of the server.
_PROOF: Final = 2
#: What is remembered of a server, each with the version that showed it.
_TRAITS: Final = ("lanes", "order", "open", "bytes", "times", "content")

_ONE_HANDLE: Final = (
    "the server mixes up files that are open at the same time, so it gets one file at a time; "
    "this is slow, but safe: upgrade the server's SFTP software"
)
_FEW_HANDLES: Final = "the server lets only {} files be open at the same time, so no more are sent at once"
_ANY_ORDER: Final = (
    "the server carries out requests in another order than they were sent, so each step of a file waits for the one "
    "before it"
)
_NO_TIMES: Final = "the server refuses to set times and permissions, so files get those that the server chooses"
_UNREADABLE: Final = (
    "the server lets no uploaded file be read back, so only the sizes are verified; allow reading to have a sample of "
    "the content compared"
)


@define(eq=False)
class Host:
    """The behaviour of one server. All connections to it share this object."""

    traits: Traits = attrs.Factory(Traits)
    version: str = ""
    """What the server greets with."""
    is_known: bool = True
    """Whether its version names software that is known to carry out requests in order, and to take long packets."""
    keeps_order: bool = True
    """Whether the server carries out the requests about a file in the order in which they are sent."""
    watches_order: bool = False
    """Whether the order of the replies is to be watched, because the server is not known."""
    handles: int = 0
    """How many files and directories may be open at once on a connection; 0 if no limit is known."""
    has_created: bool = False
    """Whether a file was opened exclusively."""
    _facts: dict[str, str] = attrs.Factory(dict)
    _replies: int = 0
    _begun: int = 0
    _samples: int = 0
    _crowded: int = 0
    _unread: int = 0
    _deaths: int = 0
    _warnings: dict[str, None] = attrs.Factory(dict)

    def greet(self, version: str) -> None:
        """Take note of the server's version at a login. Traits of another version do not count."""
        if version != self.version:
            self.version = version
            for name in _TRAITS:
                text, _, of = self.traits.get(name).partition(" @ ")
                self._facts[name] = text if of == version else ""
            self.handles = int(self._get("lanes") or 0)
            self.is_known = _IN_ORDER.match(version) is not None
            self.keeps_order = self.is_known or self._get("order") == "kept"
            self.watches_order = not self.is_known and self._get("order") != "any"
            for trait, text in (("order", _ANY_ORDER), ("times", _NO_TIMES), ("content", _UNREADABLE)):
                if self._get(trait) in {"any", "refused", "unreadable"}:
                    self._warn(text)
            if self.handles:
                self._warn_of_handles()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, a sentence each."""
        return tuple(self._warnings)

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _warn_of_handles(self) -> None:
        self._warn(_ONE_HANDLE if self.handles == 1 else _FEW_HANDLES.format(self.handles))

    def _get(self, name: str) -> str:
        return self._facts.get(name, "")

    def _learn(self, name: str, text: str) -> None:
        self._facts[name] = text
        self.traits.learn(name, f"{text} @ {self.version}")

    # Handles.

    def limit_handles(self, most: int) -> None:
        """Have at most ``most`` files open at once from now on. A lower limit that is known stays."""
        if not self.handles or most < self.handles:
            self.handles = most
            self._learn("lanes", str(most))
            self._warn_of_handles()

    # Order.

    def note_order(self, *, is_kept: bool) -> bool:
        """Record a reply that arrived while others were due: in the order of the requests, or before an earlier one.

        Return False if the order was relied on until now, and is not kept. Called only with `watches_order`.
        """
        if is_kept:
            self._replies += not self.keeps_order
            if self._replies == _ENOUGH_REPLIES and not self.keeps_order:
                self.keeps_order = True
                self._learn("order", "kept")
            return True
        was_relied_on, self.keeps_order, self.watches_order = self.keeps_order, False, False
        self._learn("order", "any")
        self._warn(_ANY_ORDER)
        return not was_relied_on

    # Opening.

    @property
    def opens_exclusively(self) -> bool:
        """Whether OPEN is sent with EXCL."""
        return self._get("open") != "plain"

    def open_plainly(self) -> None:
        """Send OPEN without EXCL from now on."""
        self._learn("open", "plain")

    # Names that are not UTF-8.

    @property
    def watches_bytes(self) -> bool:
        """Whether it is not known yet if the server survives names that are not UTF-8."""
        return not self.is_known and self._get("bytes") == ""

    @property
    def dies_of_bytes(self) -> bool:
        """Whether the server closes the connection over a name that is not UTF-8."""
        return self._get("bytes") == "deadly"

    def survive_bytes(self) -> None:
        """Record that the server answered a request with such a name."""
        self._learn("bytes", "answered")

    def note_death(self) -> None:
        """Record that a connection was lost over a request with such a name. A second time proves that it is why."""
        self._deaths += 1
        if self._deaths >= _PROOF:
            self._learn("bytes", "deadly")

    # Times.

    @property
    def sets_times_by_path(self) -> bool:
        """Whether times and permissions are set with SETSTAT, because the server refuses FSETSTAT."""
        return self._get("times") == "path"

    @property
    def refuses_times(self) -> bool:
        """Whether the server was seen to refuse both."""
        return self._get("times") == "refused"

    def set_times_by_path(self) -> None:
        """Record that SETSTAT is accepted where FSETSTAT was refused."""
        self._learn("times", "path")

    def refuse_times(self) -> None:
        """Record that neither FSETSTAT nor SETSTAT is accepted."""
        self._learn("times", "refused")
        self._warn(_NO_TIMES)

    # Content.

    @property
    def is_sampling(self) -> bool:
        """Whether the content of uploads is read back. That ends once enough files were right."""
        return self.version != "" and self._get("content") == ""

    def take_sample(self) -> bool:
        """Return whether the upload that begins now is read back.

        Of an unknown server, every upload is that begins before the end of the sampling. Then no wrong file gets its
        final name.
        """
        self._begun += 1
        return self.is_sampling and (not self.is_known or self._begun <= _KNOWN_SAMPLES)

    def note_right(self, *, is_crowded: bool) -> None:
        """Record that a file was read back as it was sent. ``is_crowded``: other files were open meanwhile."""
        self._samples += 1
        self._crowded += is_crowded
        if self._crowded >= _CROWDED_SAMPLES or self._samples >= _SAMPLES:
            self._learn("content", "right")

    def note_unreadable(self) -> None:
        """Record that the server did not let a file be read back."""
        self._unread += 1
        if self._unread >= _CROWDED_SAMPLES:
            self._learn("content", "unreadable")
            self._warn(_UNREADABLE)
