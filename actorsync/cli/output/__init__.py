"""The output of commands: messages, tables, JSON records, progress lines and the live view."""
