"""What commands print: messages, JSON records, progress lines and the live view."""
