"""The benchmark's user, and the keys and the certificate, which are made for one call."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

import attrs
import trustme

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HASHED", "OWNER", "PASSWORD", "PORT", "USER", "Credentials", "make_credentials"]

USER: Final = "mirror"
PASSWORD: Final = "mirror"
HASHED: Final = "$6$actorsync$n5IyBBovsxfz8tEqtdoSqPisoLmPPyyZuGyS45dD39ctqTmcpm2WnKCF/lXNd8b4g.RBJ7UjEgjlvVz5yKk4H."
OWNER: Final = 60_077
PORT: Final = 2121


@attrs.frozen
class Credentials:
    """The files in one folder. All peers use the same files to log in and to verify the server."""

    folder: Path

    @property
    def key_file(self) -> Path:
        """The private key that the SSH servers accept."""
        return self.folder / "user-key"

    @property
    def authorized_keys(self) -> Path:
        return self.folder / "user-key.pub"

    @property
    def host_key(self) -> Path:
        return self.folder / "host-key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known-hosts"

    @property
    def certificate(self) -> Path:
        """The FTPS servers' certificate, with its key."""
        return self.folder / "server.pem"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that signed the server's certificate."""
        return self.folder / "authority.pem"


def make_credentials(folder: Path, address: str) -> Credentials:
    """Make ``folder`` with the credentials for a server at ``address``."""
    folder.mkdir()
    made = Credentials(folder)
    for path in (made.key_file, made.host_key):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    made.known_hosts.write_text(f"[{address}]:{PORT} {made.host_key.with_suffix('.pub').read_text()}")
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    certificate = authority.issue_cert(address, key_type=trustme.KeyType.RSA)
    made.certificate.touch(mode=0o600)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(made.certificate))
    authority.cert_pem.write_to_path(str(made.ca_file))
    return made
