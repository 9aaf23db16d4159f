"""What a failover lost, from the payload and the witness, never from the product's own number (domain facts 4.6). Pure.

``RPO = F - min(acknowledgement of a lost write)``, 0 when nothing is lost; ``staleness = F - max(acknowledgement of a
write that is there)``. F is the last moment at which the source could acknowledge. All in nanoseconds of the
machine's writer clock; differences of one machine's times only, so clocks need not be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.oracle.checks.facts import LaneFacts
from lab.oracle.group import BLOCK, Group


@dataclass(frozen=True)
class Loss:
    """What is missing of one lane, or of a group."""

    lost_writes: int
    lost_bytes: int
    rpo_ns: int
    staleness_ns: int | None
    """None: nothing that is there was acknowledged, as far as the witness knows."""


@dataclass(frozen=True)
class GroupLoss:
    """What is missing by lane, and of the group: sums, and the worst times."""

    lanes: Mapping[int, Loss]
    group: Loss


def measure_loss(facts: Mapping[int, LaneFacts], group: Group, failed_at: Mapping[int, int] | None = None) -> GroupLoss:
    """Return what a copy lacks of what was acknowledged until the failure.

    ``failed_at`` is F by machine; without it F is the newest acknowledgement that the witness heard of on the machine.
    ``facts`` must have been gathered with the same ``failed_at``.
    """
    moments = dict(failed_at or {})
    for machine in {group.lanes[lane].machine for lane in facts}:
        known = [fact.last_acked for lane, fact in facts.items() if group.lanes[lane].machine == machine]
        moments.setdefault(machine, max((acked for acked in known if acked is not None), default=0))
    lanes = {lane: _lane_loss(fact, moments[group.lanes[lane].machine]) for lane, fact in facts.items()}
    stale = [loss.staleness_ns for loss in lanes.values() if loss.staleness_ns is not None]
    total = Loss(
        sum(loss.lost_writes for loss in lanes.values()),
        sum(loss.lost_bytes for loss in lanes.values()),
        max((loss.rpo_ns for loss in lanes.values()), default=0),
        min(stale, default=None),
    )
    return GroupLoss(lanes, total)


def _lane_loss(fact: LaneFacts, failed_ns: int) -> Loss:
    lost = fact.lost_writes
    rpo = failed_ns - fact.next_acked if lost and fact.next_acked is not None else 0
    staleness = failed_ns - fact.present_acked if fact.present_acked is not None else None
    return Loss(lost, lost * BLOCK, rpo, staleness)
