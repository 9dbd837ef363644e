"""The wire of an FTP session: control connection, data connection, TLS, and what is known of the server. Internal."""
