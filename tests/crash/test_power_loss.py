"""The power is lost between any two system calls of a run: the journal never knows more than the target's disk.

A disk may keep what was not synced, or lose it, in any combination. So the journal is looked at as it is when it has
lost nothing, and the target when it has lost all that it may; and what was announced must be in the journal even when
that has lost all it may. Row 112 of the fault matrix.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from actorsync.journal import state_directory
from tests.support.site import Site, tree
from tests.support.system.system_calls import Call, trace


@attrs.define
class Disk:
    """Two folders, as they are in memory and as they are on the disk for certain."""

    target: str
    journal: str
    scratch: Path
    written: dict[str, bytearray] = attrs.Factory(dict)  # the journal's files, if nothing was lost
    synced: dict[str, bytes] = attrs.Factory(dict)  # and if all was lost that may be
    sizes: dict[str, int] = attrs.Factory(dict)  # of the target's files, by what was written to them
    clean: set[str] = attrs.Factory(set)  # files of the target whose content is on the disk
    made: dict[str, int] = attrs.Factory(dict)  # names in the target that are there, and may be lost, with their sizes
    there: dict[str, set[int]] = attrs.Factory(
        dict
    )  # and those that cannot, with all sizes that they ever had for certain
    taken: set[str] = attrs.Factory(set)  # names that are gone, and may come back
    removed: set[str] = attrs.Factory(set)  # names that are gone: to know them all the same does no harm
    moments: int = 0

    def meet(self, call: Call) -> None:
        """Do what a call does, and check what must be true at that moment."""
        if call.name == "write" and call.paths[0].startswith("pipe:"):
            self.check_announced(call.data)
        elif any(path.startswith(self.journal) for path in call.paths):
            self.meet_journal(call)
        elif any(path == self.target or path.startswith(self.target + "/") for path in call.paths):
            self.meet_target(call)
        elif call.name == "fsync":  # of what holds the target
            self.sync_names(call.paths[0])

    def meet_journal(self, call: Call) -> None:
        path = call.paths[0]
        if path.endswith(("-shm", ".lock")):
            return
        match call.name:
            case "pwrite64" | "write":
                content = self.written.setdefault(path, bytearray())
                content.extend(bytes(max(0, call.offset + len(call.data) - len(content))))
                content[call.offset : call.offset + len(call.data)] = call.data
                if len(call.data) > 100:  # a page: the head of a frame says nothing alone
                    self.check_records()
            case "ftruncate":
                del self.written[path][call.offset :]
            case "fsync" | "fdatasync" if path in self.written:
                self.synced[path] = bytes(self.written[path])
            case "unlink":
                self.written.pop(path, None)
                self.synced.pop(path, None)
            case "rename":
                # It is followed by a sync of its directory before anything else is done: see the log itself.
                self.written[call.paths[1]] = self.written.pop(path)
                self.synced[call.paths[1]] = self.synced.pop(path)

    def meet_target(self, call: Call) -> None:
        path = call.paths[-1]
        match call.name:
            case "openat" if "O_CREAT" in call.flags:
                assert "O_EXCL" in call.flags
                name = os.path.relpath(path, self.target)
                assert name in self.intents(), f"{name!r} is made, and if the power is lost nobody knows of it"
            case "write" | "pwrite64" | "sendfile" | "copy_file_range":
                assert call.data, "files of this size are written in one piece"
                self.clean.discard(path)
                self.sizes[path] = self.sizes.get(path, 0) + len(call.data)
            case "fsync" | "fdatasync":
                self.clean.add(path)
                self.sync_names(path)
            case "mkdir" | "mkdirat":
                self.clean.add(path)
                self.made[path] = 0
            case "rename" | "renameat" | "renameat2":
                old = call.paths[0]
                assert old in self.clean, f"{path!r} gets its name before its content is on the disk"
                self.clean.add(path)
                self.removed.discard(path)
                self.made[path] = self.sizes.pop(old, 0)
            case "unlink" | "unlinkat":
                self.made.pop(path, None)
                self.taken.add(path)
                self.removed.add(path)

    def sync_names(self, directory: str) -> None:
        for path in [path for path in self.made if os.path.dirname(path) == directory]:
            self.there.setdefault(path, set()).add(self.made.pop(path))
        for path in [path for path in self.taken if os.path.dirname(path) == directory]:
            self.there.pop(path, None)
            self.taken.discard(path)

    def check_records(self) -> None:
        """Whatever the journal says of the target is on its disk; and what it has forgotten is not."""
        records = self.records(self.written)
        known = {os.path.normpath(os.path.join(self.target, path)): size for path, size in records.items()}
        self.moments += 1
        for path, size in known.items():
            for_certain = self.there.get(path, set())
            assert path in self.removed or size in for_certain, f"{path!r} is known before it is on the disk"
        temporaries = {os.path.join(self.target, path) for path, _ in self.ask("intents", self.written)}
        lost = self.taken - known.keys() - temporaries
        assert not lost, f"{lost} is forgotten before it is gone for certain"

    def check_announced(self, data: bytes) -> None:
        for line in data.decode().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "done" and event["operation"] in {"copy", "make_directory"}:
                assert event["path"] in self.records(self.synced), f"{event} is told before it is on the disk"

    def records(self, files: dict[str, bytearray] | dict[str, bytes]) -> dict[str, int]:
        return dict(self.ask("records", files))

    def intents(self) -> set[str]:
        return {path for path, _ in self.ask("intents", self.synced)}

    def ask(self, table: str, files: dict[str, bytearray] | dict[str, bytes]) -> Iterator[tuple[str, int]]:
        """Open the journal as the next run would find it."""
        if self.journal not in files:
            return
        for old in self.scratch.iterdir():
            old.unlink()
        for path, content in files.items():
            (self.scratch / os.path.basename(path)).write_bytes(content)
        which = "source_kind IS NOT NULL" if table == "records" else "1"
        column = "directory || '/' || name AS TEXT), iif(target_kind = 1, target_size, 0"
        column = column if table == "records" else "path AS TEXT), iif(1, 0, 0"
        with closing(sqlite3.connect(self.scratch / os.path.basename(self.journal))) as connection:
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'records'").fetchone():
                query = f"SELECT CAST({column}) FROM {table} WHERE {which}"
                yield from [(path.lstrip("/"), size) for path, size in connection.execute(query)]


def test_m112_at_no_system_call_does_the_journal_know_more_than_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path, capsys, more=("delete = true", "max-delete = 5", "connections = 2"))
    for number in range(4):
        site.write(f"d/{number}", f"{number}" * 50 * number)
    site.write("top", "top" * 2_000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    state_directory().mkdir(parents=True)
    disk = Disk(str(site.target), str(site.journal), scratch)
    moments = []
    for _ in range(2):
        traced = trace(site.program("--json"), tmp_path / "log")
        assert (traced.code, traced.errors) == (0, "")
        for call in traced.calls:
            disk.meet(call)
        moments.append(disk.moments)
        assert tree(site.target) == tree(site.source)
        site.write("d/1", "another one")
        site.write("new/one", "new")
        (site.source / "d" / "2").unlink(missing_ok=True)
        (site.source / "top").unlink(missing_ok=True)
    assert moments[0] > 10 and moments[1] > moments[0] + 10, "the journal was looked at after every write to it"
    assert {os.path.relpath(path, site.target) for path in disk.there} >= {"d", "d/0", "d/1", "d/3", "new", "new/one"}
    assert disk.there.keys().isdisjoint({str(site.target / "top"), str(site.target / "d/2")})
