"""Epochs: what a lane wrote before and after a failover or failback (domain facts 4.7). Pure.

Epoch e of a lane goes on after step ``base``: records of older epochs with a higher number are zombies from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.oracle.findings import Finding, Rule, at_lane
from lab.oracle.group import Group
from lab.oracle.history import EpochStart


@dataclass(frozen=True)
class Epochs:
    """The step after which each epoch of each lane began: lane, then epoch, then base."""

    bases: Mapping[int, Mapping[int, int]]
    redone: frozenset[tuple[int, int]] = frozenset()
    """(lane, epoch) of the epochs that begin by writing HOT(base) again."""

    @classmethod
    def of_events(cls, events: Iterable[object]) -> Epochs:
        """Collect the epochs that a history tells of."""
        bases: dict[int, dict[int, int]] = {}
        redone = set()
        for event in events:
            if isinstance(event, EpochStart):
                bases.setdefault(event.lane, {})[event.epoch] = event.base
                if event.redo:
                    redone.add((event.lane, event.epoch))
        return cls(bases, frozenset(redone))

    def rewrites(self, lane: int, epoch: int, seq: int) -> bool:
        """Whether the epoch begins by writing HOT(seq) again."""
        return (lane, epoch) in self.redone and self.begins_at(lane, epoch) == seq

    def known(self, lane: int, epoch: int) -> bool:
        """Whether the lane began this epoch."""
        return epoch in self.bases.get(lane, {})

    def begins_at(self, lane: int, epoch: int) -> int:
        """Return the step after which the epoch went on, 0 when it is not known."""
        return self.bases.get(lane, {}).get(epoch, 0)

    def last_valid(self, lane: int, epoch: int, current: int) -> int | None:
        """Return the highest step of an epoch that survives until ``current``; None when there is no limit."""
        later = [base for other, base in self.bases.get(lane, {}).items() if epoch < other <= current]
        return min(later, default=None)

    def segments(self, lane: int, finished: int, current: int) -> list[tuple[int, int, int]]:
        """Return the epochs that the steps up to ``finished`` are of, newest first: (epoch, after, up to)."""
        found, last = [], finished
        bases = self.bases.get(lane) or {current: 0}
        for epoch in sorted((epoch for epoch in bases if epoch <= current), reverse=True):
            if bases[epoch] < last:
                found.append((epoch, bases[epoch], last))
                last = bases[epoch]
        return found

    def expected(self, lane: int, seq: int, current: int) -> int:
        """Return the epoch that a step's record must be of when the group is in epoch ``current``."""
        mine = [epoch for epoch, base in self.bases.get(lane, {}).items() if epoch <= current and base < seq]
        return max(mine, default=current)

    def fits(self, lane: int, seq: int, epoch: int, current: int) -> bool:
        """Whether a HOT record may have this epoch: a recovery writes the one of its base again."""
        return epoch <= current and (epoch == self.expected(lane, seq, current) or self.rewrites(lane, epoch, seq))


@dataclass(frozen=True)
class LanePast:
    """One lane's epochs up to the one that a copy is of (``current``)."""

    group: Group
    lane: int
    epochs: Epochs
    current: int

    def known(self, epoch: int) -> bool:
        """Whether a record of this epoch may be in the copy."""
        return epoch <= self.current and self.epochs.known(self.lane, epoch)

    def begins_at(self, epoch: int) -> int:
        """Return the step after which an epoch went on."""
        return self.epochs.begins_at(self.lane, epoch)

    def limit(self, epoch: int) -> int | None:
        """Return the highest step of an epoch that survived, None for no limit."""
        return self.epochs.last_valid(self.lane, epoch, self.current)

    def epoch_of(self, seq: int) -> int:
        """Return the epoch that a step's LOG record must be of."""
        return self.epochs.expected(self.lane, max(seq, 1), self.current)

    def hot_slot(self, seq: int) -> int:
        """Return the HOT slot that a step overwrites."""
        return self.group.hot_slot(self.lane, seq, self.epoch_of(seq))

    def hot_fits(self, seq: int, epoch: int) -> bool:
        """Whether a HOT record of a step may have this epoch."""
        return self.epochs.fits(self.lane, seq, epoch, self.current)

    def finding(self, rule: Rule, seq: int | None, text: str) -> Finding:
        """Return a finding about this lane."""
        return at_lane(rule, self.group, self.lane, seq, text)
