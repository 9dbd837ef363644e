"""Every error that actorsync raises on purpose, as a tree, with the exit code that each ends a run with.

::

    ActorsyncError
    ├── ProfileError          2  the profile or the command line cannot be used
    ├── GuardRefused          4  a guard refused the removals; nothing was removed
    │   └── PlanOutdated      4  a saved plan is out of date; nothing was changed
    ├── TargetUnreachable     5  the target could not be reached after the last retry
    ├── SourceUnreachable     5  the source could not be reached after the last retry
    ├── RunUnreachable        5  no run of the profile is going on, or it does not answer
    ├── LoginRefused          6  the server rejected the login, or failed to prove its identity
    ├── FatalError            7  the run cannot continue: root not writable, no space for the journal
    │   ├── JournalUnusable   7  the journal is damaged, or its format is unknown
    │   └── StageFailed       7  a stage or a hook of the calling program raised
    ├── JournalLocked         8  another process holds the journal
    ├── ReleaseRefused        1  a release cannot be published as a whole; nothing of it is
    ├── HookFailed            1  a program that the profile names has failed
    ├── RunFailed             *  the report of a run that is not in sync; it has the exit code of the report
    ├── ConnectionLost        -  retry over a new connection
    │   ├── ProtocolError     -  invalid or out-of-sequence reply; the connection is closed
    │   └── TooManyConnections -  the server accepts no further connection for now
    │       ├── LoginLapsed   -  it rejects a login that succeeded earlier in this run
    │       └── OwnLimit      -  this machine cannot open another connection
    └── OperationRefused      -  one operation was rejected: an outcome, not a failure of the run
        ├── RootMissing       -  the root of a local tree does not exist
        ├── TargetFull        -  the target has no space: disk full, or quota used up
        ├── SourceLost        -  the connection to the source was lost while a file was read
        ├── TransformFailed   -  a transform failed to make the content of a file
        └── Vanished          -  a source file disappeared before it was read

Anything else that leaves an actor is a bug, and is shown with its traceback.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DRIFTED",
    "ActorsyncError",
    "ConnectionLost",
    "FatalError",
    "GuardRefused",
    "HookFailed",
    "JournalLocked",
    "JournalUnusable",
    "LoginLapsed",
    "LoginRefused",
    "OperationRefused",
    "OwnLimit",
    "PlanOutdated",
    "ProfileError",
    "ProtocolError",
    "ReleaseRefused",
    "RootMissing",
    "RunFailed",
    "RunUnreachable",
    "SourceLost",
    "SourceUnreachable",
    "StageFailed",
    "TargetFull",
    "TargetUnreachable",
    "TooManyConnections",
    "TransformFailed",
    "Vanished",
]


#: The exit code of a run after which the target differs from the source because of other programs. The run has reported
#: that, and changed nothing of it: as after ``plan --exit-code``, changes are pending.
DRIFTED: Final = 9


class ActorsyncError(Exception):
    """Base of every error here; ``str(error)`` is one line fit for a user, free of secrets."""

    exit_code: int = 7


class ProfileError(ActorsyncError):
    """The profile cannot be used. The text names the file, the key, the reason, and what to do."""

    exit_code = 2


class GuardRefused(ActorsyncError):
    """A guard stopped the run before its first removal."""

    exit_code = 4


class PlanOutdated(GuardRefused):
    """A saved plan is not applied: the source or the target has changed since. Nothing was changed."""


class TargetUnreachable(ActorsyncError):
    """No connection to the target could be made or kept, after the last retry."""

    exit_code = 5


class SourceUnreachable(ActorsyncError):
    """No connection to the source could be made or kept, after the last retry. Nothing is removed from the target."""

    exit_code = 5


class RunUnreachable(ActorsyncError):
    """A run was asked for something, and none is going on, or it does not answer."""

    exit_code = 5


class LoginRefused(ActorsyncError):
    """The server rejected the login, or failed to prove its identity: a password, a certificate, a host key.

    Not retried within a run: servers lock accounts out, and a wrong key does not become right.
    """

    exit_code = 6


class FatalError(ActorsyncError):
    """The run cannot continue, and a retry does not help."""

    exit_code = 7


class JournalUnusable(FatalError):
    """The journal is damaged, or its format is unknown: no run can use it.

    It is the only error of a journal that moving the file aside cures.
    """


class StageFailed(FatalError):
    """A stage, a hook or an observer of the caller raised, or broke its contract.

    ``__cause__`` is the exception that it raised.

    It is the only error of a run that is raised, and not only reported: the caller needs its traceback.
    """


class JournalLocked(ActorsyncError):
    """Another process holds the journal of this profile."""

    exit_code = 8


class ReleaseRefused(ActorsyncError):
    """A release cannot be published as a whole: the target has no room for it, or it would take longer than a stop may.

    Nothing of it is published.
    """

    exit_code = 1


class HookFailed(ActorsyncError):
    """A program that the profile names around the changes of a run has failed. The text has the end of its output."""

    exit_code = 1


class RunFailed(ActorsyncError):
    """A run did not leave the target in sync. Only `Report.raise_for_failures` raises it.

    ``exit_code`` is that of the report: 1 for files that failed, 3 for a run that was stopped, and so on.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class ConnectionLost(ActorsyncError):
    """The connection is lost. Operations in progress have an unknown outcome; retry them over a new connection."""


class ProtocolError(ConnectionLost):
    """The server sent an invalid or out-of-sequence reply. The connection is closed."""


class TooManyConnections(ConnectionLost):
    """The server accepts no further connection for now: too many connections, or too many logins in progress."""


class LoginLapsed(TooManyConnections):
    """The server rejects a login that succeeded earlier in this run.

    ProFTPD replies so when it has too many connections. But the password may also have changed: further attempts could
    lock the account out.
    """


class OwnLimit(TooManyConnections):
    """This machine lacks a resource that another connection needs: file descriptors, memory."""


class OperationRefused(ActorsyncError):
    """One operation was rejected, and the connection is still usable.

    ``retry`` says that the same operation may succeed when it is repeated from the start (a truncated transfer, a
    source that changed while it was read). Otherwise the rejection is permanent (a name that the server cannot store).
    """

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry


class TargetFull(OperationRefused):
    """The target has no space: its disk is full, or a quota is used up.

    A probe confirms this; a reply code or its text alone is not enough. It concerns the target, and not one file: other
    files would not fit either.
    """


class Vanished(OperationRefused):
    """A source file disappeared before it was read. The next run plans without it."""


class RootMissing(OperationRefused):
    """The root of a tree does not exist."""


class TransformFailed(OperationRefused):
    """A transform failed to make the content of a file. The text names the transform. A retry would fail too."""


class SourceLost(OperationRefused):
    """The connection to the source was lost while a file was read. The target has no part of the file.

    For the target's session this is a rejected operation, and its connection is still usable. A retry over another
    connection to the source may succeed.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retry=True)
