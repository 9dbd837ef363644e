"""The benchmark's parts that need no server: trees, limits, tables, plots, arguments. Nothing is timed here."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import attrs
import pytest

from actorsync.profile import load_profile
from bench.__main__ import parse, present
from bench.cases import Case, Outcome, Round, can_run, keep, kept
from bench.credentials import PORT, Credentials, make_credentials
from bench.latency import Latencies, render_latencies
from bench.limits import Conditions, Limit, limit_of_again, limit_of_first, walk_seconds, wire_limit
from bench.link import Unusable
from bench.measure import Measurement, measure
from bench.peers import PEERS, Job
from bench.plots import Bar, Line, Span, bars, draw, draw_deploys, lines, spans
from bench.report import ratio, render, render_deploys, summarise
from bench.servers import SERVERS, USUAL, Language, Place
from bench.suites import CLAIMS, DEPLOYS, MATRIX, SUITES, Claim, Claims
from bench.trees import (
    WORKLOADS,
    Workload,
    change,
    difference,
    files_of,
    make_tree,
    other_times,
    put_in_place,
    written_since,
)
from bench.visible import Seen, Site
from tests.support.root import ROOT

TINY = Workload("a few files", files=12, folders=5, sizes=(0, 3_000), depth=2, last=1_500_000)
CASE = Case("small", "vsftpd", 50, 8, ("actorsync", "lftp"))


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


def outcome(*rounds: Round, limits: dict[str, Limit] | None = None, case: Case = CASE) -> Outcome:
    return Outcome(case, {"cpus": 2}, {"first": Limit(20, "trips")} if limits is None else limits, list(rounds))


def deployed(peer: str, first: float, last: float, whole: float = 50.0, ahead: float = 0.0) -> Round:
    return attrs.evolve(done(peer, whole, 1.0), again=None, seen=Seen(first, last, ahead, broken=0, away=0, looks=99))


def render_rounds(rounds: list[Round]) -> str:
    return render([outcome(*rounds)])


class TestTrees:
    def test_same_workload_makes_equal_trees(self, tmp_path: Path) -> None:
        sizes = [make_tree(TINY, tmp_path / name) for name in ("one", "other")]
        assert sizes[0] == sizes[1]
        assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "other")

    def test_site_has_pages_what_they_load_and_an_index_in_each_folder(self, tmp_path: Path) -> None:
        site = WORKLOADS["deploy"].scaled(0.1)
        total = make_tree(site, tmp_path / "tree")
        files = files_of(tmp_path / "tree")
        assert len(files) == site.file_count == 120
        assert total <= site.most_bytes
        assert sum(file.name == "index.html" for file in files) == site.folders
        kinds = [sum(file.suffix == ending for file in files) for ending in (".html", ".css", ".js", ".webp")]
        assert kinds == [64, 12, 16, 28]

    def test_deploy_changes_a_thousand_files_of_every_kind(self, tmp_path: Path) -> None:
        assert WORKLOADS["deploy"].changed == 1_000
        site = WORKLOADS["deploy"].scaled(0.1)
        make_tree(site, tmp_path / "tree")
        with change(site, tmp_path / "tree") as changed:
            assert len(changed) == len(set(changed)) == 100
            assert {file.suffix for file in changed} == {".html", ".css", ".js", ".webp"}

    def test_another_seed_makes_another_tree(self, tmp_path: Path) -> None:
        make_tree(TINY, tmp_path / "one")
        make_tree(TINY, tmp_path / "other", seed=2)
        assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "other")

    def test_tree_has_the_numbers_of_its_workload(self, tmp_path: Path) -> None:
        total = make_tree(TINY, tmp_path / "tree")
        files = [path for path in (tmp_path / "tree").rglob("*") if path.is_file()]
        folders = [path for path in (tmp_path / "tree").rglob("*") if path.is_dir()]
        assert (len(files), len(folders)) == (TINY.file_count, TINY.folders)
        assert total == sum(path.stat().st_size for path in files) <= TINY.most_bytes
        assert max(len(path.relative_to(tmp_path / "tree").parts) for path in folders) <= TINY.depth

    def test_nothing_to_do_and_many_have_the_same_tree(self) -> None:
        many, nothing = WORKLOADS["many"], WORKLOADS["nothing-to-do"]
        assert attrs.evolve(nothing, about=many.about, in_place=False, known=False) == many

    def test_million_has_a_million_entries(self) -> None:
        million = WORKLOADS["million"]
        assert million.file_count + million.folders == 1_000_000

    def test_scaled_workload_keeps_at_least_one_of_each_kind(self) -> None:
        scaled = WORKLOADS["changed"].scaled(0.0001)
        assert (scaled.files, scaled.folders, scaled.changed, scaled.last) == (10, 1, 1, 0)

    def test_changes_are_spread_over_the_folders_and_undone(self, tmp_path: Path) -> None:
        workload = attrs.evolve(TINY, files=40, changed=5, last=0)
        make_tree(workload, tmp_path / "tree")
        before = {path: path.stat() for path in (tmp_path / "tree").rglob("*.dat")}
        untouched = fingerprint(tmp_path / "tree")
        with change(workload, tmp_path / "tree"):
            others = [path for path, was in before.items() if path.stat().st_size != was.st_size]
            assert {path.parent for path in others} == {path.parent for path in before}
            assert [path for path, was in before.items() if path.stat().st_mtime != was.st_mtime] == others
            assert len(others) == 5
        assert fingerprint(tmp_path / "tree") == untouched

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
    @pytest.mark.parametrize("linked", [False, True])
    def test_tree_in_place_is_equal_and_independent_of_the_source(self, linked: bool, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        workload = attrs.evolve(TINY, linked=linked)
        make_tree(workload, source)
        target.mkdir()
        put_in_place(workload, source, target, 60_077)
        assert difference(source, target) is None
        assert other_times(source, target) == 0
        assert {path.stat().st_uid for path in target.rglob("*") if path.is_dir()} == {60_077}
        shutil.rmtree(target)
        assert len(list(source.rglob("*.*"))) == TINY.file_count

    def test_equal_trees_have_no_difference(self, tmp_path: Path) -> None:
        make_tree(TINY, tmp_path / "one")
        make_tree(TINY, tmp_path / "other")
        assert difference(tmp_path / "one", tmp_path / "other") is None

    def test_difference_is_named(self, tmp_path: Path) -> None:
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

    def test_equal_file_written_again_is_counted(self, tmp_path: Path) -> None:
        make_tree(TINY, tmp_path / "tree")
        assert written_since(tmp_path / "tree", time.time() + 60) == 0
        assert written_since(tmp_path / "tree", time.time() - 60) == TINY.file_count

    def test_folder_in_place_of_a_file_is_a_difference(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "one/thing").touch()
        (tmp_path / "other/thing").mkdir(parents=True)
        assert difference(tmp_path / "one", tmp_path / "other") == "thing differs"

    def test_part_of_a_second_is_no_difference_in_time(self, tmp_path: Path) -> None:
        one, other = tmp_path / "one", tmp_path / "other"
        make_tree(TINY, one)
        make_tree(TINY, other)
        file = other / "last.bin"
        seconds = int(file.stat().st_mtime)
        os.utime(file, (seconds, seconds + 0.75))
        assert other_times(one, other) == 0
        os.utime(file, (seconds, seconds + 1))
        assert other_times(one, other) == 1


class TestTable:
    def test_ratios_are_actorsync_to_the_peer(self) -> None:
        table = render_rounds([done("actorsync", 40.0, 0.5), done("lftp", 80.0, 2.0)])
        ours, theirs = (
            [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "vsftpd" in line
        )
        assert ours == ["vsftpd", "actorsync", "40.00", "0.50", "20 trips", "2.00", "4.00", "20", "equal", "-", "-"]
        assert theirs[4:] == ["20 trips", "4.00", "8.00", "20", "equal", "0.500", "0.250"]

    def test_lines_of_the_table_have_equal_width(self) -> None:
        table = render_rounds([done("actorsync", 4.0, 0.5), done("lftp", 1234.5, 2.0)])
        assert len({len(line) for line in table.splitlines()}) == 1

    def test_rounds_are_summarised_by_their_median(self) -> None:
        (row,) = summarise([done("lftp", seconds, 1.0) for seconds in (9.0, 2.0, 3.0)])
        assert row.first == 3.0

    def test_failed_round_is_not_compared(self) -> None:
        table = render_rounds([done("actorsync", 1.0, 1.0, "exit 7: no"), done("lftp", 80.0, 2.0)])
        ours, theirs = (line.split() for line in table.splitlines() if line.startswith("| vsftpd"))
        assert ours.count("-") == 7
        assert theirs[-4:] == ["-", "|", "-", "|"]
        assert table.endswith("actorsync against vsftpd failed: exit 7: no")

    def test_unequal_target_is_a_failure(self) -> None:
        (row,) = summarise([attrs.evolve(done("lftp", 1.0, 1.0), difference="a differs")])
        assert (row.first, row.failure) == (None, "a differs")

    def test_different_times_are_reported_and_not_a_failure(self) -> None:
        rounds = [attrs.evolve(done("lftp", 1.0, 1.0), other_times=number) for number in (0, 90)]
        (row,) = summarise(rounds)
        assert (row.first, row.failure, row.target) == (1.0, None, "equal but times")

    def test_peer_that_cannot_use_a_server_has_a_line(self) -> None:
        table = render_rounds([done("actorsync", 4.0, 0.5), Round("vsftpd", "rsync", None, None, None)])
        theirs = next(line for line in table.splitlines() if "| rsync" in line)
        assert [cell.strip() for cell in theirs.split("|")[1:-1]] == [
            "vsftpd",
            "rsync",
            "-",
            "-",
            "20 trips",
            *"------",
        ]

    def test_second_run_is_compared_without_a_first(self) -> None:
        rounds = [attrs.evolve(done(peer, 1.0, again), first=None) for peer, again in (("actorsync", 1), ("lftp", 4))]
        assert render_rounds(rounds).splitlines()[-1].split("|")[-3:-1] == [
            f" {'-':<{len('first: actorsync/peer')}} ",
            f" {'0.250':<{len('again: actorsync/peer')}} ",
        ]

    def test_ratio_is_the_median_of_rounds_with_both_sides(self) -> None:
        assert ratio([1.0, 9.0, 2.0], [2.0, 3.0, 8.0]) == 0.5
        assert ratio([1.0], []) is ratio([], []) is None


class TestLimits:
    HERE = Conditions(round_trip=0.05, bytes_per_second=1e8, walk=0.25)

    def first(
        self, workload: str, language: Language, size: int = 8_000_000, connections: int = 8
    ) -> tuple[float, str]:
        limit = limit_of_first(WORKLOADS[workload], size, language, connections, self.HERE)
        return round(limit.seconds, 3), limit.by

    def test_small_files_cost_round_trips(self) -> None:
        assert wire_limit(2_000, 3, 0.05, 8) == pytest.approx(37.5)
        assert self.first("small", "ftp") == (37.5, "trips")
        assert self.first("small", "ftpes") == (50, "trips")

    def test_one_file_uses_one_connection_only(self) -> None:
        assert wire_limit(1, 3, 0.05, 8) == wire_limit(1, 3, 0.05, 1)

    def test_sftp_does_not_wait_for_single_files(self) -> None:
        assert self.first("small", "sftp") == (0.25, "walk")
        assert self.first("small", "sftp", size=10**9) == (10, "bytes")

    def test_big_file_costs_its_bytes(self) -> None:
        assert self.first("big", "ftp", size=1 << 30, connections=1) == (10.737, "bytes")

    def test_adopting_a_tree_lists_every_folder(self) -> None:
        assert self.first("adopt", "ftp") == (18.75, "trips")
        assert self.first("adopt", "sftp") == (0.25, "walk")

    def test_only_changed_files_are_sent(self) -> None:
        assert self.first("changed", "ftp") == (18.75, "trips")

    def test_run_with_nothing_to_do_walks_the_source_once(self) -> None:
        assert limit_of_again(self.HERE) == Limit(0.25, "walk")

    def test_walk_program_runs(self, tmp_path: Path) -> None:
        make_tree(TINY, tmp_path / "tree")
        assert 0 < walk_seconds(tmp_path / "tree") < 1


class TestKeeping:
    def test_last_outcome_in_the_file_counts(self, tmp_path: Path) -> None:
        path, old, new = tmp_path / "results/file.jsonl", done("lftp", 2.0, 1.0), done("lftp", 3.0, 1.0)
        keep(path, outcome(old))
        keep(path, outcome(new, Round("vsftpd", "rsync", None, None, None)))
        ((case, one),) = kept(path).items()
        assert case == CASE
        assert one == outcome(new, Round("vsftpd", "rsync", None, None, None))

    def test_another_scale_is_another_case(self, tmp_path: Path) -> None:
        path = tmp_path / "results/file.jsonl"
        keep(path, outcome())
        assert attrs.evolve(CASE, scale=0.1) not in kept(path)

    def test_missing_file_has_no_outcomes(self, tmp_path: Path) -> None:
        assert kept(tmp_path / "absent.jsonl") == {}


class TestSuites:
    LFTP = Claim(CASE, "time", 0.48, "lftp")

    def held(self, claim: Claim, *outcomes: Outcome) -> str:
        return claim.held({one.case: one for one in outcomes})

    def test_claim_is_judged_by_the_median_of_the_rounds(self) -> None:
        ours, theirs = ([done(peer, first, 1.0) for first in (2.0, 3.0, 40.0)] for peer in ("actorsync", "lftp"))
        faster = [attrs.evolve(one, first=measured(one.first.seconds * 0.4)) for one in ours if one.first]
        assert self.held(self.LFTP, outcome(*faster, *theirs)) == "yes"
        assert self.held(self.LFTP, outcome(*ours, *theirs)) == "NO"

    def test_claim_that_was_not_run_or_failed_is_not_held(self) -> None:
        assert self.held(self.LFTP) == "not run"
        assert self.held(self.LFTP, outcome(done("actorsync", 1.0, 1.0), done("lftp", 9.0, 1.0, "exit 1"))) == "FAILED"

    def test_figures_without_a_peer_are_converted_to_their_unit(self) -> None:
        one = outcome(done("actorsync", 2.0, 100.0))
        assert Claim(CASE, "peak, MB", 120).value({CASE: one}) == pytest.approx(20 * 1.048576)
        assert Claim(CASE, "processor, s", 1).value({CASE: one}) == pytest.approx(0.2)

    def test_share_of_a_core_refers_to_the_time_waited(self) -> None:
        waited = Round("vsftpd", "actorsync", None, Measurement(60.0, 0.03, 20), None)
        assert Claim(CASE, "share of a core", 0.001).value({CASE: outcome(waited)}) == pytest.approx(0.0005)

    def test_twice_the_files_are_compared_with_half(self) -> None:
        twice = attrs.evolve(CASE, scale=2.0)
        claim = Claim(twice, "half the files", 2.1, half=CASE)
        once = outcome(done("actorsync", 2.0, 1.0))
        assert self.held(claim, once, outcome(done("actorsync", 4.0, 1.0), case=twice)) == "yes"
        assert self.held(claim, once, outcome(done("actorsync", 5.0, 1.0), case=twice)) == "NO"
        assert self.held(claim, outcome(done("actorsync", 4.0, 1.0), case=twice)) == "FAILED"

    def test_table_shows_claims_and_conditions(self) -> None:
        conditions = {"cpus": 2, "processor": "x", "memory_gib": 1, "kernel": "6", "versions": {"lftp": "4.9"}}
        one = attrs.evolve(outcome(done("actorsync", 40.0, 1.0), done("lftp", 100.0, 1.0)), conditions=conditions)
        text = Claims([self.LFTP, attrs.evolve(self.LFTP, case=attrs.evolve(CASE, link=None))]).show({CASE: one})
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
        assert cells[2] == [
            *("FTP small, 50 ms, 8 connections", "vsftpd", "lftp", "0.400", "0.48", "yes", "40.00", "100.00", "20")
        ]
        assert cells[3][3:] == ["-", "0.48", "not run", "-", "-", "-"]
        assert "Rounds of a case: 1. Machine: 2 CPUs (x), 1 GiB, Linux 6." in text
        assert text.endswith("Versions: lftp 4.9.")

    @pytest.mark.parametrize("name", SUITES)
    def test_every_peer_can_use_the_server_of_its_case(self, name: str) -> None:
        cases = SUITES[name].cases
        assert len(set(cases)) == len(cases) > (4 if name == "deploy" else 10)
        assert all(can_run(case.server, peer) for case in cases for peer in case.peers)

    def test_every_claim_uses_peers_of_its_case(self) -> None:
        assert all({"actorsync", one.peer or "actorsync"} <= set(one.case.peers) for one in CLAIMS.claims)
        assert all((one.half is not None) == (one.figure == "half the files") for one in CLAIMS.claims)

    def test_cases_are_chosen_by_text_in_their_line(self) -> None:
        assert {case.server for case in CLAIMS.only("sftp SMALL").cases} == {"openssh"}
        assert CLAIMS.only("no such").cases == []

    def test_scaled_suite_has_other_cases(self) -> None:
        for suite in SUITES.values():
            assert not set(suite.scaled(0.01).cases) & set(suite.cases)

    def test_incomplete_matrix_has_not_ended_well(self) -> None:
        full = {case: outcome(done("actorsync", 1.0, 1.0), case=case) for case in MATRIX.cases}
        assert MATRIX.ended_well(full)
        assert not MATRIX.ended_well({})


class TestVisible:
    """A site with a style sheet and a page, and a visitor that looks when a test says so."""

    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        for tree in ("old", "new", "target"):
            (tmp_path / tree).mkdir()
            for name in ("page.html", "style.css"):
                (tmp_path / tree / name).write_text("new text" if tree == "new" else "old")
        return Site(tmp_path / "target", tmp_path / "old", tmp_path / "new", ["page.html", "style.css"])

    def publish(self, site: Site, folder: Path, *names: str) -> None:
        for name in names:
            shutil.copy(folder / "new" / name, folder / "temporary")
            os.replace(folder / "temporary", folder / "target" / name)
            site.look()

    def test_without_a_change_nothing_is_seen(self, site: Site) -> None:
        with site.watching_from_now():
            pass
        assert site.seen() == Seen(None, None, 0.0, 0, 0, site.seen().looks)
        assert site.seen().window is None

    def test_window_lasts_from_the_first_change_to_the_last(self, site: Site, tmp_path: Path) -> None:
        site.look()
        self.publish(site, tmp_path, "style.css")
        half = site.seen()
        assert half.first is not None
        assert (half.last, half.window) == (None, None)
        self.publish(site, tmp_path, "page.html")
        site.look()
        seen = site.seen()
        assert seen.first == half.first
        assert seen.last is not None
        assert seen.window == seen.last - seen.first > 0

    def test_page_before_its_style_sheet_is_counted(self, site: Site, tmp_path: Path) -> None:
        self.publish(site, tmp_path, "page.html")
        assert site.seen().ahead > 0

    def test_page_after_its_style_sheet_is_not_counted(self, site: Site, tmp_path: Path) -> None:
        self.publish(site, tmp_path, "style.css", "page.html")
        assert site.seen().ahead == 0

    def test_half_and_missing_files_are_counted_once(self, site: Site, tmp_path: Path) -> None:
        for _ in range(2):
            (tmp_path / "target/page.html").write_text("new")
            (tmp_path / "target/style.css").unlink(missing_ok=True)
            site.look()
        self.publish(site, tmp_path, "style.css", "page.html")
        assert (site.seen().broken, site.seen().away) == (1, 1)

    def test_site_that_goes_back_is_not_complete(self, site: Site, tmp_path: Path) -> None:
        self.publish(site, tmp_path, "style.css", "page.html")
        shutil.copy(tmp_path / "old/page.html", tmp_path / "target/page.html")
        site.look()
        assert site.seen().last is None

    def test_table_compares_the_windows_of_a_round(self) -> None:
        theirs = deployed("lftp", 1.0, 51.0, ahead=2.0)
        at_once, failed = deployed("rsync", 3.0, 3.0), done("rclone", 1, 1, "exit 1")
        text = render_deploys([outcome(deployed("burst", 40.0, 40.5), theirs, failed, at_once)])
        cells = [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| v")
        ]
        assert cells[0] == ["vsftpd", "burst", "50.00", "0.50", "-", "0.00", "0", "0", "equal"]
        assert cells[1][2:] == ["50.00", "50.00", "0.010", "2.00", "0", "0", "equal"]
        assert cells[2][2:] == ["-", "-", "-", "-", "-", "-", "FAILED"]
        assert cells[3][3:5] == ["0.00", "-"]
        assert text.endswith("rclone against vsftpd failed: exit 1")


class TestPlots:
    def drawn(self, text: str) -> ET.Element:
        return ET.fromstring(text)

    def marks(self, root: ET.Element, tag: str) -> list[ET.Element]:
        return root.findall(f"{{http://www.w3.org/2000/svg}}{tag}")

    def test_each_ratio_has_a_bar_and_a_stroke_at_the_maximum(self) -> None:
        root = self.drawn(bars("a < b", [Bar("FTP & SFTP", "lftp", 0.5, 1.0), Bar("other", "rsync", 18.0, 2.0)]))
        widths = [float(bar.attrib["width"]) for bar in self.marks(root, "rect")]
        assert widths[1] == pytest.approx(36 * widths[0], rel=0.02)
        assert sum(rule.attrib["class"] == "most" for rule in self.marks(root, "line")) == 2
        assert {"FTP & SFTP: lftp", "0.50", "18.00"} <= {text.text for text in self.marks(root, "text")}

    def test_halving_at_each_step_is_a_straight_line(self) -> None:
        data = [Line("lftp", [(1, 8.0), (2, 4.0), (4, 2.0)]), Line("actorsync", [(1, 2.0), (2, 1.0), (4, 0.5)])]
        root = self.drawn(lines("seconds", "connections", data))
        ours, theirs = (
            [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
            for line in self.marks(root, "polyline")
        )
        for one in (ours, theirs):
            assert one[1] == pytest.approx(tuple((a + b) / 2 for a, b in zip(one[0], one[2], strict=True)), abs=0.2)
        assert all(low[1] > high[1] for low, high in zip(ours, theirs, strict=True))

    def test_line_with_one_point_can_be_drawn(self) -> None:
        assert self.drawn(lines("seconds", "connections", [Line("lftp", [(8, 1.0)])])) is not None

    def test_deploy_is_a_pale_bar_with_its_visible_part(self) -> None:
        root = self.drawn(
            spans("deploy", [Span("vsftpd", "burst", 50.0, 49.0, 49.01), Span("x", "lftp", 100.0, 0.0, 50.0)])
        )
        whole, shown, theirs, seen = (float(bar.attrib["width"]) for bar in self.marks(root, "rect"))
        assert theirs == pytest.approx(2 * whole, abs=0.2)
        assert seen == pytest.approx(theirs / 2, abs=0.2)
        assert shown == 2
        assert {"vsftpd: burst", "0.01 of 50 s", "50.00 of 100 s"} <= {text.text for text in self.marks(root, "text")}

    def test_deploy_with_the_median_window_is_drawn(self) -> None:
        assert draw_deploys(DEPLOYS, {}) == {}
        case = DEPLOYS.cases[0]
        rounds = [deployed("burst", 40.0, 40.0 + seconds) for seconds in (3.0, 1.0, 2.0)]
        failed = attrs.evolve(deployed("lftp", 1.0, 2.0), difference="page.html differs")
        text = draw_deploys(DEPLOYS, {case: outcome(*rounds, failed, case=case)})["deploy.svg"]
        assert "2.00 of 50 s" in text
        assert "1.00 of" not in text

    def test_only_measured_cases_are_drawn(self) -> None:
        assert draw(CLAIMS, MATRIX, {}) == {}
        cases = [case for case in MATRIX.cases if case.link == 50]
        ran = {case: outcome(*(done(peer, 9.0, 1.0) for peer in case.peers), case=case) for case in cases}
        assert set(draw(CLAIMS, MATRIX, ran)) == {"connections.svg", "round-trip.svg"}
        claim = CLAIMS.claims[0]
        ran = {claim.case: outcome(*(done(peer, 9.0, 1.0) for peer in claim.case.peers), case=claim.case)}
        assert set(draw(CLAIMS, MATRIX, ran)) == {"ratios.svg"}


class TestArguments:
    def test_arguments_have_defaults(self) -> None:
        options = parse([])
        assert (options.workload, options.link, options.connections, options.runs) == ("small", 50, 8, None)
        assert options.server is options.peer is None

    def test_several_servers_and_peers_are_accepted(self) -> None:
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
            ("--scale 0", "'0' is not a number above 0, up to 10"),
            ("--scale half", "'half' is not a number above 0, up to 10"),
            ("--runs many", "'many' is not a number from 1 to 100"),
        ],
    )
    def test_wrong_arguments_are_rejected_with_a_reason(
        self, arguments: str, reason: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as refused:
            parse(arguments.split())
        assert refused.value.code == 2
        assert reason in capsys.readouterr().err

    def test_missing_peer_that_is_named_is_an_error(self) -> None:
        known, found = {"lftp": "apt install lftp", "rclone": "apt install rclone"}, {"lftp": "4.9", "rclone": None}
        with pytest.raises(Unusable, match="apt install rclone"):
            present("peers", ["lftp", "rclone"], known, found)

    def test_missing_peer_that_is_not_named_is_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        known, found = {"lftp": "apt install lftp", "rclone": "apt install rclone"}, {"lftp": "4.9", "rclone": None}
        assert present("peers", None, known, found) == {"lftp": "4.9"}
        assert capsys.readouterr().err == "left out: rclone: apt install rclone\n"


def test_docs_list_the_peers_of_each_server() -> None:
    documented: dict[str, set[str]] = {}
    for line in ROOT.joinpath("docs/performance.md").read_text().splitlines():
        if len(cells := line.split("|")) == 5 and (servers := set(re.findall(r"`(\S+)`", cells[1])) & set(SERVERS)):
            documented |= dict.fromkeys(servers, set(re.findall(r"[\w-]+", cells[3])) & set(PEERS))
    peers = set(PEERS) - {"previous", "burst"}  # which run wherever actorsync does
    assert documented == {server: {peer for peer in peers if can_run(server, peer)} for server in SERVERS}


def test_rsync_needs_a_shell_on_the_server() -> None:
    assert [server for server in SERVERS if can_run(server, "rsync")] == ["openssh"]


def test_default_servers_exist() -> None:
    assert set(USUAL) < set(SERVERS)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen")
    return make_credentials(tmp_path_factory.mktemp("bench") / "credentials", "10.77.0.2")


@pytest.fixture
def job(credentials: Credentials, tmp_path: Path) -> Job:
    (tmp_path / "state").mkdir()
    return Job(tmp_path / "tree", "10.77.0.2", "folder", 8, tmp_path / "state", credentials)


def command(peer: str, server: str, job: Job) -> list[str]:
    make = PEERS[peer].command_for(SERVERS[server].speaks)
    assert make is not None
    return make(job)


class TestCredentials:
    def test_known_hosts_has_address_and_port_of_the_server(self, credentials: Credentials) -> None:
        place, algorithm, _, *_ = credentials.known_hosts.read_text().split()
        assert (place, algorithm) == (f"[10.77.0.2]:{PORT}", "ssh-ed25519")

    def test_private_keys_have_mode_0600(self, credentials: Credentials) -> None:
        for path in (credentials.key_file, credentials.host_key, credentials.certificate):
            assert path.stat().st_mode & 0o777 == 0o600
            assert "PRIVATE KEY" in path.read_text()


class TestConfigurations:
    @pytest.mark.parametrize("name", SERVERS)
    def test_every_placeholder_is_filled_in(self, name: str, credentials: Credentials, tmp_path: Path) -> None:
        place = Place("/usr/sbin/program", "10.77.0.2", tmp_path / "home", tmp_path / "own", credentials)
        written = f"{place.configuration(SERVERS[name])} {shlex.join(SERVERS[name].command(place))}"
        assert not {"{", "}"} & set(written)
        if "ftpes" in SERVERS[name].speaks:
            assert str(credentials.certificate) in written

    @pytest.mark.parametrize("name", ["pyftpdlib", "pyftpdlib-tls", "asyncssh"])
    def test_scripts_are_valid_python(self, name: str, credentials: Credentials, tmp_path: Path) -> None:
        place = Place(sys.executable, "10.77.0.2", tmp_path / "home", tmp_path / "own", credentials)
        compile(place.configuration(SERVERS[name]), name, "exec")


class TestCommands:
    @pytest.mark.parametrize(("server", "scheme"), [("vsftpd", "ftp"), ("vsftpd-tls", "ftpes"), ("openssh", "sftp")])
    def test_profile_is_valid(self, server: str, scheme: str, job: Job) -> None:
        written = Path(command("actorsync", server, job)[-1])
        assert written.stat().st_mode & 0o777 == 0o600
        target = load_profile(written).target
        login = "~/" if scheme == "sftp" else ""
        assert target.display == f"{scheme}://mirror@10.77.0.2:2121/{login}folder"
        assert (target.password is None) == (scheme == "sftp")

    def test_profile_contains_no_password(self, job: Job) -> None:
        written = Path(command("actorsync", "vsftpd", job)[-1])
        assert "password = { env = " in written.read_text()

    @pytest.mark.parametrize(("server", "scheme"), [("vsftpd", "ftp"), ("vsftpd-tls", "ftpes"), ("openssh", "sftp")])
    def test_profile_for_a_burst_is_valid(self, server: str, scheme: str, job: Job) -> None:
        loaded = load_profile(Path(command("burst", server, job)[-1]))
        assert loaded.target.display.startswith(f"{scheme}://")
        assert loaded.publish.mode == "burst"

    def test_deploys_use_temporary_files_where_a_peer_can(self, job: Job) -> None:
        deploy = attrs.evolve(job, is_deploy=True)
        for peer, server, word in (
            ("lftp", "vsftpd", "xfer:use-temp-file yes"),
            ("rsync", "openssh", "--delay-updates"),
        ):
            assert word not in " ".join(command(peer, server, job))
            assert word in " ".join(command(peer, server, deploy))

    def test_deploy_tools_get_source_and_folder(self, job: Job) -> None:
        assert {f"{job.source}/", "folder/"} <= set(command("ftp-deploy", "vsftpd", job))
        config = Path(command("ftp-deployment", "vsftpd", job)[2]).read_text()
        assert f'local = "{job.source}"' in config
        assert ":2121/folder" in config

    @pytest.mark.parametrize("peer", ["actorsync", "lftp"])
    def test_command_for_ftps_contains_the_authority(self, peer: str, job: Job) -> None:
        words = " ".join(command(peer, "proftpd-tls", job))
        profile = job.state / "profile.toml"
        words += profile.read_text() if profile.exists() else ""
        assert str(job.credentials.ca_file) in words

    @pytest.mark.parametrize("peer", ["actorsync", "lftp", "rclone", "rsync"])
    def test_command_for_sftp_contains_known_hosts_and_key(self, peer: str, job: Job) -> None:
        words = " ".join(command(peer, "openssh", job))
        profile = job.state / "profile.toml"
        words += profile.read_text() if profile.exists() else ""
        assert str(job.credentials.known_hosts) in words
        assert str(job.credentials.key_file) in words


class TestMeasuring:
    def test_failure_is_the_exit_code_and_the_last_line(self, tmp_path: Path) -> None:
        one = measure(["sh", "-c", "echo first; echo last; exit 7"], tmp_path, 20)
        assert one.failure == "exit 7: last"

    def test_program_is_stopped_at_the_timeout(self, tmp_path: Path) -> None:
        one = measure(["sleep", "30"], tmp_path, 0.1)
        assert one.seconds < 5
        assert one.failure == "stopped after 0 s: nothing"

    def test_child_process_left_running_is_counted_and_ended(self, tmp_path: Path) -> None:
        busy = "import os, time\nwhile time.process_time() < 0.5: pass\nopen('ready', 'x')\ntime.sleep(60)"
        (tmp_path / "helper.py").write_text(busy)
        script = 'cd "$1"; setsid "$2" helper.py & echo $! > "$1/pid"; until [ -e "$1/ready" ]; do sleep 0.05; done'
        one = measure(["sh", "-c", script, "sh", str(tmp_path), sys.executable], tmp_path, 20)
        assert one.failure is None
        assert one.cpu >= 0.5
        assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


# From save to live.


def test_latencies_are_shown_with_what_is_promised() -> None:
    seconds = tuple(number / 100 for number in range(1, 101))
    found = [
        Latencies("proftpd", "actorsync, warm", 1, tuple(it / 2 for it in seconds), 50.1),
        Latencies("proftpd", "actorsync, warm", 32, seconds[:64], 50.1),
        Latencies("openssh", "lsyncd with rsync", 1, (*seconds[:94], *[math.inf] * 6), 50.1),
    ]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in render_latencies(found).splitlines()[2:]]
    assert cells == [
        ["proftpd", "actorsync, warm", "1", "100", "0.25", "0.47", "0.7 kept"],
        ["proftpd", "actorsync, warm", "32", "2", "0.32", "0.61", "0.7 kept"],
        ["openssh", "lsyncd with rsync", "1", "100", "0.50", "inf", "-"],
    ]


def test_a_promise_that_is_not_kept_is_said() -> None:
    assert "0.7 NOT KEPT" in render_latencies([Latencies("proftpd", "actorsync, warm", 1, (0.1, 0.9), 50.0)])
