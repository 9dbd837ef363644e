"""What the tests of actorsync are made of, for anybody's tests.

* ``servers``: an FTP server inside this process, with a command log and chosen weaknesses.
* ``proxy`` and ``faults``: a network that fails as ordered, in front of any FTP server.
* ``commands``: the command log that both keep.
* ``conformance``: what every endpoint must do. ``faulty``: an endpoint that fails as a simulation decides.

Of the rest of actorsync, only ``demo`` imports anything here.
"""

from actorsync.testing.servers import EmbeddedFtpServer, embedded_ftp_server

__all__ = ["EmbeddedFtpServer", "embedded_ftp_server"]
