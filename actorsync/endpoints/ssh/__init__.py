"""SSH by asyncssh, on an asyncio loop in a thread of its own: logins, host keys, channels."""
