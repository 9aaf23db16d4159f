"""Two writes whose order the log leaves open: the disk decides, and if it has moved on no instant is claimed."""

from __future__ import annotations

import cProfile
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from write_log_encoder import END, Write, encode

from lab.replication.mobility.log_contents import Changes, content_of, joined
from lab.replication.mobility.write_log import FUA, BrokenLog, Entry, Survivor, survivors

BLOCK = 4096
PLAIN, FORCED, LATER = (bytes([letter]) * BLOCK for letter in b"pfl")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "log"
    path.write_bytes(FORCED + PLAIN)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def conflict(log: int) -> Survivor:
    """A FUA write that the log has before a plain write to the same place."""
    (part,) = survivors([Entry(0, BLOCK, FUA, log, 0), Entry(0, BLOCK, 0, log, BLOCK)])
    assert part.rivals
    return part


@pytest.mark.parametrize(
    ("on_disk", "expected"),
    [(PLAIN, (PLAIN, True)), (FORCED, (FORCED, True)), (LATER, (PLAIN, False))],
    ids=["the plain write was last", "the FUA write was last", "a third write has followed"],
)
def test_the_disk_decides(log: int, tmp_path: Path, on_disk: bytes, expected: tuple[bytes, bool]) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(on_disk)
    device = os.open(disk, os.O_RDONLY)
    try:
        assert content_of(conflict(log), device) == expected
    finally:
        os.close(device)


SECTOR = 512
FIRST, SECOND, THIRD = (Write(4, 1, fill=fill).data(SECTOR) for fill in (1, 2, 3))


def changes_over(content: bytes, folder: Path, *items: Write) -> tuple[list[tuple[int, bytes]], bool]:
    """Return what a cut with these entries sends when sector 4 holds ``content``, and whether their order is known."""
    (folder / "log").write_bytes(encode([*items, END], SECTOR))
    (folder / "disk").write_bytes(bytes(4 * SECTOR) + content)
    changes = Changes()
    return list(changes.read([str(folder / "log")], folder / "disk")), changes.ordered


@pytest.mark.requirement("LAB-POINT-IN-TIME")
@pytest.mark.parametrize(
    ("content", "sent", "ordered"), [(FIRST, FIRST, True), (SECOND, SECOND, True), (THIRD, SECOND, False)]
)
def test_a_cut_with_a_guess_is_no_instant(content: bytes, sent: bytes, ordered: bool, tmp_path: Path) -> None:
    overtaken = (Write(4, 1, FUA, fill=1), Write(4, 1, fill=2))
    assert changes_over(content, tmp_path, *overtaken) == ([(4 * SECTOR, sent)], ordered)


@pytest.mark.requirement("LAB-POINT-IN-TIME")
def test_a_guess_among_many_writes_is_remembered(tmp_path: Path) -> None:
    writes = (Write(4, 1, FUA, fill=1), Write(4, 1, fill=2), Write(40, 8, fill=4))
    assert not changes_over(THIRD, tmp_path, *writes)[1]


def test_a_log_without_its_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(encode([Write(4, 1, fill=1)], SECTOR))
    (tmp_path / "disk").write_bytes(bytes(8 * SECTOR))
    with pytest.raises(BrokenLog):
        list(Changes().read([str(tmp_path / "log")], tmp_path / "disk"))


def test_writes_in_a_known_order_do_not_ask_the_disk(log: int) -> None:
    (part,) = survivors([Entry(0, BLOCK, 0, log, BLOCK), Entry(0, BLOCK, FUA, log, 0)])
    assert not part.rivals
    assert content_of(part, -1) == (FORCED, True)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), max_size=30))
def test_joined_parts_are_the_same_bytes_and_never_touch(gaps_and_lengths: list[tuple[int, int]]) -> None:
    parts, at = [], 0
    for gap, length in gaps_and_lengths:
        at += gap * 512
        parts.append((at, os.urandom(length * 512)))
        at += length * 512
    found = list(joined(parts))
    image = bytearray(at)
    for offset, data in found:
        image[offset : offset + len(data)] = data
    expected = bytearray(at)
    for offset, data in parts:
        expected[offset : offset + len(data)] = data
    assert image == expected
    assert all(one[0] + len(one[1]) < two[0] for one, two in itertools.pairwise(found))


def test_joined_parts_stay_below_a_frame() -> None:
    parts = [(at << 18, bytes(1 << 18)) for at in range(9)]
    assert [len(data) for _, data in joined(parts)] == [1 << 20, 1 << 20, 1 << 18]


def test_a_busy_journal_does_not_make_the_order_quadratic() -> None:
    """Doubling a log must not come near to making the work four times as much (counted in calls, not in seconds)."""

    def work(count: int) -> int:
        log = [Entry(at % 64 * BLOCK, BLOCK, FUA if at % 2 else 0, 0, at * BLOCK) for at in range(64)]
        log += [Entry((64 + at) * BLOCK, BLOCK, FUA if at % 3 else 0, 0, at * BLOCK) for at in range(count)]
        profile = cProfile.Profile()
        profile.runcall(survivors, log)
        return sum(entry.callcount for entry in profile.getstats())

    assert work(8000) < 3 * work(4000)
