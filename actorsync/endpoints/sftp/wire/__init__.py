"""The connection of an SFTP session: requests in flight, and what is known of the host."""
