"""The benchmark's pure parts: its trees, its table, what it refuses. Nothing is timed here."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import attrs
import pytest

from bench.__main__ import parse, present
from bench.link import Unusable
from bench.peers import PEERS, Job, Measurement
from bench.report import Round, render, summarise, wire_limit
from bench.trees import WORKLOADS, Workload, difference, make_tree

if TYPE_CHECKING:
    from pathlib import Path

TINY = Workload("a few files", files=12, folders=5, sizes=(0, 3_000), depth=2, last=1_500_000)


def fingerprint(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(os.fsencode(path.relative_to(root)))
        if path.is_file():
            digest.update(f"{path.stat().st_size} {path.stat().st_mtime}".encode() + path.read_bytes())
    return digest.hexdigest()


def measured(seconds: float, failure: str | None = None) -> Measurement:
    return Measurement(seconds, cpu=seconds / 10, peak_mib=20, failure=failure)


def done(peer: str, first: float, again: float, failure: str | None = None) -> Round:
    return Round("vsftpd", peer, measured(first, failure), measured(again), difference=None)


class TestTrees:
    def test_the_same_workload_gives_the_same_paths_bytes_and_times(self, tmp_path: Path) -> None:
        sizes = [make_tree(TINY, tmp_path / name) for name in ("one", "other")]
        assert sizes[0] == sizes[1]
        assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "other")

    def test_another_seed_gives_another_tree(self, tmp_path: Path) -> None:
        make_tree(TINY, tmp_path / "one")
        make_tree(TINY, tmp_path / "other", seed=2)
        assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "other")

    def test_a_tree_is_what_its_workload_says(self, tmp_path: Path) -> None:
        total = make_tree(TINY, tmp_path / "tree")
        files = [path for path in (tmp_path / "tree").rglob("*") if path.is_file()]
        folders = [path for path in (tmp_path / "tree").rglob("*") if path.is_dir()]
        assert (len(files), len(folders)) == (TINY.file_count, TINY.folders)
        assert total == sum(path.stat().st_size for path in files) <= TINY.most_bytes
        assert max(len(path.relative_to(tmp_path / "tree").parts) for path in folders) <= TINY.depth

    def test_the_run_with_nothing_to_do_is_on_the_tree_of_many(self) -> None:
        many, nothing = WORKLOADS["many"], WORKLOADS["nothing-to-do"]
        assert attrs.evolve(nothing, about=many.about, in_place=False) == many

    def test_equal_trees_have_no_difference(self, tmp_path: Path) -> None:
        make_tree(TINY, tmp_path / "one")
        make_tree(TINY, tmp_path / "other")
        assert difference(tmp_path / "one", tmp_path / "other") is None

    def test_a_difference_is_named(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        make_tree(TINY, one)
        make_tree(TINY, other)
        video = (other / "last.bin").read_bytes()
        (other / "last.bin").write_bytes(video[:-1] + bytes([video[-1] ^ 1]))
        assert difference(one, other) == "last.bin differs"
        (other / "left-over.tmp").touch()
        assert difference(one, other) == "1 too many, the first left-over.tmp"
        (other / "last.bin").unlink()
        assert difference(one, other) == "1 missing, the first last.bin"

    def test_a_folder_in_the_place_of_a_file_is_a_difference(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "one/thing").touch()
        (tmp_path / "other/thing").mkdir(parents=True)
        assert difference(tmp_path / "one", tmp_path / "other") == "thing differs"


class TestTable:
    def test_ratios_are_actorsync_to_the_peer(self) -> None:
        table = render([done("actorsync", 40.0, 0.5), done("lftp", 80.0, 2.0)])
        ours, theirs = (
            [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "vsftpd" in line
        )
        assert ours == ["vsftpd", "actorsync", "40.00", "0.50", "4.00", "20", "equal", "-", "-"]
        assert theirs == ["vsftpd", "lftp", "80.00", "2.00", "8.00", "20", "equal", "0.500", "0.250"]

    def test_every_line_of_the_table_is_of_one_width(self) -> None:
        table = render([done("actorsync", 4.0, 0.5), done("lftp", 1234.5, 2.0)])
        assert len({len(line) for line in table.splitlines()}) == 1

    def test_rounds_are_summed_up_by_their_median(self) -> None:
        (row,) = summarise([done("lftp", seconds, 1.0) for seconds in (9.0, 2.0, 3.0)])
        assert row.first == 3.0

    def test_a_failed_round_is_never_compared(self) -> None:
        table = render([done("actorsync", 1.0, 1.0, "exit 7: no"), done("lftp", 80.0, 2.0)])
        ours, theirs = (line.split() for line in table.splitlines() if line.startswith("| vsftpd"))
        assert ours.count("-") == 6
        assert theirs[-4:] == ["-", "|", "-", "|"]
        assert table.endswith("actorsync against vsftpd failed: exit 7: no")

    def test_an_unequal_target_is_a_failure(self) -> None:
        (row,) = summarise([attrs.evolve(done("lftp", 1.0, 1.0), difference="a differs")])
        assert (row.first, row.failure) == (None, "a differs")

    def test_without_a_first_run_the_second_is_compared(self) -> None:
        rounds = [attrs.evolve(done(peer, 1.0, again), first=None) for peer, again in (("actorsync", 1), ("lftp", 4))]
        assert render(rounds).splitlines()[-1].split("|")[-3:-1] == [
            f" {'-':<{len('first: actorsync/peer')}} ",
            f" {'0.250':<{len('again: actorsync/peer')}} ",
        ]

    def test_the_limit_of_the_wire(self) -> None:
        assert wire_limit(2_000, 0.05, 8) == pytest.approx(37.5)


class TestArguments:
    def test_defaults(self) -> None:
        options = parse([])
        assert (options.workload, options.link, options.connections, options.runs) == ("small", 50, 8, 1)
        assert options.server is options.peer is None

    def test_several_servers_and_peers(self) -> None:
        options = parse(["--server", "vsftpd", "proftpd", "--peer", "lftp", "--link", "loopback"])
        assert (options.server, options.peer, options.link) == (["vsftpd", "proftpd"], ["lftp"], "loopback")

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ("--workload huge", "invalid choice: 'huge'"),
            ("--server iis", "invalid choice: 'iis'"),
            ("--link slow", "'slow' is not loopback or a number from 1 to 2000"),
            ("--link 0", "'0' is not loopback or a number from 1 to 2000"),
            ("--connections 0", "'0' is not a number from 1 to 100"),
            ("--runs many", "'many' is not a number from 1 to 100"),
        ],
    )
    def test_refusals(self, arguments: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as refused:
            parse(arguments.split())
        assert refused.value.code == 2
        assert reason in capsys.readouterr().err

    def test_who_is_asked_for_must_be_there(self) -> None:
        known, found = {"lftp": "apt install lftp", "rclone": "apt install rclone"}, {"lftp": "4.9", "rclone": None}
        with pytest.raises(Unusable, match="apt install rclone"):
            present("peers", ["lftp", "rclone"], known, found)

    def test_who_is_not_asked_for_may_be_absent(self, capsys: pytest.CaptureFixture[str]) -> None:
        known, found = {"lftp": "apt install lftp", "rclone": "apt install rclone"}, {"lftp": "4.9", "rclone": None}
        assert present("peers", None, known, found) == {"lftp": "4.9"}
        assert capsys.readouterr().err == "left out: rclone: apt install rclone\n"


def test_the_profile_holds_no_password(tmp_path: Path) -> None:
    job = Job(tmp_path, "10.77.0.2", "folder", connections=8, state=tmp_path)
    command = PEERS["actorsync"].command(job)
    profile = tmp_path / "profile.toml"
    assert command[-2:] == ["run", str(profile)]
    assert 'url = "ftp://mirror@10.77.0.2:2121/folder"\npassword = { env = ' in profile.read_text()
    assert profile.stat().st_mode & 0o777 == 0o600
