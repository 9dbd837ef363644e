"""Whether and when a connection may be opened: decisions without I/O."""
