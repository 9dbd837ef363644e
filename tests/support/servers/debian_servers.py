"""The real servers, unpacked from Debian packages by ``.ci/install-servers`` and run as root on loopback.

Each start makes its own configuration in a folder of its own, so any number can run beside each other, and beside
installed ones. All log in the same system user, with ``root`` as "/", and touch files as that user.
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

from actorsync.endpoints.ftp.certificates import TlsPolicy
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
    "require",
    "some_data_ports",
]

Name = Literal["vsftpd", "proftpd", "pure-ftpd"]
NAMES: tuple[Name, ...] = ("vsftpd", "proftpd", "pure-ftpd")

USER = "actorsync-test"
PASSWORD = "CANARY-4711"  # a word that no log, journal or error may ever show
# crypt() of it; made once with few rounds, so that a login costs no time.
_HASH = "$5$rounds=1000$actorsync$c7hVNy9e345WwCUYoRa2PQlvxIiJoLDlKDsah9acoA8"

# Below the range from which the kernel takes ports for outgoing connections, or now and then one would be taken.
_CONTROL_PORTS = range(10_000, 15_000)
_PASSIVE_PORTS = range(15_000, 32_000)

_START = 10.0  # seconds until the greeting must be there
_PAM_SERVICE = Path("/etc/pam.d/actorsync-test")


@attrs.frozen
class Tls:
    """TLS as strict as a server can have it: nothing in clear, and every data connection resumes the session."""

    version: Literal["1.0", "1.1", "1.2", "1.3"] = "1.3"
    """The only version that the server speaks."""
    is_implicit: bool = False
    fault: certificates.Fault | None = None
    """What is wrong with its certificate."""

    def install(self, folder: Path) -> Path:
        """Write what the server needs into a folder; gives the file with key and certificate."""
        pem = folder / "certificate.pem"
        pem.write_bytes(certificates.identity(self.fault).pem)
        pem.chmod(0o600)
        name = "TLSv1" if self.version == "1.0" else f"TLSv{self.version}"
        # OpenSSL's own file says it to every server in the same words. Below 1.2 it wants to be talked into it.
        weak = "CipherString = DEFAULT:@SECLEVEL=0\n" if self.version < "1.2" else ""
        (folder / "openssl.cnf").write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n"
            f"[tls]\nMinProtocol = {name}\nMaxProtocol = {name}\n{weak}"
        )
        return pem

    def policy(self, folder: Path) -> TlsPolicy:
        """Say how a client reaches such a server."""
        ca_file = folder / "authority.pem"
        ca_file.write_bytes(certificates.authority())
        return TlsPolicy(is_implicit=self.is_implicit, ca_file=ca_file)


@attrs.frozen(kw_only=True)
class Options:
    """Settings that a test may choose; a server ignores those that it does not have."""

    mdtm_write: bool = True
    """vsftpd: MDTM with a time sets the time. Its own default is yes."""
    max_connections: int = 200
    """All: the connection after that many is refused, vsftpd and Pure-FTPd with 421, ProFTPD with 530."""
    max_connections_per_address: int = 200
    """All: the same for each client address."""
    idle_timeout: int = 300
    """All, seconds; Pure-FTPd counts in minutes and rounds up."""
    tls: Tls | None = None
    """All; Pure-FTPd has no implicit mode as Debian builds it."""
    data_ports: range = _PASSIVE_PORTS
    """All; the ports for data connections."""
    quota: tuple[int, int] | None = None
    """ProFTPD and Pure-FTPd: how many files the user may have, and how many MiB in all."""
    dot_files: bool = True
    """Pure-FTPd: names may begin with a dot."""


@attrs.define(eq=False)
class DebianServer:
    """A server process. Obtained from `debian_server`, running."""

    target: FtpTarget
    folder: Path
    argv: list[str]
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it has greeted a client."""
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
                env={**os.environ, "OPENSSL_CONF": str(self.folder / "openssl.cnf")},
            )
        deadline = time.monotonic() + _START
        while not _greets(self.target):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "output").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"{self.target.name} did not start:\n{said}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill the server with all its sessions, which clients see as closed or reset connections."""
        if self._process is not None:
            # Stopped first, so that no session is born between the count and the kill. Each session of vsftpd is a
            # process group of its own, hence by descent and not by group.
            self._process.send_signal(signal.SIGSTOP)
            sessions = _descendants(self._process.pid)
            for pid in [self._process.pid, *sessions]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            while any(_is_running(pid) for pid in sessions):  # those that still are hold the port
                time.sleep(0.002)
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it again on the same port."""
        self.stop()
        self.start()

    def command_log(self) -> list[str] | None:
        """The command lines that the server logged so far, such as ``STOR a.txt``; passwords are masked.

        None for Pure-FTPd, which only logs to the machine's syslog. The fault proxy (`FaultProxy.commands`) keeps
        the same log for every server; this one is for cross-checks, since it shows what did arrive. A server may
        write it a moment after its reply.
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
    """Serve ``root`` with one of the servers for the length of a ``with`` block, on a free port of 127.0.0.1.

    ``folder`` takes the configuration and the logs; one server each. The root is given to the server's user, and
    its parent folders are made passable for that user.
    """
    if reason := available(name):
        raise RuntimeError(reason)
    user = _make_user()
    for parent in [root, *root.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    tls = options.tls.policy(folder) if options.tls else None
    target = FtpTarget(name, "127.0.0.1", _free_port(), USER, PASSWORD, root, user.pw_uid, tls)
    target.adopt()
    make: Callable[[Path, FtpTarget, Options, pwd.struct_passwd], list[str]] = {
        "vsftpd": _vsftpd,
        "proftpd": _proftpd,
        "pure-ftpd": _pure_ftpd,
    }[name]
    with DebianServer(target, folder, make(folder, target, options, user)) as server:
        yield server


def require(name: Name) -> None:
    """Go on if the server can run here; else skip the test, or fail it where ``CI`` is set: there it must run."""
    reason = available(name)
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"{reason} (and CI is set: nothing may be skipped here)")
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def available(name: Name) -> str | None:
    """Return why this server cannot run here, or None when it can."""
    binary = _find(name)
    if binary is None:
        return f"{name} is not there; .ci/install-servers fetches it"
    if os.geteuid() != 0:
        return f"{name} needs root, to log in a user"
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", libraries)
    if missing:
        return f"{name} lacks {', '.join(missing)}; .ci/install-servers installs them"
    return None


def _find(program: str) -> str | None:
    unpacked = Path(os.environ.get("ACTORSYNC_SERVERS") or Path.home() / ".cache" / "actorsync-servers")
    places = [unpacked / "usr/sbin", unpacked / "usr/bin", *os.environ.get("PATH", "").split(":"), "/usr/sbin"]
    return shutil.which(program, path=":".join(str(place) for place in places))


def _vsftpd(folder: Path, target: FtpTarget, options: Options, user: pwd.struct_passwd) -> list[str]:
    # vsftpd alone insists on PAM, and on a system user.
    rules = "auth required pam_unix.so\naccount required pam_unix.so\n"
    if _text(_PAM_SERVICE) != rules:  # another process may be reading it
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
        "seccomp_sandbox": False,  # newer kernels: 500 OOPS: priv_sock_get_cmd, at STOR
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
    # A user table of its own, for the home directory: the system user's is not the root.
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
        AllowStoreRestart on
        PidFile {folder}/pid
        ScoreboardFile {folder}/scoreboard
        ControlsEngine off
        DelayEngine off
        WtmpLog off
        TransferLog none
        SystemLog {folder}/system
        LogFormat command "%r"
        ExtendedLog {folder}/commands ALL command
        """
    )
    return [_found("proftpd"), "--nodaemon", "--config", str(folder / "proftpd.conf")]


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
    # A table of virtual users, for the same reason.
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
    ]


def _found(program: str) -> str:
    path = _find(program)
    assert path is not None, program
    return path


@functools.cache
def _make_user() -> pwd.struct_passwd:
    # Tests that run side by side may come here together and be in each other's way: only the outcome counts.
    # Its home has to exist, or vsftpd lets nobody in, whatever local_root says.
    for command in (["useradd", "--system", "--user-group", "--no-create-home"], ["usermod"]):
        arguments = ["--home-dir" if command[0] == "useradd" else "--home", "/"]
        arguments += ["--shell", "/bin/sh", "--password", _HASH, USER]
        subprocess.run(command + arguments, check=False, capture_output=True)
    return pwd.getpwnam(USER)


def some_data_ports() -> range:
    """Give a few ports, for a server whose proxy has to know them beforehand."""
    start = random.randrange(_PASSIVE_PORTS.start, _PASSIVE_PORTS.stop - 64, 64)
    return range(start, start + 64)


def _free_port() -> int:
    while True:
        port = random.choice(_CONTROL_PORTS)
        with suppress(OSError), socket.create_server(("", port)):  # on all addresses: a proxy wants it on another
            return port


def _greets(target: FtpTarget) -> bool:
    """Look for a greeting, and leave politely: a session cut short would count against the limits for a while."""
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
    context.check_hostname = False  # a certificate may be bad on purpose
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(connection)
    except OSError:
        connection.close()
        raise


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _status(int(folder.name)):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(children.get(pid, []))
    for child in found:  # which grows as we go
        found += children.get(child, [])
    return found


def _is_running(pid: int) -> bool:
    fields = _status(pid)
    return bool(fields) and fields[0] not in "ZX"


def _status(pid: int) -> list[str]:
    """Return state, parent and more of a process; empty when it is gone."""
    try:
        # "pid (name) state parent ...", and the name may hold anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
    except OSError:
        return []


def _text(path: Path) -> str:
    return path.read_text(errors="surrogateescape") if path.exists() else ""
