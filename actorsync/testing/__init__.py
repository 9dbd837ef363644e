"""What the tests of actorsync are made of, for anybody's tests.

* ``servers`` and ``sftp_server``: an FTP and an SFTP server inside this process, with a command log, chosen weaknesses
  and faults (``server_faults``); ``sftp_packets`` is for those who want the second to lie, ``certificates`` for TLS.
* ``fixtures``: these servers as fixtures of pytest, enabled with ``pytest_plugins = ["actorsync.testing.fixtures"]``.
* ``visitor``: reads a site while it is deployed, and tells what was to be seen.
* ``proxy`` and ``faults``: a network that fails as ordered, in front of any FTP server.
* ``wire``: the same in front of any server at all, with fewer ways to fail.
* ``commands``: the command log that all of them keep.
* ``conformance``: the suite that checks an endpoint of your own against the contract.
* ``faulty_endpoint``: a wrapper that makes any endpoint fail as a test decides.
* ``simulation``: a whole run on virtual time, in an order that a seed decides. ``trace``: whether what it announced can
  be true.

Of the rest of actorsync, only ``demo``, ``rehearsal`` and its command import anything here. What the other modules are
most used for is here as well; docs/testing.md shows it at work.
"""

from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.testing.conformance.check import (
    CHECKS,
    SOURCE_CHECKS,
    CheckFailed,
    ChecksFailed,
    check_endpoint,
    check_source,
)
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults
from actorsync.testing.network.faults import (
    Cut,
    CutData,
    Duplicate,
    Hold,
    Late,
    Refuse,
    RefuseData,
    Slice,
    Swallow,
    Throttle,
    Truncate,
)
from actorsync.testing.network.ftp_proxy import FaultProxy, fault_proxy, open_fault_proxy
from actorsync.testing.network.proxy import CutWire, HoldWire, WireProxy, open_wire_proxy, wire_proxy
from actorsync.testing.servers.certificates import certificate_sha256, self_signed_certificate
from actorsync.testing.servers.command_log import Answer, Command, CommandLog
from actorsync.testing.servers.faults import FaultPlan, Happened, ServerFault, parse_fault
from actorsync.testing.servers.ftp import EmbeddedFtpServer, embedded_ftp_server
from actorsync.testing.servers.sftp import EmbeddedSftpServer, embedded_sftp_server
from actorsync.testing.visitor import Broken, Seen, Version, Visitor, is_temporary

__all__ = [
    "CHECKS",
    "SOURCE_CHECKS",
    "Answer",
    "Broken",
    "CheckFailed",
    "ChecksFailed",
    "Command",
    "CommandLog",
    "Cut",
    "CutData",
    "CutWire",
    "Duplicate",
    "EmbeddedFtpServer",
    "EmbeddedSftpServer",
    "FaultPlan",
    "FaultProxy",
    "Faulty",
    "Happened",
    "Hold",
    "HoldWire",
    "Late",
    "MemoryEndpoint",
    "RandomFaults",
    "Refuse",
    "RefuseData",
    "Seen",
    "ServerFault",
    "Slice",
    "Swallow",
    "Throttle",
    "Truncate",
    "Version",
    "Visitor",
    "WireProxy",
    "certificate_sha256",
    "check_endpoint",
    "check_source",
    "embedded_ftp_server",
    "embedded_sftp_server",
    "fault_proxy",
    "is_temporary",
    "open_fault_proxy",
    "open_wire_proxy",
    "parse_fault",
    "self_signed_certificate",
    "wire_proxy",
]
