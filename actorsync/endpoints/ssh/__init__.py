"""SSH with asyncssh, which runs on an asyncio loop in its own thread: logins, host keys, channels."""
