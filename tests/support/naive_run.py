"""A naive deployment that writes each file under its final name. A rehearsal must report it."""

from __future__ import annotations

import ftplib
import os
import pickle
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    profile = pickle.loads(Path(arguments[0]).read_bytes())
    place = profile.target
    with ftplib.FTP() as client:
        client.connect(place.host, place.port)
        client.login(place.user, os.environ[place.password.variable])
        for path in sorted(Path(profile.source.path).rglob("*")):
            if path.is_file():
                with open(path, "rb") as file:
                    client.storbinary(f"STOR {place.path}/{path.relative_to(profile.source.path)}", file)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
