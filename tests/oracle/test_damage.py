"""Blocks of real volumes, spoiled one at a time: the scanner and the checker name what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.oracle.findings import Rule, Verdict
from lab.oracle.group import BLOCK, Group, Member, Pace
from lab.oracle.judge import StoredHistory, judge
from lab.oracle.local import LocalWriter
from lab.oracle.scan import ScanFailed, parse_scan, scan_file
from tests.oracle import blocks
from tests.oracle.conftest import RUN


@dataclass(frozen=True)
class Written:
    """A volume with an ended history; ``judge`` looks at changed bytes of it."""

    tool: Path
    group: Group
    original: Path
    history: StoredHistory
    newest: dict[int, int]
    scratch: Path

    @property
    def data(self) -> bytes:
        return self.original.read_bytes()

    def judge(self, data: bytes) -> Verdict:
        self.scratch.write_bytes(data)
        return judge(scan_file(self.tool, self.group, (0, 0), self.scratch), self.group, self.history)

    def with_block(self, block: int, content: bytes) -> bytes:
        return self.data[: block * BLOCK] + content + self.data[(block + 1) * BLOCK :]

    def block(self, block: int) -> bytes:
        return self.data[block * BLOCK : (block + 1) * BLOCK]


@pytest.fixture(scope="module")
def written(tool: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("written")
    group = Group(RUN, (Member("vm0", (str(folder / "records"),)),), 2, log_slots=32, hot_slots=8, seed=3)
    writer = LocalWriter(tool, group, 0, folder / "history")
    writer.start(Pace(rate=500))
    writer.wait_steps(50)
    writer.stop()
    newest = {lane: last.seq for lane, last in writer.witness.newest().items()}
    history = StoredHistory(group, {0: folder / "history"})
    return Written(tool, group, folder / "records", history, newest, folder / "copy")


def test_the_untouched_copy_is_sound(written: Written) -> None:
    verdict = written.judge(written.data)
    assert verdict.sound, verdict.findings
    assert dict(enumerate(verdict.frontier)) == written.newest


@settings(max_examples=60, deadline=None)
@given(where=st.integers(0, (1 << 30) - 1))
def test_any_flipped_bit_is_found(written: Written, where: int) -> None:
    data = bytearray(written.data)
    position = where % (len(data) * 8)
    data[position // 8] ^= 1 << position % 8
    verdict = written.judge(bytes(data))
    # Torn, the last write looks like one in flight a moment before it was acknowledged: lost, but consistent.
    if position // 8 // BLOCK not in may_be_in_flight(written):
        assert not verdict.sound, position


def may_be_in_flight(it: Written) -> set[int]:
    """Blocks of each lane's last write and of the one that would follow."""
    allowed = set()
    for lane in it.group.lanes:
        newest = it.newest[lane.index]
        allowed |= {
            it.group.log_block(lane, newest + 1),
            it.group.hot_block(lane, it.group.hot_slot(lane.index, newest, 1)),
        }
    return allowed


SPOILED: dict[str, tuple[Callable[[Written], bytes], Rule]] = {
    "zeroes": (lambda it: it.with_block(recent(it, 5), bytes(BLOCK)), Rule.DAMAGED),
    "garbage": (lambda it: it.with_block(recent(it, 5), b"x" * BLOCK), Rule.DAMAGED),
    "half a block": (
        lambda it: it.with_block(recent(it, 5), it.block(recent(it, 5))[:2048] + it.block(recent(it, 6))[2048:]),
        Rule.TORN,
    ),
    "another block's record": (lambda it: it.with_block(recent(it, 5), it.block(recent(it, 6))), Rule.MISDIRECTED),
    "a record of another run": (
        lambda it: it.with_block(recent(it, 5), forged(it, 5, run="ff" * 16)),
        Rule.FOREIGN,
    ),
    "a record of an unknown epoch": (lambda it: it.with_block(recent(it, 5), forged(it, 5, epoch=9)), Rule.FOREIGN),
    "a record of another past": (lambda it: it.with_block(recent(it, 5), forged(it, 5)), Rule.FORKED),
    "an old record": (lambda it: it.with_block(recent(it, 5), forged(it, 5 + 32)), Rule.ORDER),
    "a record too many": (lambda it: it.with_block(recent(it, -1), forged(it, -1)), Rule.INVENTED),
    "a changed canary": (lambda it: it.with_block(0, it.block(recent(it, 5))), Rule.CANARY),
    "a short file": (lambda it: it.data[: -20 * BLOCK], Rule.DAMAGED),
}


def recent(it: Written, back: int) -> int:
    """The block of the LOG record ``back`` steps before lane 0's last one."""
    return it.group.log_block(it.group.lanes[0], it.newest[0] - back)


def forged(it: Written, back: int, run: str = RUN, epoch: int = 1) -> bytes:
    """A record that is whole and in its place, but not the one that the writer put there."""
    seq = it.newest[0] - back
    return blocks.pack(run, (0, 0, 0), blocks.LOG, seq, recent(it, back), epoch=epoch)


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_has_a_name(written: Written, what: str) -> None:
    spoil, rule = SPOILED[what]
    assert rule in written.judge(spoil(written)).rules


def test_a_forged_record_is_taken_for_whole(written: Written) -> None:
    """Otherwise the forgeries above would be found for the wrong reason."""
    assert blocks.verify(forged(written, 5))
    assert not written.judge(written.with_block(recent(written, 5), forged(written, 5))).rules & {
        Rule.TORN,
        Rule.DAMAGED,
        Rule.MISDIRECTED,
    }


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["V 1 0 0 84"],
        ["V 1 1 0 84", "Z 84"],
        ["V 1 0 0 84", "L 0 1 0", "Z 84"],
        ["V 1 0 0 84", "? 1", "Z 84"],
        ["V 1 0 0 84", "H 7 0 1 1", "Z 84"],
        ["V 1 0 0 84", "", "Z 84"],
    ],
)
def test_half_a_scan_is_none(written: Written, lines: list[str]) -> None:
    assert written.group.volume_blocks == 83
    with pytest.raises(ScanFailed):
        parse_scan([line.replace("84", "83") for line in lines], written.group, 0, 0)


def test_a_missing_file_is_an_error(written: Written, tmp_path: Path) -> None:
    with pytest.raises(ScanFailed, match="No such file"):
        scan_file(written.tool, written.group, (0, 0), tmp_path / "nowhere")
