"""aioftp's server for one user: ``python aioftp_server.py ROOT PORT USER``, with the password in ``PASSWORD``."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from typing import Any

aioftp: Any = import_module("aioftp")

root, port, user = sys.argv[1:]
password = os.environ["PASSWORD"]
server = aioftp.Server([aioftp.User(user, password, base_path=root)], path_io_factory=aioftp.AsyncPathIO)
asyncio.run(server.run("127.0.0.1", int(port)))
