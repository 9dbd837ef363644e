"""A self-signed certificate for an embedded server. Clients pin it; no authority vouches for it."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from actorsync.testing.servers.profiles import write_private

__all__ = ["certificate_sha256", "self_signed_certificate", "tls_context_for"]

_NAME = "actorsync embedded server"
_LIFETIME = timedelta(days=30)


def self_signed_certificate(path: Path, host: str = "127.0.0.1") -> Path:
    """Write a new key and its certificate for ``host`` to one file with mode 0600, and return its path."""
    # asyncssh depends on cryptography, so it is always installed. It is slow to import.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = datetime.now(UTC)
    try:
        host_name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        host_name = x509.DNSName(host)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([host_name]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    return write_private(path, (private + public).decode())


def certificate_sha256(path: Path) -> str:
    """Return the fingerprint of the first certificate in a file, in the form of ``target.certificate-sha256``."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    body = path.read_text().partition(begin)[2].partition(end)[0]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(f"{begin}{body}{end}\n")).hexdigest()


def tls_context_for(certificate: Path, version: str | None) -> Any:
    """Return the TLS context of a server: its certificate, and the only version that it accepts."""
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(certificate))
    if version is not None:
        number = getattr(SSL, f"TLS{version.replace('.', '_')}_VERSION")
        context.set_min_proto_version(number)
        context.set_max_proto_version(number)
    return context
