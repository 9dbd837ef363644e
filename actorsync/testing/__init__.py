"""What the tests of actorsync are made of, for anybody's tests.

* ``servers`` and ``sftp_server``: an FTP and an SFTP server inside this process, with a command log and chosen
  weaknesses; ``sftp_packets`` is for those who want the second to lie.
* ``proxy`` and ``faults``: a network that fails as ordered, in front of any FTP server.
* ``wire``: the same in front of any server at all, with fewer ways to fail.
* ``commands``: the command log that both keep.
* ``check``: whether an endpoint of your own keeps the contract; what that demands is in ``conformance`` and
  ``source_conformance``.
* ``faulty``: an endpoint that fails as a simulation decides.
* ``simulation``: a whole run on virtual time, in an order that a seed decides. ``trace``: whether what it announced can
  be true.

Of the rest of actorsync, only ``demo`` imports anything here.
"""

from actorsync.testing.check import (
    DEMANDS,
    SOURCE_DEMANDS,
    DemandsUnmet,
    Unmet,
    check_endpoint,
    check_source,
)
from actorsync.testing.servers import EmbeddedFtpServer, embedded_ftp_server
from actorsync.testing.sftp_server import EmbeddedSftpServer, embedded_sftp_server

__all__ = [
    "DEMANDS",
    "SOURCE_DEMANDS",
    "DemandsUnmet",
    "EmbeddedFtpServer",
    "EmbeddedSftpServer",
    "Unmet",
    "check_endpoint",
    "check_source",
    "embedded_ftp_server",
    "embedded_sftp_server",
]
