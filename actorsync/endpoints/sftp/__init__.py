"""SFTP endpoints: the requests of ``protocols.sftp`` over a channel of ``endpoints.ssh``."""
