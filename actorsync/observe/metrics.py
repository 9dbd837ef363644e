"""The board as metrics, in the text format of Prometheus.

Labels are ``profile`` and ``target`` only. Paths, reasons and names of servers are not among them: each value of a
label is a time series that is stored for ever, and metrics are often readable for more people than the files are.

prometheus-client is used with a registry of its own, and with a collector that reads the board when it is asked. So
there is one set of figures, which nothing needs to keep up to date, and the figures of the Python process that the
library adds to its global registry are not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from actorsync import __version__
from actorsync.classes import frozen
from actorsync.observe.board import Board, MirrorState

__all__ = ["metrics_text"]

_LABELS: Final = ("profile", "target")

#: A value of a mirror; None if it has none, so that there is no sample.
_Value = Callable[[MirrorState], float | None]

_COUNTERS: Final[tuple[tuple[str, str, _Value], ...]] = (
    ("files_planned", "Files that passes have planned to send.", lambda it: it.counters.files_planned),
    ("files_done", "Files that were sent and have their final name.", lambda it: it.counters.files_done),
    ("files_failed", "Paths that have failed.", lambda it: it.counters.files_failed),
    ("bytes_sent", "Bytes of files that were sent as a whole.", lambda it: it.counters.bytes_sent),
    ("entries_removed", "Files and directories that were removed from the target.", lambda it: it.counters.removed),
    ("entries_moved", "Files and directories that were renamed on the target.", lambda it: it.counters.moved),
    ("retries", "Operations that were tried again.", lambda it: it.counters.retries),
    ("reconnects", "Connections that were lost, or could not be opened.", lambda it: it.counters.reconnects),
    ("login_failures", "Logins that the server has rejected.", lambda it: it.counters.login_failures),
    ("watch_lost", "Times that changes of the source may have gone unnoticed.", lambda it: it.counters.watch_losses),
)

_GAUGES: Final[tuple[tuple[str, str, _Value], ...]] = (
    ("running", "1 while a pass goes on, else 0.", lambda it: it.is_running),
    ("paused", "1 while the user has paused the mirror, else 0.", lambda it: it.is_paused),
    ("ready", "1 if the last pass was good and is not too old, as for /readyz, else 0.", lambda it: _is_ready(it)),
    (
        "last_success_timestamp_seconds",
        "When the last pass ended after which the target was in sync.",
        lambda it: it.last_success_at,
    ),
    ("last_run_exit_code", "Exit code of the last pass.", lambda it: None if it.last is None else it.last.exit_code),
    (
        "last_run_timestamp_seconds",
        "When the last pass ended.",
        lambda it: None if it.last is None else it.last.started_at + it.last.seconds,
    ),
    (
        "last_run_duration_seconds",
        "How long the last pass took.",
        lambda it: None if it.last is None else it.last.seconds,
    ),
    (
        "freshness_lag_seconds",
        "Age of the oldest change of the source that was noticed and is not on the target.",
        lambda it: 0.0 if it.hinted_at is None else max(0.0, it.clock() - it.hinted_at),
    ),
    ("parked", "Paths that are not tried for a while, because they keep failing.", lambda it: it.troubles.parked.total),
    ("drift", "Entries that other programs have changed on the target.", lambda it: it.troubles.drift.total),
    ("conflicts", "Paths that both sides have changed, to be decided about.", lambda it: it.troubles.conflicts.total),
    (
        "connections",
        "Connections to the target that are open.",
        lambda it: sum(level.is_connected for level in it.statistics.connections),
    ),
    ("breaker_open", "1 while the target is down or full, else 0.", lambda it: it.counters.breaker is not None),
    ("staged_bytes", "Bytes on the target that wait to be published together.", lambda it: it.counters.staged_bytes),
)


def metrics_text(board: Board) -> bytes:
    """Return the metrics of a board."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OfBoard(board))
    return generate_latest(registry)


@frozen(eq=False)
class _OfBoard(Collector):
    board: Board

    def collect(self) -> Iterator[Metric]:
        """Yield every family with a sample for each mirror."""
        yield InfoMetricFamily("actorsync", "The version of actorsync.", {"version": __version__})
        started = GaugeMetricFamily("actorsync_start_time_seconds", "When the process began.", self.board.started_at)
        yield started
        states = tuple(self.board.mirrors.values())
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(f"actorsync_{name}", text, labels=_LABELS)
            for labels, sample in _samples(states, value):
                counter.add_metric(labels, sample)
            yield counter
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(f"actorsync_{name}", text, labels=_LABELS)
            for labels, sample in _samples(states, value):
                gauge.add_metric(labels, sample)
            yield gauge
        passes = SummaryMetricFamily("actorsync_pass_duration_seconds", "How long passes took.", labels=_LABELS)
        for state in states:
            passes.add_metric(_labels(state), state.counters.passes, state.counters.pass_seconds)
        yield passes


def _samples(states: tuple[MirrorState, ...], value: _Value) -> Iterator[tuple[tuple[str, str], float]]:
    for state in states:
        sample = value(state)
        if sample is not None:
            yield _labels(state), float(sample)


def _labels(state: MirrorState) -> tuple[str, str]:
    return state.profile, state.name


def _is_ready(state: MirrorState) -> bool:
    return state.why_not_ready() is None
