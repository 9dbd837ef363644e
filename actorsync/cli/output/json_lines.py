"""The output of ``--json``: each event as a JSON object on a line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from actorsync.cli.output.lines import Output
from actorsync.model.event import Event
from actorsync.model.json_records import json_line, records_of

if TYPE_CHECKING:
    from actorsync.service.running import Ended

__all__ = ["JsonLines"]


class JsonLines(Output):
    """Every event as a JSON object on a line."""

    def lines_of(self, event: Event) -> Sequence[str]:
        """Return the records of the event."""
        return [self._line(record) for record in records_of(event)]

    def stopping(self, seconds: float | None) -> None:
        """Report a stop request as a record."""
        self.say(self._line({"event": "cancelling"} if not seconds else {"event": "draining", "seconds": seconds}))

    def show_results(self, results: Sequence[Ended]) -> None:
        """Queue a record for each mirror."""
        for it in results:
            ended = {"result": it.result, "exit_code": it.exit_code, "error": it.report.error}
            self.say(self._line({"event": "ended", "mirror": it.name, **ended}))

    def _named(self, line: str) -> str:
        return line  # the record has the name

    def _line(self, record: dict[str, Any]) -> str:
        mirror = {"mirror": self.name or None} if self.is_one_of_several else {}
        return json_line({"event": record["event"], "time": round(time.time(), 3), **mirror, **record})
