"""What the witness knows about each lane around the frontier of a copy: all that the checks need of a history. Pure.

Writes of a lane are numbered by position: LOG(k) is 2k - 1, HOT(k) is 2k. One pass, memory O(lanes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.oracle.checks.frontier import Frontier
from lab.oracle.history import Batch, Ended, EpochStart, Event, Opened, Redo, Step


@dataclass
class LaneFacts:
    """Times in ns by the machine's writer clock; None: the witness does not know."""

    lane: int
    position: int
    """Writes of the lane that the copy holds."""
    present_acked: int | None = None
    """When the last of them was acknowledged."""
    next_acked: int | None = None
    """When the first one that the copy does not hold was acknowledged."""
    known_position: int = 0
    """The last write that the witness heard of."""
    acked_position: int = 0
    """The last write that was acknowledged when the source failed (or at all)."""
    last_acked: int | None = None
    """When that was."""
    accepted: int = 0
    """Operations accepted when the frontier's LOG record was issued."""
    ended: bool = False
    """Whether the writer ended by itself, so that the history is complete."""

    @property
    def lost_writes(self) -> int:
        """Acknowledged writes that the copy does not hold."""
        return max(0, self.acked_position - self.position)


def gather_facts(
    histories: Mapping[int, Iterable[Event]],
    lanes: Mapping[int, int],
    frontiers: Mapping[int, Frontier],
    epoch: int,
    failed_at: Mapping[int, int] | None = None,
) -> dict[int, LaneFacts]:
    """Read histories (by machine) once.

    ``lanes`` tells the machine of each lane, ``epoch`` is the copy's, ``failed_at`` the last moment at which each
    machine could acknowledge (ns by its writer's clock): what was acknowledged later does not count as lost.
    """
    facts = {lane: LaneFacts(lane, frontier.position) for lane, frontier in frontiers.items()}
    for machine, events in histories.items():
        mine = {lane: fact for lane, fact in facts.items() if lanes[lane] == machine}
        limit = (failed_at or {}).get(machine)
        covers = True
        for event in events:
            if isinstance(event, Opened):
                covers = event.epoch <= epoch
            if isinstance(event, Opened | Ended) and covers:
                for fact in mine.values():
                    fact.ended = isinstance(event, Ended)
            elif isinstance(event, Batch | Redo | EpochStart) and event.lane in mine:
                _take(mine[event.lane], event, frontiers[event.lane], epoch, limit)
    return facts


def _take(fact: LaneFacts, event: Batch | Redo | EpochStart, frontier: Frontier, epoch: int, limit: int | None) -> None:
    if isinstance(event, Batch):
        _take_batch(fact, event, frontier, epoch, limit)
    elif event.epoch == epoch and isinstance(event, Redo):
        _take_write(fact, 2 * event.seq, event.acked, limit)
    elif event.epoch == epoch and isinstance(event, EpochStart):
        fact.known_position = max(fact.known_position, 2 * event.base)


def _take_batch(fact: LaneFacts, batch: Batch, frontier: Frontier, epoch: int, limit: int | None) -> None:
    """Take in a batch; it is only taken apart when the frontier or the failure falls into it."""
    first, last = 2 * batch.first - 1, 2 * batch.last
    near = first <= fact.position + 1 and last >= fact.position
    if (near and batch.epoch in {frontier.epoch, epoch}) or (
        batch.epoch == epoch and limit is not None and batch.issued <= limit < batch.acked
    ):
        for step in batch.steps():
            take_step(fact, step, frontier, epoch, limit)
    elif batch.epoch == epoch:
        fact.known_position = max(fact.known_position, last)
        if limit is None or batch.acked <= limit:
            _advance(fact, last, batch.acked)


def take_step(fact: LaneFacts, step: Step, frontier: Frontier, epoch: int, limit: int | None) -> None:
    """Take in one step of the frontier's or the copy's epoch."""
    if step.seq == frontier.seq and step.epoch == frontier.epoch:
        fact.accepted = step.seq + step.ahead
        if fact.position in {2 * step.seq - 1, 2 * step.seq}:
            fact.present_acked = step.log_acked if fact.position % 2 else step.hot_acked
    if step.epoch == epoch:
        _take_write(fact, 2 * step.seq - 1, step.log_acked, limit)
        _take_write(fact, 2 * step.seq, step.hot_acked, limit)


def _take_write(fact: LaneFacts, position: int, acked: int, limit: int | None) -> None:
    fact.known_position = max(fact.known_position, position)
    if position == fact.position:
        fact.present_acked = acked
    if position == fact.position + 1:
        fact.next_acked = acked
    if limit is None or acked <= limit:
        _advance(fact, position, acked)


def _advance(fact: LaneFacts, position: int, acked: int) -> None:
    if position >= fact.acked_position:
        fact.acked_position, fact.last_acked = position, acked
