"""Twisted's FTP server for one user: ``python twisted_ftp.py ROOT PORT USER``, with the password in ``PASSWORD``."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

# The types of Twisted's FTP module do not fit each other.
checkers: Any = import_module("twisted.cred.checkers")
portal: Any = import_module("twisted.cred.portal")
ftp: Any = import_module("twisted.protocols.ftp")
reactor: Any = import_module("twisted.internet.reactor")

root, port, user = sys.argv[1:]
password = os.environ["PASSWORD"]
realm = ftp.FTPRealm(root, root)
realm.getHomeDirectory = lambda _: realm.anonymousRoot
logins = checkers.InMemoryUsernamePasswordDatabaseDontUse()
logins.users[user] = password  # as text: that is how the FTP server asks for both
reactor.listenTCP(int(port), ftp.FTPFactory(portal.Portal(realm, [logins])), interface="127.0.0.1")
reactor.run()
