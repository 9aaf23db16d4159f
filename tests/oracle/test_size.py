"""Memory and speed: images of 100 GiB, and the checker beside sha256sum."""

from __future__ import annotations

import json
import shlex
import tracemalloc
from pathlib import Path

import pytest

from lab.oracle import speed
from lab.oracle.checks.epochs import Epochs, LanePast
from lab.oracle.checks.overwrites import check_overwrites
from lab.oracle.findings import Rule
from lab.oracle.group import BLOCK, Group, Member
from lab.oracle.history import EpochStart
from lab.oracle.judge import StoredHistory, find_frontiers, judge
from lab.oracle.scan import parse_scan, scan_file
from tests.oracle import blocks
from tests.oracle.conftest import RUN

GIB = 1 << 30
LIMIT = 200 << 20
LANES = 4
HOT_SLOTS = 896
BIG = Group(RUN, (Member("vm0", ("/x",)),), LANES, 100 * GIB // BLOCK // LANES - HOT_SLOTS - 1, HOT_SLOTS)


def confined(tool: Path, folder: Path) -> Path:
    """Return the tool with no more address space than the limit. Its resource usage would show its parent's memory."""
    script = folder / "confined"
    script.write_text(f'#!/bin/sh\nulimit -v {LIMIT >> 10}\nexec {shlex.quote(str(tool))} "$@"\n')
    script.chmod(0o755)
    return script


def test_a_sparse_image_of_100_gib_needs_little_memory(tool: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    lane = BIG.lanes[3]
    with image.open("wb") as file:
        file.truncate(BIG.volume_blocks * BLOCK)
        parent = bytes(16)
        for seq in (1, 2, 3):
            at = BIG.log_block(lane, seq)
            block = blocks.pack(
                RUN, (0, 0, 3), blocks.LOG, seq, at, issued=seq, parent=parent, clock=[0, 0, 0, seq - 1]
            )
            parent = block[88:104]
            file.seek(at * BLOCK)
            file.write(block)
    assert image.stat().st_blocks * 512 < GIB
    history = tmp_path / "history"
    history.write_text(
        "".join(f"E {index} 1 0 0\n" for index in range(LANES)) + "S 3 1 1 3 1 50" + " 1 1 1 1 0" * 3 + "\n"
    )
    tracemalloc.start()
    copy = scan_file(confined(tool, tmp_path), BIG, (0, 0), image)
    verdict = judge(copy, BIG, StoredHistory(BIG, {0: history}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.frontier == (0, 0, 0, 3)
    assert Rule.DAMAGED in verdict.rules, "the blanks are holes"
    assert sum(item.count for item in copy.damage) == BIG.volume_blocks - 3
    assert peak < LIMIT


def test_a_full_scan_of_100_gib_needs_little_memory() -> None:
    epochs = Epochs.of_events([EpochStart(lane, 1, 0, 0) for lane in range(LANES)])
    newest = BIG.log_slots * 3 + 17
    tracemalloc.start()
    copy = parse_scan(scan_lines(newest), BIG, 0, 0)
    frontiers, findings = find_frontiers(copy, BIG, epochs, 1)
    for lane, frontier in frontiers.items():
        findings += check_overwrites(copy.lanes[lane], frontier, LanePast(BIG, lane, epochs, 1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not findings
    assert {frontier.seq for frontier in frontiers.values()} == {newest}
    assert peak < LIMIT


def test_a_shattered_image_needs_little_memory() -> None:
    lines = (f"L 0 1 {slot} {slot + 1} 1 1 5 5 0 0 0 0" for slot in range(0, 400_000, 2))
    tracemalloc.start()
    copy = parse_scan([f"V 1 0 0 {BIG.volume_blocks}", *lines, "Z 0"], BIG, 0, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.what for item in copy.damage] == ["shattered"]
    assert peak < LIMIT


def scan_lines(newest: int):
    """What the scanner says about a full, sound image whose rings have wrapped."""
    yield f"V 1 0 0 {BIG.volume_blocks}"
    turn, slots = (newest - 1) // BIG.log_slots * BIG.log_slots, BIG.log_slots
    for lane in range(LANES):
        count = newest - turn
        yield f"L {lane} 1 0 {turn + 1} {count} 1 5 5 0 0 0 0"
        yield f"L {lane} 1 {count} {turn - slots + count + 1} {slots - count} 1 5 5 0 0 0 0"
        held = [0] * (BIG.hot_slots // 2)
        for seq in range(newest - 20_000, newest + 1):
            held[BIG.hot_slot(lane, seq, 1)] = seq
        yield f"H {lane} 0 1 " + " ".join(map(str, held + [0] * (BIG.hot_slots // 2)))
    yield f"Z {BIG.volume_blocks}"


def test_reading_is_not_slower_than_half_of_sha256sum(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["speed", str(tmp_path / "file"), "--mib", "64", "--json"])
    assert speed.main() == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["bytes_read"] > 60 << 20
    assert measured["ratio"] > 0.5


def test_a_spoiled_file_is_not_measured(tmp_path: Path, monkeypatch) -> None:
    def spoil(file: Path) -> float:
        with file.open("r+b") as opened:
            opened.write(b"x" * BLOCK)
        return 1.0

    monkeypatch.setattr(speed, "_sha256sum", spoil)
    with pytest.raises(RuntimeError, match="not sound"):
        speed.measure_speed(tmp_path / "file", 16, turns=2)
