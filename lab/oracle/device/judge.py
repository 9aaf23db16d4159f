"""Judges copies of a machine's whole devices: did one instant exist at which every block of them held this? Pure.

Each block forbids the times at which it is known to have held something else. An instant that no block forbids is
one at which the copy may have been taken. The times are swept once: O(W log W) for W written blocks, so there is no
search for the instant. Devices of one machine share a clock and are judged together, in their order across disks.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.oracle.device.digests import DeviceDigests
from lab.oracle.device.timeline import Bracket, Span, timeline
from lab.oracle.device.trace import BlockWrite


class Fault(StrEnum):
    """What is wrong with a block of a copy; the value is how reports name it."""

    FOREIGN = "foreign"
    """It holds what it never held."""
    STALE = "stale"
    """It holds what it held earlier than the instant that fits most blocks."""
    LATE = "late"
    """It holds what it held later than that."""


class EvidenceBroken(ValueError):
    """A device changed where no write is known of, or was replaced: the evidence says nothing about a copy."""


@dataclass(frozen=True)
class DeviceEvidence:
    """One device: read at both ends of its bracket, its writes in between, and the copy that is judged."""

    bracket: Bracket
    before: DeviceDigests
    after: DeviceDigests
    writes: Sequence[BlockWrite]
    copy: DeviceDigests


@dataclass(frozen=True)
class BlockFinding:
    """One block that does not fit."""

    device: str
    block: int
    fault: Fault


@dataclass(frozen=True)
class DeviceVerdict:
    """What the copies show. Instants are spans (begin, end) in ns of the monotonic clock; all blocks fit in each."""

    findings: tuple[BlockFinding, ...]
    instants: tuple[tuple[int, int], ...]
    blocks: int
    written: int
    """Blocks that were written inside the brackets; the others have to be as they were."""
    untold: int
    """Of them, those whose content is none that is known, and which cannot be judged for that."""

    @property
    def sound(self) -> bool:
        """Whether every block fits one and the same instant."""
        return not self.findings

    def distance_ns(self, begin_ns: int, end_ns: int) -> int:
        """Return how far a claimed time is from the nearest instant, 0 inside. Raises ValueError without an instant."""
        return min(max(begin - end_ns, begin_ns - end, 0) for begin, end in self.instants)


@dataclass(frozen=True)
class _Block:
    device: str
    number: int
    held: bytes
    spans: Sequence[Span]

    @property
    def known(self) -> bool:
        return any(span.digest == self.held for span in self.spans)

    def forbidden(self) -> Iterator[Span]:
        return (span for span in self.spans if span.digest is not None and span.digest != self.held)


def judge_devices(evidence: Mapping[str, DeviceEvidence]) -> DeviceVerdict:
    """Judge the copies of one machine's devices by name. Raises EvidenceBroken."""
    blocks: list[_Block] = []
    alone: list[BlockFinding] = []
    for name, device in evidence.items():
        by_block = _writes_by_block(device)
        alone += _changed_unwritten(name, device, by_block)
        blocks += _written(name, device, by_block)
    whole = Bracket(
        max(device.bracket.begin_ns for device in evidence.values()),
        min(device.bracket.end_ns for device in evidence.values()),
    )
    if whole.begin_ns >= whole.end_ns:
        raise EvidenceBroken("the brackets of the devices have no time in common")
    fewest, instants = _sweep(blocks, whole)
    misfits = list(_misfits(blocks, instants[0][0])) if fewest else []
    return DeviceVerdict(
        findings=tuple(sorted([*alone, *misfits], key=lambda found: (found.device, found.block))),
        instants=() if fewest else tuple(instants),
        blocks=sum(len(device.copy) for device in evidence.values()),
        written=len(blocks),
        untold=sum(not block.known for block in blocks) - sum(found.fault is Fault.FOREIGN for found in misfits),
    )


def _writes_by_block(device: DeviceEvidence) -> dict[int, list[BlockWrite]]:
    """Return the writes that were under way inside the bracket, by block."""
    by_block: dict[int, list[BlockWrite]] = defaultdict(list)
    for write in device.writes:
        ended = write.acked_ns is not None and write.acked_ns <= device.bracket.begin_ns
        if ended or write.issued_ns >= device.bracket.end_ns:
            continue
        for number in range(write.first, min(write.last + 1, len(device.copy))):
            by_block[number].append(write)
    return by_block


def _written(name: str, device: DeviceEvidence, by_block: Mapping[int, Sequence[BlockWrite]]) -> Iterator[_Block]:
    for number, writes in by_block.items():
        spans = timeline(writes, device.before[number], device.after[number], device.bracket)
        yield _Block(name, number, device.copy[number], spans)


def _changed_unwritten(
    name: str, device: DeviceEvidence, by_block: Mapping[int, Sequence[BlockWrite]]
) -> Iterator[BlockFinding]:
    if not len(device.before) == len(device.after) == len(device.copy):
        raise EvidenceBroken(f"{name} has {len(device.before)} blocks, its copy {len(device.copy)}")
    changed = next((block for block in device.before.differing(device.after) if block not in by_block), None)
    if changed is not None:
        raise EvidenceBroken(f"block {changed} of {name} changed although no write to it is known")
    for block in device.before.differing(device.copy):
        if block not in by_block:
            yield BlockFinding(name, block, Fault.FOREIGN)


def _sweep(blocks: Sequence[_Block], whole: Bracket) -> tuple[int, list[tuple[int, int]]]:
    """Return by how few blocks a time is forbidden at best, and the spans of time where it is that few."""
    changes: dict[int, int] = defaultdict(int, {whole.begin_ns: 0, whole.end_ns: 0})
    for block in blocks:
        for span in block.forbidden():
            begin, end = max(span.begin_ns, whole.begin_ns), min(span.end_ns, whole.end_ns)
            if begin < end:
                changes[begin] += 1
                changes[end] -= 1
    times, count, counted = sorted(changes), 0, []
    for begin, end in itertools.pairwise(times):
        count += changes[begin]
        counted.append((count, begin, end))
    fewest = min(count for count, _, _ in counted)
    return fewest, _joined([(begin, end) for count, begin, end in counted if count == fewest])


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _misfits(blocks: Sequence[_Block], at_ns: int) -> Iterator[BlockFinding]:
    """Yield the blocks that forbid a moment."""
    for block in blocks:
        if any(span.begin_ns <= at_ns < span.end_ns for span in block.forbidden()):
            yield BlockFinding(block.device, block.number, _fault(block, at_ns))


def _fault(block: _Block, at_ns: int) -> Fault:
    if not block.known:
        return Fault.FOREIGN
    earlier = any(span.digest == block.held and span.end_ns <= at_ns for span in block.spans)
    return Fault.STALE if earlier else Fault.LATE
