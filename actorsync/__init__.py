"""actorsync keeps a server an exact mirror of a directory, over N connections.

For scripts there are `run`, `plan` and `apply`, which block, and which Ctrl-C stops gracefully; for programs on trio,
`open_sync`. Events are in ``actorsync.events``, errors in ``actorsync.errors``, and what tests are made of is in
``actorsync.testing``. What is named in ``__all__`` of these stays as it is; everything else may change.

Layout, from the nouns up (each layer imports only those before it):

* ``errors``, ``model``: what is said. Frozen nouns, no I/O.
* ``planning``, ``protocols``: what is decided, and how bytes are read and written. Pure: no trio, no I/O, no clock.
* ``endpoints``: where trees live (local, memory, FTP), behind one contract.
* ``journal``: what each side looked like when they last agreed.
* ``actors``: one actor, one file. ``supervisor`` starts them and is the diagram.
* ``profile``, ``runner``: from a profile to runs, once or every so often.
* ``wording``, ``sink``, ``progress``, ``live_view``: what is shown, and how. ``signals``, ``foreground``: a run in the
  foreground, which Ctrl-C stops.
* ``pipeline``: what a caller adds to a run. ``sync``, ``scripting``, ``saved_plan``, ``events``: runs for programs.
* ``plugins``: endpoints that are not built in, by the scheme of their URLs.
* ``cli``, ``inspection``, ``demo``, ``rehearsal``: the commands.
* ``testing``: public; embedded servers, faults, and the conformance suite every endpoint passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actorsync.actors.pipeline import Change, ListingStage, OperationStage, Stage, listing_stage, operation_stage
    from actorsync.endpoints.wrappers.transform import Transform
    from actorsync.model.entry import Entry, Kind, Listing
    from actorsync.model.event import Event
    from actorsync.model.operation import Copy, Failed, MakeDirectory, Move, Remove
    from actorsync.model.report import Report
    from actorsync.profile import Profile
    from actorsync.runs.blocking import Stop, apply, plan, run
    from actorsync.runs.open_sync import ConnectionState, Levels, Sync, load_profile, open_sync
    from actorsync.runs.saved_plan import Plan, Step

__all__ = [
    "Change",
    "ConnectionState",
    "Copy",
    "Entry",
    "Event",
    "Failed",
    "Kind",
    "Levels",
    "Listing",
    "ListingStage",
    "MakeDirectory",
    "Move",
    "OperationStage",
    "Plan",
    "Profile",
    "Remove",
    "Report",
    "Stage",
    "Step",
    "Stop",
    "Sync",
    "Transform",
    "__version__",
    "apply",
    "listing_stage",
    "load_profile",
    "open_sync",
    "operation_stage",
    "plan",
    "run",
]

__version__ = "0.1.0"

#: Where each name is. It is imported when it is first asked for: ``actorsync --version`` needs none of them.
_HOMES: Final = {
    "Change": "actors.pipeline",
    "ConnectionState": "runs.open_sync",
    "Copy": "model.operation",
    "Entry": "model.entry",
    "Event": "model.event",
    "Failed": "model.operation",
    "Kind": "model.entry",
    "Levels": "runs.open_sync",
    "Listing": "model.entry",
    "ListingStage": "actors.pipeline",
    "MakeDirectory": "model.operation",
    "Move": "model.operation",
    "OperationStage": "actors.pipeline",
    "Plan": "runs.saved_plan",
    "Profile": "profile",
    "Remove": "model.operation",
    "Report": "model.report",
    "Stage": "actors.pipeline",
    "Step": "runs.saved_plan",
    "Stop": "runs.blocking",
    "Sync": "runs.open_sync",
    "Transform": "endpoints.wrappers.transform",
    "apply": "runs.blocking",
    "listing_stage": "actors.pipeline",
    "load_profile": "runs.open_sync",
    "open_sync": "runs.open_sync",
    "operation_stage": "actors.pipeline",
    "plan": "runs.blocking",
    "run": "runs.blocking",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
