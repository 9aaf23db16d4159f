"""Whole devices: the sweep against a model that tries every moment, the kernel's trace, and the native digests."""

from __future__ import annotations

import hashlib
import random
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.oracle.device.digests import WIDTH, DeviceDigests, DigestsDamaged, parse_digests
from lab.oracle.device.judge import DeviceEvidence, EvidenceBroken, Fault, judge_devices
from lab.oracle.device.timeline import Bracket
from lab.oracle.device.trace import BlockWrite, TraceNotWhole, read_trace

BLOCKS, END = 6, 40
WHOLE = Bracket(0, END)


def content(number: int) -> bytes:
    return number.to_bytes(WIDTH, "little")


def packed(contents: list[int]) -> DeviceDigests:
    return DeviceDigests(b"".join(content(number) for number in contents))


@dataclass
class Device:
    """A device that is simulated: contents are numbers, each write has one of its own."""

    writes: list[BlockWrite]
    before: list[int] = field(default_factory=lambda: [0] * BLOCKS)

    def content_at(self, block: int, at: int) -> int:
        """Return what a block holds; a write that is under way has not landed."""
        done = [
            (write.acked_ns, 1 + number)
            for number, write in enumerate(self.writes)
            if write.first <= block <= write.last and (write.acked_ns or END) <= at
        ]
        return max(done)[1] if done else self.before[block]

    def copy_at(self, at: int, luck: random.Random) -> list[int]:
        """Return a copy that was taken at a moment: whatever is under way has landed or not, or is torn."""
        return [
            luck.choice([self.content_at(block, at), self.content_at(block, END), 999])
            if self.under_way(block, at)
            else self.content_at(block, at)
            for block in range(BLOCKS)
        ]

    def under_way(self, block: int, at: int) -> bool:
        return any(
            write.first <= block <= write.last and write.issued_ns <= at < (write.acked_ns or END)
            for write in self.writes
        )

    def evidence(self, copy: list[int]) -> DeviceEvidence:
        after = [self.content_at(block, END) for block in range(BLOCKS)]
        return DeviceEvidence(WHOLE, packed(self.before), packed(after), self.writes, packed(copy))

    def allows(self, copy: list[int], at: int) -> bool:
        """Whether a copy may be of this moment, for all that is known: block by block, from the definition."""
        for block in range(BLOCKS):
            mine = [write for write in self.writes if write.first <= block <= write.last]
            done = [write for write in mine if (write.acked_ns or END) <= at]
            if self.under_way(block, at) or 0 < len(done) < len(mine):
                continue
            if copy[block] != (self.content_at(block, END) if done else self.before[block]):
                return False
        return True


@st.composite
def devices(draw: st.DrawFn) -> Device:
    writes = []
    for _ in range(draw(st.integers(0, 12))):
        first = draw(st.integers(0, BLOCKS - 1))
        issued = draw(st.integers(0, END - 2))
        acked = draw(st.integers(issued + 1, END - 1))
        writes.append(BlockWrite(first, min(first + draw(st.integers(0, 2)), BLOCKS - 1), issued, acked))
    return Device(writes)


@given(device=devices(), at=st.integers(0, END - 1), seed=st.integers(0, 2**32))
def test_a_copy_of_one_moment_is_never_refused(device: Device, at: int, seed: int) -> None:
    verdict = judge_devices({"data": device.evidence(device.copy_at(at, random.Random(seed)))})
    assert verdict.sound
    assert verdict.distance_ns(at, at) == 0


@given(device=devices(), copy=st.lists(st.integers(0, 12), min_size=BLOCKS, max_size=BLOCKS))
def test_the_sweep_finds_exactly_the_moments_that_the_definition_allows(device: Device, copy: list[int]) -> None:
    verdict = judge_devices({"data": device.evidence(copy)})
    allowed = {at for at in range(END) if device.allows(copy, at)}
    if verdict.sound:
        assert {at for begin, end in verdict.instants for at in range(begin, end)} == allowed
    else:
        assert not allowed
        assert all(0 <= found.block < BLOCKS for found in verdict.findings)


@given(first=devices(), second=devices(), moments=st.tuples(st.integers(0, END - 1), st.integers(0, END - 1)))
def test_disks_of_two_moments_are_found_when_the_definition_says_so(
    first: Device, second: Device, moments: tuple[int, int]
) -> None:
    copies = [device.copy_at(at, random.Random(1)) for device, at in zip((first, second), moments, strict=True)]
    verdict = judge_devices({"system": first.evidence(copies[0]), "data": second.evidence(copies[1])})
    together = any(first.allows(copies[0], at) and second.allows(copies[1], at) for at in range(END))
    assert verdict.sound == together


def test_faults_have_names() -> None:
    device = Device([BlockWrite(block, block, 5 + 5 * block, 6 + 5 * block) for block in range(BLOCKS)])
    sound = device.copy_at(END - 1, random.Random(1))
    for copy, block, fault in (
        ([0, *sound[1:]], 0, Fault.STALE),
        ([*sound[:2], 777, *sound[3:]], 2, Fault.FOREIGN),
        ([0, 0, 0, 0, 0, sound[5]], 5, Fault.LATE),
    ):
        found = judge_devices({"data": device.evidence(copy)}).findings
        assert [(each.block, each.fault) for each in found] == [(block, fault)]


def test_a_block_that_nobody_wrote_has_to_be_as_it_was() -> None:
    device = Device([BlockWrite(0, 0, 5, 6)])
    found = judge_devices({"data": device.evidence([0, 0, 0, 4, 0, 0])}).findings
    assert [(each.block, each.fault) for each in found] == [(3, Fault.FOREIGN)]


def test_a_change_without_a_write_breaks_the_evidence() -> None:
    evidence = Device([]).evidence([0] * BLOCKS)
    for outside in ([], [BlockWrite(1, 1, -9, 0)], [BlockWrite(1, 1, END, None)]):
        changed = replace(evidence, after=evidence.after.replaced(1, content(5)), writes=outside)
        with pytest.raises(EvidenceBroken, match="block 1 of data"):
            judge_devices({"data": changed})


def test_a_copy_of_another_size_breaks_the_evidence() -> None:
    evidence = Device([]).evidence([0] * BLOCKS)
    with pytest.raises(EvidenceBroken, match="6 blocks, its copy 5"):
        judge_devices({"data": replace(evidence, copy=packed([0] * (BLOCKS - 1)))})


def test_what_cannot_be_told_is_counted() -> None:
    twice = Device([BlockWrite(0, 0, 5, 6), BlockWrite(0, 0, 20, 21)])
    verdict = judge_devices({"data": twice.evidence([1, 0, 0, 0, 0, 0])})
    assert verdict.sound
    assert (verdict.written, verdict.untold) == (1, 1)


HEADER = "# entries-in-buffer/entries-written: 4/{}   #P:1\n"
TRACE = """\
 kworker/0:1H-61      [000] .....   100.000010: block_rq_issue: 254,16 WS 4096 () 16 + 8 [kworker/0:1H]
          <idle>-0       [000] ..s1.   100.000900: block_rq_complete: 254,16 WS () 16 + 8 [0]
            fio-9       [000] .....   100.001000: block_rq_issue: 254,16 R 4096 () 800 + 8 [fio]
          <idle>-0       [000] ..s1.   100.001100: block_rq_complete: 254,16 FF () 0 + 0 [0]
          <idle>-0       [000] ..s1.   100.002000: block_rq_complete: 254,0 WFS () 15 + 2 [0]
            fio-9       [000] .....   100.003000: block_rq_issue: 254,0 D 8192 () 160 + 16 [fio]
"""


def test_the_trace_tells_who_wrote_where_and_when() -> None:
    writes = read_trace((HEADER.format(4) + TRACE).splitlines(), 7)
    assert writes["254,16"] == [BlockWrite(2, 2, 100_000_009_000, 100_000_901_000)]
    assert writes["254,0"] == [BlockWrite(1, 2, 7, 100_002_001_000), BlockWrite(20, 21, 100_002_999_000, None)]


@pytest.mark.parametrize("header", ["", HEADER.format(5)])
def test_a_trace_that_lost_events_is_refused(header: str) -> None:
    with pytest.raises(TraceNotWhole):
        read_trace((header + TRACE).splitlines(), 7)


def test_native_digests_are_those_of_the_standard_library(tool: Path, tmp_path: Path) -> None:
    blocks = [bytes(4096)] * 300 + [random.Random(n).randbytes(4096) for n in range(3)] + [bytes(4096)] * 2
    image = tmp_path / "image"
    image.write_bytes(b"".join(blocks) + b"end")
    printed = subprocess.run([tool, "digest", image], capture_output=True, text=True, check=True, timeout=60).stdout
    assert len(printed.splitlines()) == 2 + 6, "runs are put together"
    digests = parse_digests(printed.splitlines())
    expected = [hashlib.blake2b(block.ljust(4096, b"\0"), digest_size=WIDTH).digest() for block in [*blocks, b"end"]]
    assert [digests[number] for number in range(len(digests))] == expected


def test_digests_of_nothing_readable_are_an_error(tool: Path, tmp_path: Path) -> None:
    done = subprocess.run([tool, "digest", tmp_path / "none"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "No such file" in done.stderr


@pytest.mark.parametrize(
    "lines",
    [[], ["V 1 2", f"1 {'00' * WIDTH}", "Z 2"], ["V 1 1", f"1 {'00' * WIDTH}"], ["V 1 1", "1 00", "Z 1"], ["x"]],
)
def test_digests_that_are_not_whole_are_refused(lines: list[str]) -> None:
    with pytest.raises(DigestsDamaged):
        parse_digests(lines)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_differing_blocks_are_those_that_differ(contents: list[int], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.integers(0, 3), min_size=len(contents), max_size=len(contents)))
    expected = [block for block, (mine, theirs) in enumerate(zip(contents, other, strict=True)) if mine != theirs]
    assert list(packed(contents).differing(packed(other))) == expected
