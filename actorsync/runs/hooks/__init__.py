"""Hooks of a profile: programs that are run around the changes of a run."""
