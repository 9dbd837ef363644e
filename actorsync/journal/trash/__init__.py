"""The tables of what was moved to a trash, of a mirror and of both sides of a two-way run."""
