"""The profile that ``actorsync init`` writes: every key, with what it means; the optional ones commented out."""

from __future__ import annotations

__all__ = ["TEMPLATE"]

TEMPLATE = """\
# A profile of actorsync: what to mirror, and where to. Relative paths are relative to this file.

[source]
# The directory to mirror.
path = "./public"

[target]
# ftp://user@host:port/dir, relative to the login directory; ftp://host//dir is absolute.
# Or a directory of this machine: "/srv/mirror", file:///srv/mirror.
url = "ftp://deploy@ftp.example.com/www"
# Where the password comes from: env (the name of a variable), file (a path), command (a list of texts)
# or keyring (the name of a service).
password = { env = "ACTORSYNC_PASSWORD" }

[sync]
# Connections to the target, 1 to 64.
# connections = 4

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

# After the second: how long to clean up.
# cancel = "5s"
"""
