"""Passes over a profile that follow one another: at intervals, or when something has changed."""
