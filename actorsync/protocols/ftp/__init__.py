"""FTP wire formats without I/O: commands, replies, dialogues, listings."""
