"""What the keys of a profile are made of: places and URLs, units, the readers of values, the metadata of keys."""
