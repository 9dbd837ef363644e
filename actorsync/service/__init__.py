"""Several mirrors in one process, what may be changed while they run, and how systemd sees them."""
