"""Old versions after a run: what leaves the trash, over a connection of its own."""
