"""Decisions of a two-way mirror: pure functions and tables."""
