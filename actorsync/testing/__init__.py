"""Tools for tests of deployments and of endpoints: embedded servers, network faults, conformance checks.

* ``servers``: an FTP and an SFTP server inside this process, with a command log, limits, faults and TLS.
  ``servers.sftp_packets`` builds wrong replies for the SFTP server.
* ``network``: proxies that simulate network faults. ``ftp_proxy`` parses FTP; ``proxy`` works for any TCP server.
  ``forward_proxy`` is a SOCKS5 or HTTP proxy without faults.
* ``fixtures``: the servers as pytest fixtures, enabled with ``pytest_plugins = ["actorsync.testing.fixtures"]``.
* ``visitor``: reads a site during a deployment and reports what it saw.
* ``conformance``: checks that an endpoint keeps the contract.
* ``faulty_endpoint``: an endpoint that fails at random.

This package exports the names that tests need most; docs/testing.md shows how to use them. In the rest of actorsync,
only the demo and the rehearsal import it.
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
from actorsync.testing.network.forward_proxy import ForwardProxy, forward_proxy, open_forward_proxy
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
    "ForwardProxy",
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
    "forward_proxy",
    "is_temporary",
    "open_fault_proxy",
    "open_forward_proxy",
    "open_wire_proxy",
    "parse_fault",
    "self_signed_certificate",
    "wire_proxy",
]
