"""The connection actors: each owns one session, and its lanes carry the operations."""
