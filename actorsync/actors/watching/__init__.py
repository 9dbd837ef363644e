"""The actor around the passes: it follows the changes of a source."""
