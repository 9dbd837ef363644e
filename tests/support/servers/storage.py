"""Servers behind fsspec: WsgiDAV and moto in this process, Apache, Samba and Azurite as processes on loopback.

Each start of a process writes its configuration to a folder of its own, so any number can run at the same time. Samba
logs root in, with files as root.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal

import attrs
import pytest

from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint, open_fsspec
from actorsync.endpoints.plugins import Location
from tests.support.servers.debian_servers import descendants, find_program, free_port, is_running

__all__ = ["NAMES", "PASSWORD", "Name", "Storage", "available", "storage"]

Name = Literal["wsgidav", "mod-dav", "samba", "moto", "azurite"]
NAMES: Final[tuple[Name, ...]] = ("wsgidav", "mod-dav", "samba", "moto", "azurite")

USER: Final = "root"
PASSWORD: Final = "CANARY-4711"  # must never appear in a log, a journal or an error
_START: Final = 20.0  # seconds within which the server must listen


@attrs.frozen
class Storage:
    """A running server. ``root`` is the directory that it serves; object stores have none, but a bucket.

    ``secrets`` are options that are secret.
    """

    name: Name
    port: int
    scheme: str
    path: str
    root: Path | None = None
    user: str = ""
    options: Mapping[str, str] = attrs.Factory(dict)
    secrets: Mapping[str, str] = attrs.Factory(dict)

    @property
    def is_bucket(self) -> bool:
        """Whether it is an object store, which has no directories."""
        return self.root is None

    def endpoint(self, path: str = "", table: str = "target") -> FsspecEndpoint:
        """Return an endpoint for a path below the root of the server."""
        return open_fsspec(
            Location(
                scheme=self.scheme,
                host="bucket" if self.is_bucket else "127.0.0.1",
                port=0 if self.is_bucket else self.port,
                user=self.user,
                password=None if self.is_bucket else lambda: PASSWORD,
                path="/".join(filter(None, (self.path, path))),
                options=self.options,
                secrets={name: partial(str, value) for name, value in self.secrets.items()},
                table=table,
            )
        )

    def table(self, table: str, path: str) -> str:
        """Return the table of a profile for a path below the root. `set_secrets` sets the variables that it names."""
        host = "bucket" if self.is_bucket else f"{self.user}@127.0.0.1:{self.port}"
        lines = [f"[{table}]", f'url = "{self.scheme}://{host}/{"/".join(filter(None, (self.path, path)))}"']
        if not self.is_bucket:
            lines.append('password = { env = "STORAGE_PASSWORD" }')
        lines.append(f"[{table}.options]")
        lines += [f'{name} = "{value}"' for name, value in self.options.items()]
        lines += [f'{name} = {{ env = "STORAGE_{name.upper()}" }}' for name in self.secrets]
        return "\n".join(lines) + "\n"

    def set_secrets(self, environment: pytest.MonkeyPatch) -> None:
        """Set the environment variables that `table` names."""
        for name, value in {"password": PASSWORD, **self.secrets}.items():
            environment.setenv(f"STORAGE_{name.upper()}", value)


def available(name: Name) -> str | None:
    """Return why a server cannot run here, or None."""
    program = {"mod-dav": "apache2", "samba": "smbd"}.get(name)
    if program is not None and find_program(program) is None:
        return f"{program} is not installed; run .ci/install-servers"
    if name == "azurite" and not _AZURITE.exists():
        return "azurite is not installed; run .ci/install-servers"
    return "smbd needs root" if name == "samba" and os.geteuid() != 0 else None


@contextmanager
def storage(name: Name) -> Iterator[Storage]:
    """Serve an empty folder. Where the server cannot run, skip the test, or fail it in CI.

    The folder is not pytest's: each start of pytest closes its own for the users of other servers.
    """
    if reason := available(name):
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so no test may be skipped)")
        pytest.skip(reason)
    make: dict[Name, Callable[[Path], AbstractContextManager[Storage]]] = {
        "wsgidav": _wsgidav,
        "mod-dav": _mod_dav,
        "samba": _samba,
        "moto": _moto,
        "azurite": _azurite,
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        with make[name](root) as server:
            yield server


@contextmanager
def _wsgidav(root: Path) -> Iterator[Storage]:
    from cheroot.wsgi import Server
    from wsgidav.wsgidav_app import WsgiDAVApp

    logging.getLogger("wsgidav").setLevel(logging.CRITICAL)
    config = {
        "provider_mapping": {"/dav": {"root": str(root), "readonly": False}},
        "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "property_manager": None,
        "lock_storage": None,
        "logging": {"enable": False, "enable_loggers": []},
        "verbose": 0,
    }
    server = Server(("127.0.0.1", 0), WsgiDAVApp(config))
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield Storage("wsgidav", server.bind_addr[1], "webdav", "dav", root, USER)
    finally:
        server.stop()
        thread.join()


_MOD_DAV: Final = """
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
Listen 127.0.0.1:{port}
User www-data
Group www-data
ErrorLog {folder}/errors
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authn_file_module {modules}/mod_authn_file.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule auth_basic_module {modules}/mod_auth_basic.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
DavLockDB {folder}/locks
DocumentRoot {folder}/empty
Alias /dav {root}
<Location /dav>
  Dav On
  AuthType Basic
  AuthName dav
  AuthUserFile {folder}/users
  Require valid-user
</Location>
"""


@contextmanager
def _mod_dav(root: Path) -> Iterator[Storage]:
    folder, port = _private(root), free_port()
    (folder / "empty").mkdir()
    for place in (root, folder):
        shutil.chown(place, "www-data", "www-data")
    for parent in root.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    (folder / "users").write_text(f"{USER}:{{SHA}}{_sha1(PASSWORD)}\n")
    program = _program("apache2")
    modules = Path(program).parents[1] / "lib" / "apache2" / "modules"
    (folder / "conf").write_text(_MOD_DAV.format(folder=folder, port=port, root=root, modules=modules))
    with _process([program, "-f", str(folder / "conf"), "-D", "FOREGROUND"], folder, port):
        yield Storage("mod-dav", port, "webdav", "dav", root, USER)


_SAMBA: Final = """
[global]
server role = standalone server
smb ports = {port}
interfaces = 127.0.0.1/8
bind interfaces only = yes
private dir = {folder}
lock directory = {folder}
state directory = {folder}
cache directory = {folder}
pid directory = {folder}
ncalrpc dir = {folder}/rpc
passdb backend = tdbsam:{folder}/passdb.tdb
disable netbios = yes
disable spoolss = yes
load printers = no
log file = {folder}/log
[share]
path = {root}
read only = no
"""


@contextmanager
def _samba(root: Path) -> Iterator[Storage]:
    folder, port = _private(root), free_port()
    configuration = folder / "smb.conf"
    configuration.write_text(_SAMBA.format(folder=folder, port=port, root=root))
    add = [_program("smbpasswd"), "-c", str(configuration), "-s", "-a", USER]
    subprocess.run(add, input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True)
    serve = [_program("smbd"), "--foreground", "--no-process-group", "-s", str(configuration)]
    with _process(serve, folder, port):
        yield Storage("samba", port, "smb", "share", root, USER)


@contextmanager
def _moto(root: Path) -> Iterator[Storage]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        _make_bucket(address)
        yield Storage(
            "moto", port, "s3", "", options={"endpoint_url": address, "key": "key"}, secrets={"secret": PASSWORD}
        )
    finally:
        server.stop()


def _make_bucket(address: str) -> None:
    import s3fs

    files = s3fs.S3FileSystem(key="key", secret=PASSWORD, endpoint_url=address, skip_instance_cache=True)
    files.mkdir("bucket")


_UNPACKED: Final = Path(os.environ.get("ACTORSYNC_SERVERS") or Path.home() / ".cache" / "actorsync-servers")
_AZURITE: Final = _UNPACKED / "node" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
#: The account that Azurite has, with its key: both are documented, and secret to nobody.
_ACCOUNT: Final = "devstoreaccount1"
_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def _azurite(root: Path) -> Iterator[Storage]:
    import adlfs

    folder, port = _private(root), free_port()
    switches = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    address = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with _process([_program("node"), str(_AZURITE), *switches, *address], folder, port):
        connection = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": _ACCOUNT,
            "AccountKey": _KEY,
            "BlobEndpoint": f"http://127.0.0.1:{port}/{_ACCOUNT}",
        }
        secret = ";".join(f"{name}={value}" for name, value in connection.items())
        adlfs.AzureBlobFileSystem(connection_string=secret, skip_instance_cache=True).mkdir("bucket")
        yield Storage("azurite", port, "az", "", secrets={"connection_string": secret})


def _private(root: Path) -> Path:
    folder = root.with_name("server")
    folder.mkdir()
    return folder


def _sha1(password: str) -> str:
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha1(password.encode(), usedforsecurity=False).digest()).decode()


def _program(name: str) -> str:
    program = find_program(name)
    assert program is not None, name
    return program


@contextmanager
def _process(argv: Sequence[str], folder: Path, port: int) -> Iterator[None]:
    """Run a server during a ``with`` block, and kill it with all its sessions afterwards."""
    with open(folder / "output", "ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _START
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{argv[0]} did not start:\n{(folder / 'output').read_text(errors='replace')}")
            time.sleep(0.01)
        yield
    finally:
        process.send_signal(signal.SIGSTOP)  # it starts no session between the listing and the kill
        sessions = descendants(process.pid)
        for pid in [process.pid, *sessions]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        while any(is_running(pid) for pid in sessions):
            time.sleep(0.002)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
