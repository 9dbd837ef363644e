"""The journal: its rows, its file, and what is done with a damaged one."""
