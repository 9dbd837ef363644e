"""The programs that are compared: the protocols of each, and its command line.

Ciphers, compression and the number of requests in flight have the defaults of each program. All programs verify the
server with the same files, and none reads the user's configuration.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.credentials import PASSWORD, PORT, USER, Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bench.servers import Language

__all__ = ["PEERS", "Job", "Peer", "peer_environment", "ssh_command"]

PASSWORD_VARIABLE: Final = "ACTORSYNC_BENCH_PASSWORD"

#: The checkout of another version of actorsync, which then takes part as the peer ``previous``.
PREVIOUS: Final = os.environ.get("ACTORSYNC_PREVIOUS", "")

#: The folder of dg/ftp-deployment with its program ``deployment`` and its dependencies.
FTP_DEPLOYMENT: Final = os.environ.get("ACTORSYNC_FTP_DEPLOYMENT", "")


@attrs.frozen
class Job:
    """Mirror one tree to one folder of the server. A job can run several times."""

    source: Path
    address: str
    folder: str
    """Relative to the login directory."""
    connections: int
    state: Path
    """The folder for the peer's state, and its home directory."""
    credentials: Credentials
    is_deploy: bool = False
    """The tree is a site with visitors. Each peer then has the settings with which they see the least of the run."""


@attrs.frozen
class Peer:
    """A program: how to get its version, and its commands to make a folder of a server an exact mirror."""

    install: str
    version: tuple[str, ...]
    commands: Mapping[Language, Callable[[Job], list[str]]]
    remembers: bool = False
    """Whether it stores state that makes the next run shorter."""
    notes: str = ""
    """The name of files that it stores for itself in the trees."""
    is_usual: bool = True
    """Whether it takes part in every workload for which no peers are named; otherwise only in deploys."""

    def command_for(self, speaks: Iterable[Language]) -> Callable[[Job], list[str]] | None:
        """Return the function that makes the command for a server with these protocols; None if there is none."""
        return next((self.commands[language] for language in speaks if language in self.commands), None)

    def find_version(self) -> str | None:
        """Return the version, or None when the program is not installed or does not run."""
        try:
            answer = subprocess.run(
                self.version, check=False, capture_output=True, text=True, env=peer_environment(Path("/nonexistent"))
            )
        except FileNotFoundError:
            return None
        found = re.search(r"\d+(\.\d+)+\S*", answer.stdout)
        return found[0] if found and answer.returncode == 0 else None


def ssh_command(credentials: Credentials) -> str:
    """Return the command of OpenSSH's client for peers without SSH, with no settings of the machine or the user."""
    options = ("BatchMode=yes", "IdentitiesOnly=yes", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes")
    return " ".join(
        [
            *("ssh", "-a", "-x", "-F", "none", "-i", str(credentials.key_file)),
            *("-o", f"UserKnownHostsFile={credentials.known_hosts}"),
            *(word for option in options for word in ("-o", option)),
        ]
    )


def _actorsync(job: Job, scheme: str, access: str) -> list[str]:
    profile = job.state / "profile.toml"
    login = "~/" if scheme == "sftp" else ""  # the folder is in the login directory
    profile.write_text(
        f'[source]\npath = "{job.source}"\n\n'
        f'[target]\nurl = "{scheme}://{USER}@{job.address}:{PORT}/{login}{job.folder}"\n{access}\n\n'
        f"[sync]\nconnections = {job.connections}\ndelete = true\n"
    )
    profile.chmod(0o600)
    return [sys.executable, "-m", "actorsync", "run", str(profile)]


def _in_a_burst(this: Callable[[Job], list[str]]) -> Callable[[Job], list[str]]:
    """Return what makes the same command, with a profile that publishes everything at once."""

    def command(job: Job) -> list[str]:
        words = this(job)
        with (job.state / "profile.toml").open("a") as profile:
            profile.write('\n[publish]\nmode = "burst"\n')
        return words

    return command


def _previous(this: Callable[[Job], list[str]]) -> Callable[[Job], list[str]]:
    """Return what makes the same command for the checkout in ``PREVIOUS``."""
    return lambda job: ["env", f"PYTHONPATH={PREVIOUS}", "PYTHONSAFEPATH=1", *this(job)]


_PASSWORD_KEY: Final = f'password = {{ env = "{PASSWORD_VARIABLE}" }}'


def _actorsync_ftp(job: Job) -> list[str]:
    return _actorsync(job, "ftp", _PASSWORD_KEY)


def _actorsync_ftpes(job: Job) -> list[str]:
    return _actorsync(job, "ftpes", f'{_PASSWORD_KEY}\nca-file = "{job.credentials.ca_file}"')


def _actorsync_sftp(job: Job) -> list[str]:
    keys = {"key-file": job.credentials.key_file, "known-hosts": job.credentials.known_hosts}
    return _actorsync(job, "sftp", "\n".join(f'{key} = "{path}"' for key, path in keys.items()))


def _lftp(job: Job, scheme: str, settings: str) -> list[str]:
    if job.is_deploy:
        settings += "; set xfer:use-temp-file yes; set ftp:sync-mode no"
    script = (
        f"set cmd:interactive no; set net:max-retries 3; {settings}; "
        f"mirror -R --delete --parallel={job.connections} {job.source} {job.folder}; bye"
    )
    return ["lftp", "--norc", "-u", f"{USER},{PASSWORD}", "-e", script, f"{scheme}://{job.address}:{PORT}"]


def _lftp_ftp(job: Job) -> list[str]:
    return _lftp(job, "ftp", "set ftp:ssl-allow no")


def _lftp_ftpes(job: Job) -> list[str]:
    settings = f"set ftp:ssl-force true; set ftp:ssl-protect-data true; set ssl:ca-file {job.credentials.ca_file}"
    return _lftp(job, "ftp", settings)


def _lftp_sftp(job: Job) -> list[str]:
    return _lftp(job, "sftp", f'set sftp:connect-program "{ssh_command(job.credentials)}"')


def _rclone(job: Job, backend: str, access: str) -> list[str]:
    remote = f":{backend},host={job.address},port={PORT},user={USER},{access}:{job.folder}"
    together = str(job.connections)
    return [
        # rclone's FTP has no option for an authority. Go reads this variable instead of the system's list.
        *("env", f"SSL_CERT_FILE={job.credentials.ca_file}"),
        *("rclone", "sync", str(job.source), remote, "--config", os.devnull, "--quiet"),
        *("--transfers", together, "--checkers", together),
    ]


def _rclone_ftp(job: Job, backend: str = "ftp") -> list[str]:
    hidden = subprocess.run(["rclone", "obscure", PASSWORD], check=True, capture_output=True, text=True)
    return _rclone(job, backend, f"pass={hidden.stdout.strip()}")


def _rclone_ftpes(job: Job) -> list[str]:
    return _rclone_ftp(job, "ftp,explicit_tls")


def _rclone_sftp(job: Job) -> list[str]:
    """Use no shell, like lftp and actorsync. With a shell, rclone makes the server read every file with md5sum."""
    keys = f"key_file={job.credentials.key_file},known_hosts_file={job.credentials.known_hosts}"
    return _rclone(job, "sftp,shell_type=none", keys)


def _rsync(job: Job) -> list[str]:
    """Use one connection: rsync has no option for more. It must be installed on the server."""
    remote = f"{USER}@{job.address}:{job.folder}/"
    late = ["--delete-after", "--delay-updates"] if job.is_deploy else ["--delete"]
    return ["rsync", "-a", *late, "-e", f"{ssh_command(job.credentials)} -p {PORT}", f"{job.source}/", remote]


def _pyftpsync(job: Job) -> list[str]:
    """Use one connection: pyftpsync has no option for more."""
    url = f"ftp://{USER}:{PASSWORD}@{job.address}:{PORT}/{job.folder}"
    options = ("--force", "--delete", "--no-prompt", "--no-netrc", "-q")
    return ["pyftpsync", "upload", str(job.source), url, *options]


def _ftp_deployment(job: Job) -> list[str]:
    """Use one connection, as it always does."""
    settings = {
        "remote": f"ftp://{USER}:{PASSWORD}@{job.address}:{PORT}/{job.folder}",
        "local": str(job.source),
        "log": str(job.state / "deployment.log"),
        "tempDir": str(job.state / "temp"),
    }
    config = job.state / "deployment.ini"
    config.write_text("".join(f'{key} = "{value}"\n' for key, value in settings.items()))
    return ["php", f"{FTP_DEPLOYMENT}/deployment", str(config), "--no-progress"]


def _ftp_deploy(job: Job) -> list[str]:
    """Use one connection, as it always does."""
    options = {
        "server": job.address,
        "port": str(PORT),
        "username": USER,
        "password": PASSWORD,
        "local-dir": f"{job.source}/",
        "server-dir": f"{job.folder}/",
        "log-level": "minimal",
    }
    return ["ftp-deploy", *(word for key, value in options.items() for word in (f"--{key}", value))]


_RUNNABLE: Final = "import actorsync, actorsync.__main__ as _; print(actorsync.__version__)"

#: Fails where another actorsync than that of the checkout would run.
_IS_PREVIOUS: Final = f"{_RUNNABLE}; assert {PREVIOUS!r} and actorsync.__file__.startswith({PREVIOUS + '/'!r})"

#: It has no option for its version; its file for composer names the line of versions.
_FTP_DEPLOYMENT_VERSION: Final = (
    f'echo json_decode(file_get_contents("{FTP_DEPLOYMENT}/composer.json"), true)'
    '["extra"]["branch-alias"]["dev-master"];'
)

PEERS: Final[dict[str, Peer]] = {
    "actorsync": Peer(
        "pip install -e .",
        (sys.executable, "-c", _RUNNABLE),
        {"ftp": _actorsync_ftp, "ftpes": _actorsync_ftpes, "sftp": _actorsync_sftp},
        remembers=True,
    ),
    "burst": Peer(
        "pip install -e .",
        (sys.executable, "-c", _RUNNABLE),
        {
            "ftp": _in_a_burst(_actorsync_ftp),
            "ftpes": _in_a_burst(_actorsync_ftpes),
            "sftp": _in_a_burst(_actorsync_sftp),
        },
        remembers=True,
        is_usual=False,
    ),
    "previous": Peer(
        "set ACTORSYNC_PREVIOUS to the checkout of another version",
        ("env", f"PYTHONPATH={PREVIOUS}", "PYTHONSAFEPATH=1", sys.executable, "-c", _IS_PREVIOUS),
        {
            "ftp": _previous(_actorsync_ftp),
            "ftpes": _previous(_actorsync_ftpes),
            "sftp": _previous(_actorsync_sftp),
        },
        remembers=True,
    ),
    "lftp": Peer(
        "apt install lftp", ("lftp", "--version"), {"ftp": _lftp_ftp, "ftpes": _lftp_ftpes, "sftp": _lftp_sftp}
    ),
    "rclone": Peer(
        "apt install rclone",
        ("rclone", "version"),
        {"ftp": _rclone_ftp, "ftpes": _rclone_ftpes, "sftp": _rclone_sftp},
    ),
    "rsync": Peer("apt install rsync", ("rsync", "--version"), {"shell": _rsync}),
    "pyftpsync": Peer(
        "pip install pyftpsync",
        ("pyftpsync", "--version"),
        {"ftp": _pyftpsync},
        remembers=True,
        notes=".pyftpsync-meta.json",
    ),
    "ftp-deployment": Peer(
        "apt install php-cli; composer create-project dg/ftp-deployment; set ACTORSYNC_FTP_DEPLOYMENT to its folder",
        ("php", "-r", _FTP_DEPLOYMENT_VERSION),
        {"ftp": _ftp_deployment},
        remembers=True,
        notes=".htdeployment",
        is_usual=False,
    ),
    "ftp-deploy": Peer(
        "npm install -g @samkirkland/ftp-deploy",
        ("ftp-deploy", "--version"),
        {"ftp": _ftp_deploy},
        remembers=True,
        notes=".ftp-deploy-sync-state.json",
        is_usual=False,
    ),
}


def peer_environment(state: Path) -> dict[str, str]:
    """Return the environment for a peer: the same for all, without the user's settings."""
    kept = {name: value for name in ("PYTHONPATH", "TMPDIR") if (value := os.environ.get(name))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(state),
        "LFTP_HOME": str(state),
        "XDG_STATE_HOME": str(state),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        PASSWORD_VARIABLE: PASSWORD,
    }
