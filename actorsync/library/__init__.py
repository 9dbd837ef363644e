"""What programs call: a run in one call, or as a block on trio."""
