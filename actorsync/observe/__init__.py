"""What others may see of a run: a page, metrics, events. Nothing here can change anything."""
