"""The journal: its rows, its file, its errors, and its versions."""
