"""Which FTPS servers are believed to be who they say they are, and how TLS fails when they are not."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import attrs

from actorsync.errors import ConnectionLost, LoginRefused, ProfileError
from actorsync.model.text import display

__all__ = [
    "TlsPolicy",
    "UntrustedServer",
    "check_pin",
    "fingerprint",
    "handshake_error",
    "make_context",
    "warn_of_clear_text",
]


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


class UntrustedServer(LoginRefused):
    """The server's certificate is not one that the policy accepts. Nothing was sent to it.

    ``shown`` is the SHA-256 of the one that it showed, where that is known.
    """

    def __init__(self, reason: str, shown: str | None = None) -> None:
        super().__init__(reason)
        self.shown = shown


_MINIMUM: Mapping[str, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_context(policy: TlsPolicy) -> ssl.SSLContext:
    """Make the context that every connection of an endpoint shares: sessions are resumed within one context only.

    With a pinned certificate OpenSSL verifies nothing, so that whoever uses the context has to call `check_pin` after
    each handshake, before a byte is sent.

    Raises:
        ProfileError: ``ca_file`` cannot be read, or holds no certificate.
    """
    if policy.certificate_sha256 is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context = ssl.create_default_context(cafile=policy.ca_file)
        except OSError as error:  # of which ssl.SSLError is one
            reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ProfileError(f"ca-file {display(str(policy.ca_file))} cannot be used: {reason}") from error
    context.minimum_version = _MINIMUM[policy.minimum_version]
    return context


def fingerprint(certificate: bytes) -> str:
    """Give the SHA-256 of a certificate in DER form, as a profile holds it."""
    return hashlib.sha256(certificate).hexdigest()


def check_pin(policy: TlsPolicy, certificate: bytes | None) -> None:
    """Compare what the server has shown with the pinned certificate, where one is pinned.

    Raises:
        UntrustedServer: it is another one, or none.
    """
    if policy.certificate_sha256 is None:
        return
    shown = fingerprint(certificate) if certificate else None
    if shown != policy.certificate_sha256:
        raise UntrustedServer("the certificate is not the one that certificate-sha256 names", shown)


# OpenSSL's numbers (X509_V_ERR_*); the ssl module has no names for them.
_UNTRUSTED: Mapping[int, str] = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "is signed by an unknown authority",
    20: "is signed by an unknown authority",
    21: "is signed by an unknown authority",
    23: "is revoked",
    62: "is for another host name",
    64: "is for another address",
}

_NO_COMMON_VERSION = "the server has no version of TLS in common with us (older than 1.2 is never used)"
#: What a handshake that is refused for good fails with. What is not here may pass another time.
_REFUSED: Mapping[str, str] = {
    "DH_KEY_TOO_SMALL": "the server's key is too weak",
    "EE_KEY_TOO_SMALL": "the server's key is too weak",
    "NO_PROTOCOLS_AVAILABLE": _NO_COMMON_VERSION,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server speaks no kind of TLS that is strong enough",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": "the server speaks no kind of TLS that is strong enough",
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "WRONG_SSL_VERSION": _NO_COMMON_VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate of ours",
    # Not a record of TLS: a server that answers in clear.
    "HTTP_REQUEST": "the answer is not TLS",
    "PACKET_LENGTH_TOO_LONG": "the answer is not TLS",
    "RECORD_LAYER_FAILURE": "the answer is not TLS",
    "WRONG_VERSION_NUMBER": "the answer is not TLS",
}


def handshake_error(cause: BaseException | None) -> ConnectionLost | LoginRefused:
    """Say what a handshake failed of, from the error below trio's: the server is not who it should be, or is gone."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = _UNTRUSTED.get(cause.verify_code, f"is not accepted ({display(cause.verify_message)})")
        return UntrustedServer(f"the certificate {why}")
    if cause is None or isinstance(cause, ssl.SSLEOFError):
        return ConnectionLost("the server hung up during the TLS handshake")
    if isinstance(cause, ssl.SSLError) and cause.reason in _REFUSED:
        return LoginRefused(_REFUSED[cause.reason])
    return ConnectionLost(f"the TLS handshake failed: {_words(cause)}")


def _words(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or type(cause).__name__).replace("_", " ").lower()
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__


def warn_of_clear_text(host: str, address: str, user: str) -> tuple[str, ...]:
    """Say, where a login without TLS leaves the user's own network, that everybody on the way can read it.

    ``address`` is where the connection leads. Nobody's secret is lost by an anonymous login.
    """
    if user.lower() in {"anonymous", "ftp"}:
        return ()
    ip = ipaddress.ip_address(address)
    ip = (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    if ip.is_loopback or ip.is_private or ip.is_link_local:
        return ()
    return (f"user name and password travel in clear to {display(host)}: use ftpes:// or sftp:// if the server can",)
