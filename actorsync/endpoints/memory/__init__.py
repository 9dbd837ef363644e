"""A tree in memory, for tests and simulations."""
