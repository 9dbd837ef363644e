"""Paths beside a temporary: they follow from it, so whoever has written it down can find them again."""

from __future__ import annotations

from actorsync.model.entry import join, name_of, parent_of
from actorsync.planning.temporary import aside_name, trial_name

__all__ = ["aside_of", "trial_beside"]


def aside_of(temporary: str) -> str:
    """Give the path of what is set aside while ``temporary`` takes its place."""
    return join(parent_of(temporary), aside_name(name_of(temporary)))


def trial_beside(temporary: str) -> str:
    """Give the path of the small file that is tried when ``temporary`` is refused."""
    return join(parent_of(temporary), trial_name(name_of(temporary)))
