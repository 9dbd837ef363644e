"""Traces with OpenTelemetry: a span for the run, in it one for each pass, in it one for each file.

Needs the extra ``otel``. Where the spans go, and which of them, is in the ``OTEL_`` variables of the SDK.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import attrs
import trio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from actorsync import __version__
from actorsync.classes import define
from actorsync.model.event import Event, Intended, Started, Stopped
from actorsync.model.messages import result_of
from actorsync.model.operation import Copy, Done, Failed, Fault, Prepare
from actorsync.model.report import Report
from actorsync.observe.board import MirrorState

__all__ = ["Traces"]

#: Files whose beginning is remembered. The others have a span without a length.
_MOST_FILES: Final = 10_000

_UNSENT: Final = (
    "observe.traces: spans were not sent in time; check OTEL_EXPORTER_OTLP_ENDPOINT, and that a collector listens there"
)


@define(eq=False)
class Traces:
    """The spans of one mirror. They are sent in the background, and dropped if that is too slow.

    ``warn`` is called with one line if they cannot be sent.
    """

    state: MirrorState
    warn: Callable[[str], None]
    processor: SpanProcessor = attrs.Factory(lambda: BatchSpanProcessor(OTLPSpanExporter()))
    _provider: TracerProvider = attrs.field(init=False)
    _tracer: trace.Tracer = attrs.field(init=False)
    _run: trace.Span = attrs.field(init=False)
    _current: trace.Span | None = None
    _began: dict[str, int] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        own = {SERVICE_NAME: "actorsync", SERVICE_VERSION: __version__}
        named_by_user = OTELResourceDetector().detect()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        resource = Resource.create({**own, **named_by_user.attributes})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self.processor)
        self._tracer = self._provider.get_tracer("actorsync", __version__)
        named = {"actorsync.profile": self.state.profile, "actorsync.target": self.state.name}
        self._run = self._tracer.start_span("run", attributes=named)
        self.state.readers.add(self.observe)

    def observe(self, event: Event) -> None:
        """Begin and end spans."""
        match event:
            case Intended(source=source) if source is not None:
                if len(self._began) < _MOST_FILES:
                    self._began.setdefault(source.path, time.time_ns())
            case Done(Copy() | Prepare() as operation, target, kept=kept):
                size = kept.size if kept is not None else operation.source.size if target is None else target.size
                self._end_file(operation, {"actorsync.size": size}, None)
            case Failed(Copy() | Prepare() as operation, reason, fault) if fault is not Fault.PARKED:
                self._end_file(operation, {"actorsync.fault": fault.value}, reason)
            case Started():
                self._begin_pass()
            case Stopped(report):
                self._end_pass(report)

    async def run(self) -> None:
        """Tell the user if spans cannot be sent, until cancelled."""
        complaints = _Complaints(self.warn, trio.lowlevel.current_trio_token())
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(complaints)
        try:
            await trio.sleep_forever()
        finally:
            logger.removeHandler(complaints)

    async def finish(self) -> None:
        """Send what is left. Spans that cannot be sent by then are lost."""
        self._run.end()
        is_sent = False
        try:
            await trio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)
            is_sent = True
        finally:
            if not is_sent:  # the SDK tries again and again, and says nothing meanwhile
                self.warn(_UNSENT)

    def _begin_pass(self) -> None:
        directories = self.state.directories
        attributes: dict[str, str | int] = {"actorsync.reason": self.state.reason}
        if directories is not None:
            attributes["actorsync.scope"] = len(directories)
        context = trace.set_span_in_context(self._run)
        self._current = self._tracer.start_span("pass", context, attributes=attributes)

    def _end_pass(self, report: Report) -> None:
        self._began.clear()
        if self._current is None:
            return
        self._current.set_attributes(
            {
                "actorsync.exit_code": report.exit_code,
                "actorsync.copied": report.copied,
                "actorsync.copied_bytes": report.copied_bytes,
                "actorsync.removed": report.removed,
                "actorsync.failed": report.failed,
            }
        )
        if report.exit_code != 0:
            self._current.set_status(trace.StatusCode.ERROR, report.error or report.refused or result_of(report))
        self._current.end()
        self._current = None

    def _end_file(self, operation: Copy | Prepare, attributes: dict[str, str | int], failure: str | None) -> None:
        now = time.time_ns()
        path = operation.path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        context = trace.set_span_in_context(self._current or self._run)
        span = self._tracer.start_span(
            "file",
            context,
            attributes={"actorsync.path": path, **attributes},
            start_time=self._began.pop(operation.path, now),
        )
        if failure is not None:
            span.set_status(trace.StatusCode.ERROR, failure.encode("utf-8", "backslashreplace").decode())
        span.end(now)


class _Complaints(logging.Handler):
    """Turns the first complaint of the SDK, which comes from a thread of its own, into a warning."""

    def __init__(self, warn: Callable[[str], None], token: trio.lowlevel.TrioToken) -> None:
        super().__init__(logging.ERROR)
        self._warn, self._token = warn, token

    def emit(self, _: logging.LogRecord) -> None:
        """Warn, whatever the record says: its text comes from a library."""
        try:
            self._token.run_sync_soon(self._warn, _UNSENT, idempotent=True)
        except trio.RunFinishedError:
            return
