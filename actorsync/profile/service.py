"""The tables ``[watch]`` and ``[observe]``: a run that follows changes, and what others may see of it."""

from __future__ import annotations

from pathlib import Path

import attrs

from actorsync.classes import frozen
from actorsync.profile.secrets.secret import SecretSource
from actorsync.profile.values.key import key, secret_reader
from actorsync.profile.values.readers import read_duration, read_path, read_switch
from actorsync.profile.values.service_readers import Listen, read_listen, read_ping

__all__ = ["ObserveTable", "WatchTable"]


@frozen
class WatchTable:
    """How a run with ``sync.watch`` follows changes. All values are in seconds."""

    settle: float = attrs.field(
        default=0.2,
        metadata=key(
            read_duration,
            'settle = "500ms"',
            doc="How long nothing may change in the source before the changes are mirrored.",
            is_text=True,
        ),
    )
    settle_max: float = attrs.field(
        default=2.0,
        metadata=key(
            read_duration,
            'settle-max = "5s"',
            doc="How long changes wait at most, in a source that never rests.",
            is_text=True,
        ),
    )
    delete_settle: float = attrs.field(
        default=5.0,
        metadata=key(
            read_duration,
            'delete-settle = "30s"',
            doc="How long an entry must be gone from the source before it is removed. The source is looked at again "
            "then: a build may empty its output and fill it again.",
            is_text=True,
        ),
    )
    reconcile_every: float = attrs.field(
        default=3_600.0,
        metadata=key(
            read_duration,
            'reconcile-every = "6h"',
            doc="How often the whole source is compared all the same, give or take a quarter: a lost hint is repaired "
            "within this time.",
            is_text=True,
        ),
    )
    idle: float = attrs.field(
        default=60.0,
        metadata=key(
            read_duration,
            'idle = "10m"',
            doc='How long connections stay logged in after the last change. `"0s"`: they are closed at once.',
            is_text=True,
        ),
    )


@frozen
class ObserveTable:
    """Where the state of a run can be seen. Off by default. ``stale_after`` is in seconds, None for no limit."""

    listen: Listen | None = attrs.field(
        default=None,
        metadata=key(
            read_listen,
            'listen = "127.0.0.1:9417"',
            doc="Address and port, or `unix:` and the path of a socket, of a web page with the state of the run, of "
            "`/status.json`, `/metrics`, `/healthz`, `/readyz` and `/events`. Nothing can be changed there.",
            default="none",
            is_text=True,
        ),
    )
    token: SecretSource | None = attrs.field(
        default=None,
        metadata=key(
            secret_reader("token"),
            'token = { env = "ACTORSYNC_TOKEN" }',
            doc="Where the token comes from that each request must carry. Required if `listen` is not a loopback "
            "address or a socket.",
            is_secret=True,
        ),
    )
    stale_after: float | None = attrs.field(
        default=None,
        metadata=key(
            read_duration,
            'stale-after = "2h"',
            doc="`/readyz` fails if the last successful pass is older than this.",
            default="no limit",
            is_text=True,
        ),
    )
    metrics_file: Path | None = attrs.field(
        default=None,
        metadata=key(
            read_path,
            'metrics-file = "/var/lib/node_exporter/actorsync.prom"',
            doc="A file that is written with the metrics at the end of each pass and every 15 seconds, for the "
            "node_exporter of Prometheus.",
            is_text=True,
        ),
    )
    ping: str | None = attrs.field(
        default=None,
        repr=False,
        metadata=key(
            read_ping,
            'ping = "https://hc-ping.com/your-uuid"',
            doc="A URL that is requested at the start (`/start` is appended), the success and the failure (`/fail` is "
            "appended) of each pass over the whole source. It never changes how a run ends.",
            default="none",
            is_text=True,
        ),
    )
    traces: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "traces = true",
            doc="Send traces of passes and files with OpenTelemetry, to where its `OTEL_` variables say. Needs the "
            "extra `otel`.",
        ),
    )
