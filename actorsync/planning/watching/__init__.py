"""How a source is watched: which way, and how often a tree is looked at that tells nothing. Pure."""
