"""The profile that ``actorsync init`` writes: every key, with what it means; the optional ones commented out."""

from __future__ import annotations

__all__ = ["TEMPLATE"]

TEMPLATE = """\
# A profile of actorsync: what to mirror, and where to. Relative paths are relative to this file.

[source]
# The directory to mirror. Or instead of it, a server to mirror from: a url, and all that [target] has for a login.
path = "./public"
# url = "sftp://deploy@www.example.com/www"

[target]
# sftp://user@host:port/dir, relative to the login directory; sftp://host//dir is absolute.
# ftpes:// is FTP with TLS, ftps:// the same on a port of its own (990), ftp:// is FTP in clear.
# Or a directory of this machine: "/srv/mirror", file:///srv/mirror.
url = "sftp://deploy@www.example.com/www"
# Where the password comes from: env (the name of a variable), file (a path), command (a list of texts),
# keyring (the name of a service), or { prompt = true }: you are asked. sftp:// can do without one.
# password = { env = "ACTORSYNC_PASSWORD" }

# For sftp://. A key to log in with, and its passphrase, from where a password may come from. Without a key and a
# password, the agent and the usual keys (~/.ssh/id_*) are tried.
# key-file = "~/.ssh/id_ed25519"
# passphrase = { prompt = true }
# agent = true

# The host keys that are believed: those in a file, or exactly one. "actorsync trust" shows and adds them.
# known-hosts = "~/.ssh/known_hosts"
# host-key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"

# How many files are in flight on each connection, 1 to 64.
# lanes = 16

# For ftpes:// and ftps://. Who signs the server's certificate, if not one that the system trusts; or exactly one
# certificate; and the oldest TLS that is spoken.
# ca-file = "ca.pem"
# certificate-sha256 = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
# tls-min-version = "1.2"

# For a scheme that is plugged in, such as s3:// (pip install 'actorsync[fsspec]' s3fs): whatever its endpoint takes.
# options = { endpoint_url = "https://s3.example.com", token = { env = "S3_TOKEN" } }

# For sftp://. Whether the server is to flush each file to its disk.
# fsync = false

[sync]
# Connections to the target, 1 to 64; without it, 4. "auto" takes as many as make it quicker and the server lets in.
# connections = "auto"

# The most that "auto" takes.
# max-connections = 16

# Go on mirroring, this often. Without it, actorsync mirrors once and ends.
# every = "15m"

# Remove from the target what is no longer in the source.
# delete = false

# Refuse a run that would remove more than this: a share of what is there, or a count.
# max-delete = "50%"

# What to leave alone, on both sides, in gitignore syntax.
# exclude = [".git/", "*.tmp", "!keep.tmp"]

# What takes part although it is excluded.
# include = []

# A file of more such patterns.
# exclude-from = ".deployignore"

# Files to leave alone by the end of their names; upper or lower case makes no difference.
# exclude-extensions = [".bak"]

# How deep to go; files directly in the source have depth 1. Without it, all the way.
# max-depth = 12

# Symbolic links: "skip" them, "follow" them, or count each as an "error".
# links = "skip"

[shutdown]
# After the first Ctrl-C: how long to finish what is in flight.
# drain = "30s"

# After that: how long to clean up.
# cancel = "5s"
"""
