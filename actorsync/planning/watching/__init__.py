"""Decisions of a run that follows changes: when a pass begins, and what it looks at."""
