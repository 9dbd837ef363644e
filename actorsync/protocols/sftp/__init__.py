"""SFTP wire formats without I/O: packets and dialogues."""
