"""Says what a copy of the records proves. Pure: a scan, the witness, an instant in; findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.oracle.witness import Acknowledged

Scan = Sequence[Sequence[int]]
"""Runs [first sequence, step, count] over the slots, as ``records.scan`` returns them."""


@dataclass(frozen=True)
class Instant:
    """When a recovery point was made, by the writer's clock: all writes were held at some moment between the two."""

    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class Verdict:
    """What a copy shows. Sequence numbers; empty tuples and None are good."""

    newest: int
    """The copy holds the records up to this one."""
    damaged_slots: tuple[int, ...]
    """Blocks that hold no whole record of this run (the one being written at the instant is allowed for)."""
    holes: tuple[int, ...]
    """Records that are missing although later ones are there: the order of writes was not kept."""
    lost: tuple[int, ...]
    """Records acknowledged before the instant that are not there."""
    leaked: tuple[int, ...]
    """Records issued after the instant that are there."""

    @property
    def consistent(self) -> bool:
        """Whether the copy is what a power cut at the instant would have left."""
        return not (self.damaged_slots or self.holes or self.lost or self.leaked)


def sequences(scan: Scan) -> Iterator[int]:
    """Yield the sequence number of every slot in order (0: never written, -1: damaged)."""
    for first, step, count in scan:
        yield from (first + step * offset for offset in range(count))


def judge(scan: Scan, slots: int, witness: Sequence[Acknowledged], instant: Instant | None) -> Verdict:
    """Judge a copy. Without an instant only damage and order are judged.

    Cost: time O(slots + witness), memory O(slots).
    """
    found = list(sequences(scan))
    newest = max(found, default=0)
    damaged, holes = _order(found, slots, newest)
    lost: tuple[int, ...] = ()
    leaked: tuple[int, ...] = ()
    if instant is not None:
        lost = tuple(
            item.sequence for item in witness if item.acknowledged_ns < instant.begin_ns and item.sequence > newest
        )
        leaked = tuple(item.sequence for item in witness if item.issued_ns > instant.end_ns and item.sequence <= newest)
    return Verdict(newest, damaged, holes, lost, leaked)


def lost_after(witness: Sequence[Acknowledged], newest: int, failed_at_ns: int) -> tuple[int, float]:
    """Return how many acknowledged records a failover lost, and the RPO in seconds from the payload.

    The RPO is the time from the oldest lost acknowledgement to the failure (domain facts 4.6), 0 when none is lost.
    """
    missing = [item for item in witness if item.sequence > newest and item.acknowledged_ns <= failed_at_ns]
    if not missing:
        return 0, 0.0
    return len(missing), (failed_at_ns - min(item.acknowledged_ns for item in missing)) / 1e9


def _order(found: Sequence[int], slots: int, newest: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Compare every slot with what it must hold when the newest record is ``newest``."""
    damaged, holes = [], []
    for slot, sequence in enumerate(found):
        expected = _expected(slot, slots, newest)
        if sequence == -1 and slot != (newest + 1) % slots:
            damaged.append(slot)
        elif sequence not in {expected, -1}:
            holes.append(expected)
    return tuple(damaged), tuple(holes)


def _expected(slot: int, slots: int, newest: int) -> int:
    """Return the last sequence number up to ``newest`` that belongs in a slot, 0 for none (numbers begin at 1)."""
    sequence = newest - (newest - slot) % slots
    return max(sequence, 0)
