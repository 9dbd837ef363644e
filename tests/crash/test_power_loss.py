"""Power is lost between any two system calls of a run: the journal never records more than the target's disk holds.

A disk may keep or lose any data that was not synced. So the test compares the worst cases: the journal with all writes
kept, and the target with all unsynced writes lost. A reported file must be in the journal even with all its unsynced
writes lost. Row 112 of the fault matrix.
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
    """The target and the journal after each system call: what was written, and what is certain to be on the disk."""

    target: str
    journal: str
    scratch: Path
    written: dict[str, bytearray] = attrs.Factory(dict)
    """Files of the journal, when no write is lost."""
    synced: dict[str, bytes] = attrs.Factory(dict)
    """Files of the journal, when all unsynced writes are lost."""
    sizes: dict[str, int] = attrs.Factory(dict)
    """Bytes written to each file of the target."""
    clean: set[str] = attrs.Factory(set)
    """Files of the target whose content is synced."""
    made: dict[str, int] = attrs.Factory(dict)
    """Names in the target that a power loss may remove, with their sizes."""
    there: dict[str, set[int]] = attrs.Factory(dict)
    """Names in the target that are synced, with all sizes that were ever synced."""
    taken: set[str] = attrs.Factory(set)
    """Removed names that a power loss may bring back."""
    removed: set[str] = attrs.Factory(set)
    """Removed names. A record of such a name does no harm."""
    moments: int = 0

    def apply(self, call: Call) -> None:
        """Apply a system call, and check what must be true at that moment."""
        if call.name == "write" and call.paths[0].startswith("pipe:"):
            self.check_announced(call.data)
        elif any(path.startswith(self.journal) for path in call.paths):
            self.apply_to_journal(call)
        elif any(path == self.target or path.startswith(self.target + "/") for path in call.paths):
            self.apply_to_target(call)
        elif call.name == "fsync":  # of the directory that holds the target
            self.sync_names(call.paths[0])

    def apply_to_journal(self, call: Call) -> None:
        path = call.paths[0]
        if path.endswith(("-shm", ".lock")):
            return
        match call.name:
            case "pwrite64" | "write":
                content = self.written.setdefault(path, bytearray())
                content.extend(bytes(max(0, call.offset + len(call.data) - len(content))))
                content[call.offset : call.offset + len(call.data)] = call.data
                if len(call.data) > 100:  # a page; the header of a WAL frame alone changes no record
                    self.check_records()
            case "ftruncate":
                del self.written[path][call.offset :]
            case "fsync" | "fdatasync" if path in self.written:
                self.synced[path] = bytes(self.written[path])
            case "unlink":
                self.written.pop(path, None)
                self.synced.pop(path, None)
            case "rename":
                # The log shows a sync of the directory right after it, before any other call.
                self.written[call.paths[1]] = self.written.pop(path)
                self.synced[call.paths[1]] = self.synced.pop(path)

    def apply_to_target(self, call: Call) -> None:
        path = call.paths[-1]
        match call.name:
            case "openat" if "O_CREAT" in call.flags:
                assert "O_EXCL" in call.flags
                name = os.path.relpath(path, self.target)
                assert name in self.intents(), f"{name!r} is created before the intent for it is synced"
            case "write" | "pwrite64" | "sendfile" | "copy_file_range":
                assert call.data, "files of this size are written in one call"
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
                assert old in self.clean, f"{path!r} is renamed before its content is synced"
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
        """Check that every record of the journal is synced on the target, and that no synced file lacks a record."""
        records = self.records(self.written)
        known = {os.path.normpath(os.path.join(self.target, path)): size for path, size in records.items()}
        self.moments += 1
        for path, size in known.items():
            for_certain = self.there.get(path, set())
            assert path in self.removed or size in for_certain, f"{path!r} is recorded before it is synced"
        temporaries = {os.path.join(self.target, path) for path, _ in self.query("intents", self.written)}
        lost = self.taken - known.keys() - temporaries
        assert not lost, f"the record of {lost} is removed before the removal is synced"

    def check_announced(self, data: bytes) -> None:
        """Check that each file reported on standard output has a synced record."""
        for line in data.decode().splitlines():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "done" and event["operation"] in {"copy", "make_directory"}:
                assert event["path"] in self.records(self.synced), f"{event} is reported before its record is synced"

    def records(self, files: dict[str, bytearray] | dict[str, bytes]) -> dict[str, int]:
        return dict(self.query("records", files))

    def intents(self) -> set[str]:
        return {path for path, _ in self.query("intents", self.synced)}

    def query(self, table: str, files: dict[str, bytearray] | dict[str, bytes]) -> Iterator[tuple[str, int]]:
        """Open the journal as the next run would find it, and yield paths and sizes of a table."""
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


def test_m112_power_loss_at_any_system_call_leaves_the_journal_true(
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
            disk.apply(call)
        moments.append(disk.moments)
        assert tree(site.target) == tree(site.source)
        site.write("d/1", "changed")
        site.write("new/one", "new")
        (site.source / "d" / "2").unlink(missing_ok=True)
        (site.source / "top").unlink(missing_ok=True)
    assert moments[0] > 10 and moments[1] > moments[0] + 10, "the journal was checked too rarely"
    assert {os.path.relpath(path, site.target) for path in disk.there} >= {"d", "d/0", "d/1", "d/3", "new", "new/one"}
    assert disk.there.keys().isdisjoint({str(site.target / "top"), str(site.target / "d/2")})
