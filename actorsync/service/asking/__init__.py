"""What ``actorsync ctl`` and a run say to each other, and where. Imports no trio."""
