"""Decisions about what is published when: ranks, the forecast of a release, how long old versions are kept."""
