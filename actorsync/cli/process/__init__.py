"""The process of the command line: its memory and its log file."""
