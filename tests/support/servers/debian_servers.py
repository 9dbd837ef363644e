"""The real FTP servers, unpacked from Debian packages by ``.ci/install-servers`` and run as root on loopback.

Each start writes its configuration to a folder of its own, so any number of servers can run at the same time. All of
them log in the same system user, with ``root`` as "/", and use files as that user.

This is one file because the servers share their user, ports, TLS files and processes, and differ in configuration only.
"""

from __future__ import annotations

import functools
import os
import pwd
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Self

import attrs
import pytest

from actorsync.endpoints.ftp.wire.certificates import TlsPolicy
from tests.support import FtpTarget
from tests.support.servers import certificates

__all__ = [
    "NAMES",
    "PASSWORD",
    "USER",
    "DebianServer",
    "Name",
    "Tls",
    "available",
    "debian_server",
    "descendants",
    "find_program",
    "free_port",
    "is_running",
    "make_user",
    "require",
    "some_data_ports",
]

Name = Literal["vsftpd", "proftpd", "pure-ftpd"]
NAMES: tuple[Name, ...] = ("vsftpd", "proftpd", "pure-ftpd")

USER = "actorsync-test"
PASSWORD = "CANARY-4711"  # must never appear in a log, a journal or an error
# crypt() of it, made with few rounds so that a login is fast.
_HASH = "$5$rounds=1000$actorsync$c7hVNy9e345WwCUYoRa2PQlvxIiJoLDlKDsah9acoA8"

# Below the range that the kernel uses for outgoing connections, so that no client has one of these ports.
_CONTROL_PORTS = range(10_000, 15_000)
_PASSIVE_PORTS = range(15_000, 32_000)

_START = 10.0  # seconds within which the server must greet
_PAM_SERVICE = Path("/etc/pam.d/actorsync-test")


@attrs.frozen
class Tls:
    """TLS as strict as a server allows: required for commands and data, and data connections resume the session."""

    version: Literal["1.0", "1.1", "1.2", "1.3"] = "1.3"
    """The only version that the server accepts."""
    is_implicit: bool = False
    fault: certificates.Fault | None = None
    """What is wrong with its certificate."""

    def install(self, folder: Path) -> Path:
        """Write the certificate and OpenSSL's configuration to a folder; return the file with key and certificate."""
        pem = folder / "certificate.pem"
        pem.write_bytes(certificates.identity(self.fault).pem)
        pem.chmod(0o600)
        name = "TLSv1" if self.version == "1.0" else f"TLSv{self.version}"
        # OpenSSL's configuration is the same for every server. OpenSSL needs security level 0 for versions below 1.2.
        weak = "CipherString = DEFAULT:@SECLEVEL=0\n" if self.version < "1.2" else ""
        (folder / "openssl.cnf").write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n"
            f"[tls]\nMinProtocol = {name}\nMaxProtocol = {name}\n{weak}"
        )
        return pem

    def policy(self, folder: Path) -> TlsPolicy:
        """Return the settings with which a client connects to such a server."""
        ca_file = folder / "authority.pem"
        ca_file.write_bytes(certificates.authority())
        return TlsPolicy(is_implicit=self.is_implicit, ca_file=ca_file)


@attrs.frozen(kw_only=True)
class Options:
    """Settings of a server. A server ignores settings that it does not have."""

    mdtm_write: bool = True
    """vsftpd: MDTM with a time sets the time, which is also vsftpd's default."""
    max_connections: int = 200
    """All: the server refuses further connections, vsftpd and Pure-FTPd with 421, ProFTPD with 530."""
    max_connections_per_address: int = 200
    """All: the same for each client address."""
    idle_timeout: int = 300
    """All: in seconds; Pure-FTPd rounds up to minutes."""
    tls: Tls | None = None
    """All; Debian's Pure-FTPd has no implicit TLS."""
    data_ports: range = _PASSIVE_PORTS
    """All: the ports for data connections."""
    quota: tuple[int, int] | None = None
    """ProFTPD and Pure-FTPd: the most files that the user may have, and the most MiB in all."""
    has_hashes: bool = False
    """ProFTPD: the commands HASH, XSHA256 and others return hashes of files."""
    store_restart: bool = True
    """ProFTPD: uploads may be continued with REST and STOR, which is not its default."""
    dot_files: bool = True
    """Pure-FTPd: names may begin with a dot."""
    shows_links: bool = True
    """ProFTPD and Pure-FTPd: listings show links. If False, they show what a link leads to (not the default)."""


@attrs.define(eq=False)
class DebianServer:
    """A server process; obtained from `debian_server`."""

    target: FtpTarget
    folder: Path
    argv: list[str]
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it has greeted a client."""
        with open(self.folder / "output", "ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env={**os.environ, "OPENSSL_CONF": str(self.folder / "openssl.cnf")},
            )
        deadline = time.monotonic() + _START
        while not _greets(self.target):
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = (self.folder / "output").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"{self.target.name} did not start:\n{output}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill the server and all its sessions. Clients see closed or reset connections."""
        if self._process is not None:
            # Stop it first, so that it starts no session between the listing and the kill. Each session of vsftpd is a
            # process group of its own, so find sessions as descendants and not by group.
            self._process.send_signal(signal.SIGSTOP)
            sessions = descendants(self._process.pid)
            for pid in [self._process.pid, *sessions]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            while any(is_running(pid) for pid in sessions):  # a running session holds the port
                time.sleep(0.002)
            self._process = None

    def restart(self) -> None:
        """Kill the server, and start it again on the same port."""
        self.stop()
        self.start()

    def command_log(self) -> list[str] | None:
        """Return the command lines that the server logged so far, such as ``STOR a.txt``, with masked passwords.

        Returns None for Pure-FTPd, which logs to syslog only. `FaultProxy.commands` is a log for every server; this one
        shows which commands arrived. A server may write its log a moment after its reply.
        """
        log = self.folder / "commands"
        match self.target.name:
            case "vsftpd":
                found = re.findall(r'FTP command: Client "[^"]*", "(.*)"$', _text(log), re.MULTILINE)
                return [line.replace("<password>", "***") for line in found]
            case "proftpd":
                return [line.replace("(hidden)", "***") for line in _text(log).splitlines()]
            case _:
                return None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def debian_server(name: Name, root: Path, folder: Path, options: Options = Options()) -> Iterator[DebianServer]:
    """Serve ``root`` with one of the servers during a ``with`` block, on a free port of 127.0.0.1.

    ``folder`` is for the configuration and the logs of this server only. The root is changed to belong to the server's
    user, and its parent folders are made searchable for that user.
    """
    if reason := available(name):
        raise RuntimeError(reason)
    user = make_user()
    for parent in [root, *root.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    tls = options.tls.policy(folder) if options.tls else None
    target = FtpTarget(name, "127.0.0.1", free_port(), USER, PASSWORD, root, user.pw_uid, tls)
    target.adopt()
    make: Callable[[Path, FtpTarget, Options, pwd.struct_passwd], list[str]] = {
        "vsftpd": _vsftpd,
        "proftpd": _proftpd,
        "pure-ftpd": _pure_ftpd,
    }[name]
    with DebianServer(target, folder, make(folder, target, options, user)) as server:
        yield server


def require(name: Name) -> None:
    """Skip the test when the server cannot run here; fail it when ``CI`` is set."""
    reason = available(name)
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so no test may be skipped)")
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def available(name: Name) -> str | None:
    """Return why this server cannot run here, or None when it can."""
    binary = find_program(name)
    if binary is None:
        return f"{name} is not installed; run .ci/install-servers"
    if os.geteuid() != 0:
        return f"{name} needs root to log a user in; run the tests as root"
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", libraries)
    if missing:
        return f"{name} lacks {', '.join(missing)}; run .ci/install-servers"
    return None


def find_program(program: str) -> str | None:
    """Return the path of a program among the unpacked and the installed ones, or None."""
    unpacked = Path(os.environ.get("ACTORSYNC_SERVERS") or Path.home() / ".cache" / "actorsync-servers")
    places = [unpacked / "usr/sbin", unpacked / "usr/bin", *os.environ.get("PATH", "").split(":"), "/usr/sbin"]
    return shutil.which(program, path=":".join(str(place) for place in places))


def _vsftpd(folder: Path, target: FtpTarget, options: Options, user: pwd.struct_passwd) -> list[str]:
    # vsftpd requires PAM and a system user.
    rules = "auth required pam_unix.so\naccount required pam_unix.so\n"
    if _text(_PAM_SERVICE) != rules:  # write it only when needed: another process may be reading it
        _PAM_SERVICE.write_text(rules)
    (folder / "empty").mkdir(exist_ok=True)
    config = {
        "listen": True,
        "background": False,
        "listen_address": target.host,
        "listen_port": target.port,
        "pasv_min_port": options.data_ports.start,
        "pasv_max_port": options.data_ports.stop - 1,
        "anonymous_enable": False,
        "local_enable": True,
        "write_enable": True,
        "local_umask": "022",
        "local_root": target.root,
        "chroot_local_user": True,
        "allow_writeable_chroot": True,
        "secure_chroot_dir": folder / "empty",
        "pam_service_name": _PAM_SERVICE.name,
        "seccomp_sandbox": False,  # on newer kernels STOR fails with "500 OOPS: priv_sock_get_cmd"
        "mdtm_write": options.mdtm_write,
        "max_clients": options.max_connections,
        "max_per_ip": options.max_connections_per_address,
        "idle_session_timeout": options.idle_timeout,
        "xferlog_enable": True,
        "log_ftp_protocol": True,
        "vsftpd_log_file": folder / "commands",
    }
    if options.tls is not None:
        pem = options.tls.install(folder)
        config |= {
            "ssl_enable": True,
            "implicit_ssl": options.tls.is_implicit,
            "rsa_cert_file": pem,
            "rsa_private_key_file": pem,
            "ssl_ciphers": "HIGH",
            "require_ssl_reuse": True,
            "strict_ssl_read_eof": True,
        }
    words = {True: "YES", False: "NO"}
    lines = [f"{key}={words[value] if isinstance(value, bool) else value}\n" for key, value in config.items()]
    (folder / "vsftpd.conf").write_text("".join(lines))
    return [_found("vsftpd"), str(folder / "vsftpd.conf")]


def _proftpd(folder: Path, target: FtpTarget, options: Options, user: pwd.struct_passwd) -> list[str]:
    # A user table for this server, because the home directory of the system user is not the root.
    users = folder / "users"
    users.write_text(f"{USER}:{_HASH}:{user.pw_uid}:{user.pw_gid}::{target.root}:/bin/bash\n")
    users.chmod(0o600)
    tls = ""
    if options.tls is not None:
        pem = options.tls.install(folder)
        tls = f"""
        ModulePath {Path(_found("proftpd")).parents[1]}/lib/proftpd
        LoadModule mod_tls.c
        TLSEngine on
        TLSRequired on
        TLSProtocol TLSv{options.tls.version.removesuffix(".0")}
        TLSECCertificateFile {pem}
        TLSECCertificateKeyFile {pem}
        TLSLog {folder}/tls
        {"TLSOptions UseImplicitSSL" if options.tls.is_implicit else ""}
        """
    (folder / "proftpd.conf").write_text(
        f"""{tls}
        {_proftpd_quota(folder, *options.quota) if options.quota else ""}
        {_PROFTPD_HASHES.format(Path(_found("proftpd")).parents[1]) if options.has_hashes else ""}
        ServerName actorsync
        ServerType standalone
        DefaultAddress {target.host}
        SocketBindTight on
        UseReverseDNS off
        Port {target.port}
        PassivePorts {options.data_ports.start} {options.data_ports.stop - 1}
        MaxInstances none
        MaxClients {options.max_connections}
        MaxClientsPerHost {options.max_connections_per_address}
        TimeoutIdle {options.idle_timeout}
        DefaultRoot ~
        User nobody
        Group nogroup
        AuthPAM off
        AuthUserFile {users}
        AuthOrder mod_auth_file.c
        RequireValidShell off
        AllowOverwrite on
        AllowStoreRestart {"on" if options.store_restart else "off"}
        PidFile {folder}/pid
        ScoreboardFile {folder}/scoreboard
        ControlsEngine off
        DelayEngine off
        ShowSymlinks {"on" if options.shows_links else "off"}
        WtmpLog off
        TransferLog none
        SystemLog {folder}/system
        LogFormat command "%r"
        ExtendedLog {folder}/commands ALL command
        """
    )
    return [_found("proftpd"), "--nodaemon", "--config", str(folder / "proftpd.conf")]


_PROFTPD_HASHES = """
        ModulePath {}/lib/proftpd
        LoadModule mod_digest.c
        DigestEngine on
        """


def _proftpd_quota(folder: Path, files: int, mib: int) -> str:
    tool = _found("ftpquota")
    for kind in ("limit", "tally"):
        table = [f"--type={kind}", f"--table-path={folder}/{kind}"]
        subprocess.run([tool, "--create-table", *table], check=True)
        if kind == "limit":
            limit = [f"--name={USER}", "--quota-type=user", "--limit-type=hard", "--units=Mb"]
            limit += [f"--bytes-upload={mib}", f"--files-upload={files}"]
            subprocess.run([tool, "--add-record", *table, *limit], check=True)
    return f"""
        ModulePath {Path(_found("proftpd")).parents[1]}/lib/proftpd
        LoadModule mod_quotatab.c
        LoadModule mod_quotatab_file.c
        QuotaEngine on
        QuotaLimitTable file:{folder}/limit
        QuotaTallyTable file:{folder}/tally
        """


def _pure_ftpd(folder: Path, target: FtpTarget, options: Options, user: pwd.struct_passwd) -> list[str]:
    # A table of virtual users, because the home directory of the system user is not the root.
    users = folder / "users"
    users.write_text(f"{USER}:{_HASH}:{user.pw_uid}:{user.pw_gid}::{target.root}/./::::::::::::\n")
    subprocess.run([_found("pure-pw"), "mkdb", str(folder / "users.pdb"), "-f", str(users)], check=True)
    tls = ["--tls=0"] if options.tls is None else ["--tls=3", f"--certfile={options.tls.install(folder)}"]
    return [
        _found("pure-ftpd"),
        *tls,
        f"--bind={target.host},{target.port}",
        f"--passiveportrange={options.data_ports.start}:{options.data_ports.stop - 1}",
        f"--login=puredb:{folder}/users.pdb",
        f"--maxclientsnumber={options.max_connections}",
        f"--maxclientsperip={options.max_connections_per_address}",
        f"--maxidletime={-(-options.idle_timeout // 60)}",
        f"--pidfile={folder}/pid",
        "--minuid=1",
        "--chrooteveryone",
        "--noanonymous",
        "--dontresolve",
        "--syslogfacility=none",
        *(["--quota={}:{}".format(*options.quota)] if options.quota else []),
        *([] if options.dot_files else ["--prohibitdotfileswrite"]),
        *([] if options.shows_links else ["--brokenclientscompatibility"]),
    ]


def _found(program: str) -> str:
    path = find_program(program)
    assert path is not None, program
    return path


@functools.cache
def make_user() -> pwd.struct_passwd:
    """Make the system user that the servers log in, unless it exists, and return it."""
    # Parallel tests may do this at the same time, so ignore errors and check the result. The home directory must exist,
    # or vsftpd rejects the login.
    for command in (["useradd", "--system", "--user-group", "--no-create-home"], ["usermod"]):
        arguments = ["--home-dir" if command[0] == "useradd" else "--home", "/"]
        arguments += ["--shell", "/bin/sh", "--password", _HASH, USER]
        subprocess.run(command + arguments, check=False, capture_output=True)
    return pwd.getpwnam(USER)


def some_data_ports() -> range:
    """Return 64 ports for data connections, for a server whose proxy must know the ports in advance."""
    start = random.randrange(_PASSIVE_PORTS.start, _PASSIVE_PORTS.stop - 64, 64)
    return range(start, start + 64)


def free_port() -> int:
    """Return a port that is free on all addresses: a proxy listens on the same port of another address."""
    while True:
        port = random.choice(_CONTROL_PORTS)
        with suppress(OSError), socket.create_server(("", port)):
            return port


def _greets(target: FtpTarget) -> bool:
    """Return whether the server greets. QUIT afterwards: a cut session would count against the limits for a while."""
    try:
        with _connect(target) as connection, connection.makefile("rb") as replies:
            greeted = replies.readline().startswith(b"220")
            connection.sendall(b"QUIT\r\n")
            replies.read()
            return greeted
    except OSError:
        return False


def _connect(target: FtpTarget) -> socket.socket:
    connection = socket.create_connection((target.host, target.port), timeout=1)
    if target.tls is None or not target.tls.is_implicit:
        return connection
    context = ssl.create_default_context(cafile=target.tls.ca_file)
    context.check_hostname = False  # a test may use a wrong certificate
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(connection)
    except OSError:
        connection.close()
        raise


def descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants of a process."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _status(int(folder.name)):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(children.get(pid, []))
    for child in found:  # the list grows during the loop
        found += children.get(child, [])
    return found


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    fields = _status(pid)
    return bool(fields) and fields[0] not in "ZX"


def _status(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the state on; an empty list when the process does not exist."""
    try:
        # The line is "pid (name) state parent ...", and the name may contain any character.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return []


def _text(path: Path) -> str:
    return path.read_text(errors="surrogateescape") if path.exists() else ""
