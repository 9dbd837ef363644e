"""From a profile to runs: once, repeatedly, as a plan, or as a block in a program."""
