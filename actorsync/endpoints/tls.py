"""Which FTPS servers are believed to be who they say they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

__all__ = ["TlsPolicy"]


@attrs.frozen
class TlsPolicy:
    """How TLS begins, and which certificates are accepted.

    A certificate is verified for the host's name against ``ca_file`` where there is one, else against the system's
    store. With ``certificate_sha256`` (64 lower-case hexadecimal digits: the digest of the whole certificate, as
    ``openssl x509 -fingerprint -sha256`` gives it) exactly that certificate is accepted instead, whoever signed it.
    """

    is_implicit: bool = False
    """TLS from the first byte (``ftps://``), as against ``AUTH TLS`` after the greeting (``ftpes://``)."""
    ca_file: Path | None = None
    certificate_sha256: str | None = None
    minimum_version: Literal["1.2", "1.3"] = "1.2"
