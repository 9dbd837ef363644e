"""Service managers: what systemd is told, and the units of a profile."""
