"""The configurations of the servers, with the reasons for values other than the defaults.

Each is one file with placeholders that `bench.servers.Place` fills in. Ciphers and compression have their defaults, and
so have OpenSSH's MaxStartups (10:30:100) and MaxSessions (10). The peers log in once for each connection. So OpenSSH
may reject some of more than ten ``--connections`` at first, as servers in production do.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ASYNCSSH", "OPENSSH", "PROFTPD", "PROFTPD_TLS", "PYFTPDLIB", "PYFTPDLIB_TLS", "VSFTPD", "VSFTPD_TLS"]

VSFTPD: Final = """\
listen=YES
listen_address={place.address}
listen_port={port}
background=NO
anonymous_enable=NO
local_enable=YES
local_root={place.home}
local_umask=022
write_enable=YES
mdtm_write=YES
chroot_local_user=YES
allow_writeable_chroot=YES
secure_chroot_dir={place.own}/empty
pam_service_name=vsftpd
seccomp_sandbox=NO
max_clients=0
max_per_ip=0
xferlog_enable=NO
pasv_min_port=30000
pasv_max_port=60000
"""

# The defaults of vsftpd, written out: TLS is required for login and data, and a data connection must resume the TLS
# session of its control connection.
VSFTPD_TLS: Final = (
    VSFTPD
    + """\
ssl_enable=YES
rsa_cert_file={place.credentials.certificate}
force_local_logins_ssl=YES
force_local_data_ssl=YES
require_ssl_reuse=YES
"""
)

PROFTPD: Final = """\
ServerName bench
ServerType standalone
DefaultAddress {place.address}
Port {port}
SocketBindTight on
UseReverseDNS off
MaxInstances none
User nobody
Group nogroup
DefaultRoot {place.home}
AuthPAM off
AuthOrder mod_auth_unix.c
RequireValidShell off
AllowOverwrite on
AllowStoreRestart on
DelayEngine off
WtmpLog off
TransferLog none
PidFile {place.own}/proftpd.pid
ScoreboardFile {place.own}/proftpd.scoreboard
"""

# Without TLSOptions it asks data connections for the session of the control connection.
PROFTPD_TLS: Final = (
    """\
ModulePath {place.modules}
LoadModule mod_tls.c
"""
    + PROFTPD
    + """\
TLSEngine on
TLSRequired on
TLSRSACertificateFile {place.credentials.certificate}
TLSRSACertificateKeyFile {place.credentials.certificate}
"""
)

_SERVE_PYFTPDLIB: Final = """\
import logging
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.servers import FTPServer
logging.basicConfig(level=logging.ERROR)
Handler.authorizer = DummyAuthorizer()
Handler.authorizer.add_user("{user}", "{password}", "{place.home}", perm="elradfmwMT")
FTPServer(("{place.address}", {port}), Handler).serve_forever()
"""

PYFTPDLIB: Final = "from pyftpdlib.handlers import FTPHandler as Handler\n" + _SERVE_PYFTPDLIB

# pyftpdlib cannot require that data connections resume a session. With TLS 1.3 it sends tickets on data connections
# too. lftp and rclone close the connection without reading them, which resets it, and pyftpdlib confirms a short file.
PYFTPDLIB_TLS: Final = (
    """\
from OpenSSL import SSL
from pyftpdlib.handlers import TLS_FTPHandler as Handler
Handler.certfile = "{place.credentials.certificate}"
Handler.ssl_options |= SSL.OP_NO_TLSv1_3
Handler.tls_control_required = Handler.tls_data_required = True
"""
    + _SERVE_PYFTPDLIB
)

# StrictModes would reject keys below a world-writable folder, such as /dev/shm and /tmp. The internal SFTP server has
# the same code as the external one, whose path differs between distributions.
OPENSSH: Final = """\
ListenAddress {place.address}
Port {port}
HostKey {place.credentials.host_key}
AuthorizedKeysFile {place.credentials.authorized_keys}
AuthenticationMethods publickey
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""

# The user sees the folder as the root, and has no shell.
ASYNCSSH: Final = """\
import asyncio
import asyncssh

def sftp(channel):
    return asyncssh.SFTPServer(channel, chroot=b"{place.home}")

async def main():
    listener = await asyncssh.listen(
        "{place.address}",
        {port},
        server_host_keys="{place.credentials.host_key}",
        authorized_client_keys="{place.credentials.authorized_keys}",
        sftp_factory=sftp,
    )
    await listener.wait_closed()

asyncio.run(main())
"""
