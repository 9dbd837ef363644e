"""Every error that actorsync raises on purpose, as a tree, with the exit code that each ends a run with.

::

    ActorsyncError
    ├── ProfileError          2  the profile, or the command line, is not usable
    ├── GuardRefused          4  going on could destroy something; nothing was removed
    │   └── PlanOutdated      4  a saved plan is not what would be done now; nothing was changed
    ├── TargetUnreachable     5  the server stayed away for as long as we were willing to wait
    ├── SourceUnreachable     5  the same of the server that is the source
    ├── LoginRefused          6  the server refuses who we are, or is not who it should be
    ├── FatalError            7  the run cannot go on: root not writable, no room for the journal
    │   ├── JournalUnusable   7  the journal is damaged, or not one that we can read
    │   └── StageFailed       7  a stage or a hook of the program that called us has raised
    ├── JournalLocked         8  another run holds this journal
    ├── ConnectionLost        -  do it again over a new connection
    │   ├── ProtocolError     -  the other side said what it cannot have meant: the connection is out of step
    │   └── TooManyConnections -  the other side lets no more connections in than it has
    │       ├── LoginLapsed   -  it refuses a login that was good before in this run
    │       └── OwnLimit      -  it is our own side that can open no more
    └── OperationRefused      -  the other side said no to one operation: an outcome, not a failure of the run
        ├── TargetFull        -  the target has no room for it: no disk, or no quota
        ├── SourceLost        -  the connection to the source was lost while a file was read
        ├── TransformFailed   -  what was to be sent of a file could not be made of it
        └── Vanished          -  a source file was gone when it was to be read

Anything else that leaves an actor is a bug, and is shown with its traceback.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ActorsyncError",
    "ConnectionLost",
    "FatalError",
    "GuardRefused",
    "JournalLocked",
    "JournalUnusable",
    "LoginLapsed",
    "LoginRefused",
    "OperationRefused",
    "OwnLimit",
    "PlanOutdated",
    "ProfileError",
    "ProtocolError",
    "SourceLost",
    "SourceUnreachable",
    "StageFailed",
    "TargetFull",
    "TargetUnreachable",
    "TooManyConnections",
    "TransformFailed",
    "Vanished",
]


class ActorsyncError(Exception):
    """Base of every error here; ``str(error)`` is one line fit for a user, free of secrets."""

    exit_code: ClassVar[int] = 7


class ProfileError(ActorsyncError):
    """The profile cannot be used. The text names the file, the key, the reason and the way out."""

    exit_code = 2


class GuardRefused(ActorsyncError):
    """A guard stopped the run before its first removal."""

    exit_code = 4


class PlanOutdated(GuardRefused):
    """A saved plan is not applied: either side has moved since it was made. Nothing was changed."""


class TargetUnreachable(ActorsyncError):
    """No connection could be made, or none could be kept, after every back-off."""

    exit_code = 5


class SourceUnreachable(ActorsyncError):
    """The same of the server that is the source: nothing can be read, and nothing is known to be gone."""

    exit_code = 5


class LoginRefused(ActorsyncError):
    """The server refuses who we are, or is not who it should be: a password, a certificate, a host key.

    Never tried again within a run: servers lock accounts out, and a key that is wrong once is not right the next time.
    """

    exit_code = 6


class FatalError(ActorsyncError):
    """The run cannot go on, and trying again will not help."""

    exit_code = 7


class JournalUnusable(FatalError):
    """What stands where the journal should be is damaged, or is none that we can read: it is of no use to any run.

    The only one of the journal's errors that goes away when the file does.
    """


class StageFailed(FatalError):
    """A stage or a hook of the caller's has raised, or has done what it must not. ``__cause__`` is what it raised.

    The only error of a run that is raised and not only reported: the caller has to see where it comes from.
    """


class JournalLocked(ActorsyncError):
    """Another live process holds the journal of this profile."""

    exit_code = 8


class ConnectionLost(ActorsyncError):
    """The connection is gone or out of step; what was in flight has an unknown outcome. Do it again on a new one."""


class ProtocolError(ConnectionLost):
    """The server said what it cannot have meant. The connection is out of step, and is dropped, never mended."""


class TooManyConnections(ConnectionLost):
    """The other side lets nobody else in for now: it has too many connections, or too many logins under way."""


class LoginLapsed(TooManyConnections):
    """The other side refuses a login that was good before in this run.

    Some say so when they have too many connections (ProFTPD); or the login is not good any more, and whoever goes on
    trying is locked out.
    """


class OwnLimit(TooManyConnections):
    """Our own side has no room for another connection, or for what one needs: descriptors, memory."""


class OperationRefused(ActorsyncError):
    """The other side refused one operation, and the connection is still good.

    ``retry`` says that the same operation may pass when done again from the start (a truncated transfer, a
    source that changed while it was read), as against a refusal that stands (a name it will not store).
    """

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry


class TargetFull(OperationRefused):
    """The target has no room for what was to be written: its disk is full, or a quota is used up.

    Found out by looking, never by a code or a text alone. It is about the target and not about one file: what is
    still to be sent would not fit either.
    """


class Vanished(OperationRefused):
    """A source file was gone before it could be read: nobody's fault, and the next run knows what to do."""


class TransformFailed(OperationRefused):
    """What was to be sent of a source file could not be made of it. Nobody's fault but the transform's.

    The text names the transform. Trying again would give the same.
    """


class SourceLost(OperationRefused):
    """The connection to the source was lost while a file was read. The target is well, and has none of it.

    A refusal, because that is what it is to the target; and it may pass when done again, over another connection.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retry=True)
