"""Embedded servers for tests: FTP with pyftpdlib, SFTP with asyncssh, both with faults."""
