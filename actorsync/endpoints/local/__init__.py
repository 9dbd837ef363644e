"""A directory on this machine."""
