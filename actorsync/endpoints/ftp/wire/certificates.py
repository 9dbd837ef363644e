"""The verification of FTPS servers: the policy, the pinned certificate, and the errors of a failed handshake."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from actorsync.classes import frozen
from actorsync.errors import ConnectionLost, LoginRefused, ProfileError
from actorsync.model.text import display

__all__ = [
    "NotTls",
    "TlsPolicy",
    "UntrustedServer",
    "check_pin",
    "fingerprint",
    "handshake_error",
    "make_context",
    "warn_of_clear_text",
]


@frozen
class TlsPolicy:
    """How TLS begins, and which certificates are accepted.

    A certificate is verified for the host's name against ``ca_file`` where there is one, else against the system's
    store. With ``certificate_sha256`` exactly that certificate is accepted instead, whatever its signature. It has 64
    lower-case hexadecimal digits: the digest of the whole certificate, as ``openssl x509 -fingerprint -sha256`` prints.
    """

    is_implicit: bool = False
    """TLS from the first byte (``ftps://``), instead of ``AUTH TLS`` after the greeting (``ftpes://``)."""
    ca_file: Path | None = None
    certificate_sha256: str | None = None
    minimum_version: Literal["1.2", "1.3"] = "1.2"


class UntrustedServer(LoginRefused):
    """The policy does not accept the server's certificate. Nothing was sent to the server.

    ``shown`` is the SHA-256 of the server's certificate, where that is known.
    """

    def __init__(self, reason: str, shown: str | None = None) -> None:
        super().__init__(reason)
        self.shown = shown


_MINIMUM: Mapping[str, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def make_context(policy: TlsPolicy) -> ssl.SSLContext:
    """Make the context that every connection of an endpoint shares: sessions are resumed within one context only.

    With a pinned certificate OpenSSL verifies nothing. The caller then has to call `check_pin` after each handshake,
    before a byte is sent.

    Raises:
        ProfileError: ``ca_file`` cannot be read, or contains no certificate.
    """
    if policy.certificate_sha256 is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context = ssl.create_default_context(cafile=policy.ca_file)
        except OSError as error:  # of which ssl.SSLError is one
            reason = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise ProfileError(f"ca-file {display(str(policy.ca_file))} cannot be used: {reason}") from error
    context.minimum_version = _MINIMUM[policy.minimum_version]
    return context


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate in DER form, in the form of a profile: 64 lower-case hexadecimal digits."""
    return hashlib.sha256(certificate).hexdigest()


def check_pin(policy: TlsPolicy, certificate: bytes | None) -> None:
    """Compare the server's certificate with the pinned one, where one is pinned.

    Raises:
        UntrustedServer: The server has another certificate, or none.
    """
    if policy.certificate_sha256 is None:
        return
    shown = fingerprint(certificate) if certificate else None
    if shown != policy.certificate_sha256:
        raise UntrustedServer("the certificate does not match certificate-sha256", shown)


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

_NOT_TLS = "the answer is not TLS"
_NO_COMMON_VERSION = "the server has no TLS version in common with actorsync (before 1.2 none is ever used)"
_NO_COMMON_CIPHER = "the server has no strong enough TLS cipher in common with actorsync"
#: OpenSSL's reasons for failures that a retry cannot help. After any other, a retry may succeed.
_REFUSED: Mapping[str, str] = {
    "DH_KEY_TOO_SMALL": "the server's key is too weak",
    "EE_KEY_TOO_SMALL": "the server's key is too weak",
    "NO_PROTOCOLS_AVAILABLE": _NO_COMMON_VERSION,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_COMMON_CIPHER,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NO_COMMON_CIPHER,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "WRONG_SSL_VERSION": _NO_COMMON_VERSION,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server requires a client certificate, which actorsync cannot send",
    # A server that answers in clear sends no TLS record.
    "HTTP_REQUEST": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "WRONG_VERSION_NUMBER": _NOT_TLS,
}


class NotTls(LoginRefused):
    """The server answered the handshake with something that is not TLS."""


def handshake_error(cause: BaseException | None) -> ConnectionLost | LoginRefused:
    """Return the error for a failed handshake. ``cause`` is the error below trio's, None for an unexpected end.

    `LoginRefused` where a retry cannot help, else `ConnectionLost`.
    """
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = _UNTRUSTED.get(cause.verify_code, f"is not accepted ({display(cause.verify_message)})")
        return UntrustedServer(f"the certificate {why}")
    if cause is None or isinstance(cause, ssl.SSLEOFError):
        return ConnectionLost("the server closed the connection during the TLS handshake")
    if isinstance(cause, ssl.SSLError) and cause.reason in _REFUSED:
        why = _REFUSED[cause.reason]
        return NotTls(why) if why == _NOT_TLS else LoginRefused(why)
    return ConnectionLost(f"the TLS handshake failed: {_words(cause)}")


def _words(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or type(cause).__name__).replace("_", " ").lower()
    return (cause.strerror if isinstance(cause, OSError) else None) or type(cause).__name__


def warn_of_clear_text(host: str, way: Sequence[str], user: str) -> tuple[str, ...]:
    """Return a warning when a login without TLS leaves the user's own network, where others can read it.

    ``way`` holds the addresses on the way: the proxy's, if there is one, and the server's. A host name, which only the
    proxy looks up, counts as outside. An anonymous login has no secret, and gets no warning.
    """
    if user.lower() in {"anonymous", "ftp"} or all(_is_near(address) for address in way):
        return ()
    return (f"user name and password are sent in clear to {display(host)}; use ftpes:// or sftp:// if the server can",)


def _is_near(address: str) -> bool:
    """Return whether an address is on this machine or in the user's own network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # a host name
        return address == "localhost"
    ip = (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    return ip.is_loopback or ip.is_private or ip.is_link_local
