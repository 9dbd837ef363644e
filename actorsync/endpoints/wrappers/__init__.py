"""Endpoints that wrap an endpoint: dry runs, bandwidth limits, content transforms. Internal."""
