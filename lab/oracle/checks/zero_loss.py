"""The proof that a planned failover or failback lost nothing: five parts, all of them (domain facts 4.6). Pure.

The evidence is collected by whoever runs the failover; this file only decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.oracle.checks.facts import LaneFacts
from lab.oracle.checks.frontier import Frontier


@dataclass(frozen=True)
class DiskRoots:
    """Digests of one disk: the source's after the shutdown, the replica's before its first boot."""

    disk: str
    source: str
    replica: str
    differing_blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class ActiveSample:
    """Which sides were active when somebody looked; at_ns by the observer's clock."""

    at_ns: int
    source: bool
    replica: bool


@dataclass(frozen=True)
class Evidence:
    """What was observed. Times in ns by one clock (the observer's), but for ``last_ack_ns`` and ``stopped_ns``."""

    stopped_ns: Mapping[int, int]
    """By machine, its writer's clock: when the first write was refused or the power went off; missing: not observed."""
    last_ack_ns: Mapping[int, int]
    """By machine, its writer's clock: the last acknowledgement that the witness has."""
    stopped_at_ns: int
    delta_ended_ns: int
    replica_started_ns: int
    disks: Sequence[DiskRoots]
    old_side_refused: bool | None
    """Whether a write to the old side after the failover was refused; None: nobody tried."""
    samples: Sequence[ActiveSample]
    excluded_disks: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Part:
    """One part of the proof: its name, whether it holds, and why not."""

    name: str
    holds: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ZeroLossProof:
    """The five parts."""

    parts: tuple[Part, ...]

    @property
    def holds(self) -> bool:
        """Whether all five hold."""
        return all(part.holds for part in self.parts)


def prove_zero_loss(
    frontiers: Mapping[int, Frontier], facts: Mapping[int, LaneFacts], evidence: Evidence
) -> ZeroLossProof:
    """Judge the evidence. What was not observed is not proven: an empty observation fails its part."""
    reasons = {
        "the stop is real": _stop(evidence),
        "every acknowledged write is there": _complete(frontiers, facts),
        "the disks are equal": _equal(evidence),
        "stop, last delta, start came in this order": _order(evidence),
        "the sides were never active together": _split_brain(evidence),
    }
    return ZeroLossProof(tuple(Part(name, not found, tuple(found)) for name, found in reasons.items()))


def _stop(evidence: Evidence) -> list[str]:
    machines = evidence.last_ack_ns.keys() | evidence.stopped_ns.keys()
    if not machines:
        return ["no machine was observed"]
    reasons = []
    for machine in sorted(machines):
        stopped, acked = evidence.stopped_ns.get(machine), evidence.last_ack_ns.get(machine)
        if stopped is None:
            reasons.append(f"nobody saw machine {machine} stop")
        elif acked is None:
            reasons.append(f"nobody saw machine {machine} write")
        elif acked > stopped:
            reasons.append(f"machine {machine} acknowledged a write {acked - stopped} ns after it had stopped")
    return reasons


def _complete(frontiers: Mapping[int, Frontier], facts: Mapping[int, LaneFacts]) -> list[str]:
    reasons = [] if frontiers else ["no lane was read"]
    for lane, frontier in frontiers.items():
        fact = facts[lane]
        if fact.lost_writes:
            reasons.append(f"lane {lane} ends at step {frontier.seq}, {fact.lost_writes} acknowledged writes are lost")
        # One more may be there: issued, never acknowledged, and so unknown to the witness.
        if frontier.position > fact.known_position + 1:
            reasons.append(f"lane {lane} ends at step {frontier.seq}, which the witness never heard of")
    return reasons


def _equal(evidence: Evidence) -> list[str]:
    judged = [disk for disk in evidence.disks if disk.disk not in evidence.excluded_disks]
    differing = [
        f"disk {disk.disk} differs"
        + (f" at blocks {list(disk.differing_blocks[:10])}" if disk.differing_blocks else "")
        for disk in judged
        if disk.source != disk.replica or not disk.source
    ]
    return differing if judged else ["no disk was compared"]


def _order(evidence: Evidence) -> list[str]:
    reasons = []
    if not evidence.stopped_at_ns < evidence.delta_ended_ns:
        reasons.append("the last delta ended before the source had stopped")
    if not evidence.delta_ended_ns < evidence.replica_started_ns:
        reasons.append("the replica started before the last delta had ended")
    return reasons


def _split_brain(evidence: Evidence) -> list[str]:
    reasons = []
    if evidence.old_side_refused is None:
        reasons.append("nobody tried to write to the old side")
    elif not evidence.old_side_refused:
        reasons.append("the old side took a write after the failover")
    if not evidence.samples:
        reasons.append("nobody looked which side was active")
    reasons += [
        f"both sides were active at {sample.at_ns}" for sample in evidence.samples if sample.source and sample.replica
    ]
    return reasons
