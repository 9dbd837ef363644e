"""Tests of what others may see of a run."""
