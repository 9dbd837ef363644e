"""Tests of what is beside a run: control, service managers, jobs."""
