"""Embedded servers for tests: FTP by pyftpdlib, SFTP by asyncssh, with faults."""
