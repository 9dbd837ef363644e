"""The server of ``[observe] listen``: HTTP/1.1 with h11 on trio, read-only."""
