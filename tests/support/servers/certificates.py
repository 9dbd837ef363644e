"""Certificates for servers in tests. A process makes them at first use and keeps them until it ends."""

from __future__ import annotations

import functools
import hashlib
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Literal

import attrs
import trustme

__all__ = ["PROXY_HOSTS", "Fault", "Identity", "authority", "identity"]

#: Addresses for proxies in front of a server with TLS. The certificates include them.
PROXY_HOSTS = tuple(f"127.0.0.{number}" for number in range(70, 80))
_HOSTS = ("127.0.0.1", "::1", "localhost", *PROXY_HOSTS)

#: What may be wrong with a certificate.
Fault = Literal["expired", "not yet valid", "another host", "another address", "self-signed", "unknown authority"]


@attrs.frozen
class Identity:
    """A server's certificate and its key."""

    pem: bytes
    """Key and certificate chain in one PEM text."""

    @property
    def certificate(self) -> str:
        """The server's certificate without the chain, as PEM."""
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        return begin + self.pem.decode().partition(begin)[2].partition(end)[0] + end + "\n"

    @property
    def sha256(self) -> str:
        """The fingerprint, in the form of ``target.certificate-sha256``."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate)).hexdigest()

    def server_context(self) -> ssl.SSLContext:
        """Return a TLS context for a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


@functools.cache
def _authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


def authority() -> bytes:
    """Return the certificate of the authority that clients in tests trust, as PEM."""
    return _authority("trusted").cert_pem.bytes()


def identity(fault: Fault | None = None) -> Identity:
    """Return a valid certificate, or one with ``fault``. The same arguments return the same certificate."""
    return _identity(fault)


@functools.cache
def _identity(fault: Fault | None) -> Identity:
    trusted, now = _authority("trusted"), datetime.now(UTC)
    match fault:
        case "expired":
            leaf = trusted.issue_cert(*_HOSTS, not_after=now - timedelta(days=1))
        case "not yet valid":
            leaf = trusted.issue_cert(*_HOSTS, not_before=now + timedelta(days=1))
        case "another host":
            leaf = trusted.issue_cert("example.org")
        case "another address":
            leaf = trusted.issue_cert("127.0.0.99")
        case "unknown authority":
            leaf = _authority("unknown").issue_cert(*_HOSTS)
        case "self-signed":
            signed = _authority("self-signed")
            return Identity(signed.private_key_pem.bytes() + signed.cert_pem.bytes())
        case None:
            leaf = trusted.issue_cert(*_HOSTS)
    return Identity(leaf.private_key_and_cert_chain_pem.bytes())
