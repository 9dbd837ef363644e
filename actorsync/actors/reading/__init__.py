"""Reading what a server has: a source on a server, and the connections to it."""
