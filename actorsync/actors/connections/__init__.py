"""The connection actors: each owns one session to the target, and its lanes carry out the operations."""
