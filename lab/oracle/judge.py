"""Judges a copy of a group: all checks of domain facts 4.4 in one pass. Pure, but for what the testimony reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.oracle.checks.causal import check_causal
from lab.oracle.checks.damage import check_damage
from lab.oracle.checks.epochs import Epochs, LanePast
from lab.oracle.checks.facts import LaneFacts, gather_facts
from lab.oracle.checks.frontier import Frontier, current_epoch, find_frontier
from lab.oracle.checks.instants import Label, check_instant, check_label, find_windows
from lab.oracle.checks.loss import GroupLoss, measure_loss
from lab.oracle.checks.overwrites import check_overwrites
from lab.oracle.clocks import Clocks
from lab.oracle.findings import Finding, Rule, Verdict, at_lane
from lab.oracle.group import Group
from lab.oracle.history import Batch, Event, read_history
from lab.oracle.scan import Copy


class Testimony(Protocol):
    """What stands outside of the failure domain and knows what the writers did."""

    def epochs(self) -> Epochs:
        """Return when each lane began which epoch."""

    def clocks(self) -> Clocks:
        """Return how the machines' clocks compare."""

    def facts(
        self, frontiers: Mapping[int, Frontier], epoch: int, failed_at: Mapping[int, int] | None
    ) -> dict[int, LaneFacts]:
        """Return what happened around the frontiers of a copy; see ``facts.gather_facts``."""


@dataclass(frozen=True)
class StoredHistory:
    """The histories of a group's writers in files, by machine. Reads them again for each question: memory O(lanes)."""

    group: Group
    paths: Mapping[int, Path]

    def epochs(self) -> Epochs:
        """Return when each lane began which epoch. Raises HistoryDamaged."""
        return Epochs.of_events(self.events())

    def clocks(self) -> Clocks:
        """Return how the machines' clocks compare. Raises HistoryDamaged."""
        return Clocks.of_events(self.events())

    def facts(
        self, frontiers: Mapping[int, Frontier], epoch: int, failed_at: Mapping[int, int] | None
    ) -> dict[int, LaneFacts]:
        """Return what happened around the frontiers. Raises HistoryDamaged."""
        machines = {lane.index: lane.machine for lane in self.group.lanes}
        histories = {machine: read_history(path, machine) for machine, path in self.paths.items()}
        return gather_facts(histories, machines, frontiers, epoch, failed_at)

    def steps_beyond(self, epoch: int) -> dict[int, int]:
        """Return, by lane, how many steps earlier epochs had finished that ``epoch`` did not go on from.

        They are what a failback could bring back (domain facts 4.7). Raises HistoryDamaged.
        """
        epochs = self.epochs()
        beyond = {lane: 0 for lane in epochs.bases if epochs.known(lane, epoch)}
        for event in self.events():
            if isinstance(event, Batch) and event.epoch < epoch and event.lane in beyond:
                lost = event.last - epochs.begins_at(event.lane, epoch)
                beyond[event.lane] = max(beyond[event.lane], lost)
        return beyond

    def events(self) -> Iterator[Event]:
        """Yield everything, machine by machine."""
        for machine, path in self.paths.items():
            yield from read_history(path, machine)


@dataclass(frozen=True)
class Claim:
    """What the stack says about a copy, and what is known of its past."""

    label: Label | None = None
    previous: Sequence[int] | None = None
    """The frontier of an earlier recovery point: nothing of it may be missing (check E)."""
    epoch: int | None = None
    """The epoch that the copy must be of; None: the newest that it holds."""
    failed_at: Mapping[int, int] = field(default_factory=dict)
    """When machines (by index) died, by their writer's clock: nothing may have been issued later."""


def find_frontiers(copy: Copy, group: Group, epochs: Epochs, epoch: int) -> tuple[dict[int, Frontier], list[Finding]]:
    """Return how far each lane of the copy goes, and what breaks check A."""
    frontiers, findings = {}, []
    for lane, held in sorted(copy.lanes.items()):
        frontiers[lane], found = find_frontier(held, LanePast(group, lane, epochs, epoch))
        findings.extend(found)
    return frontiers, findings


def judge(copy: Copy, group: Group, testimony: Testimony, claim: Claim | None = None) -> Verdict:
    """Judge a copy of some or all of a group's volumes. No findings: a power cut at one moment leaves the same."""
    claim = claim or Claim()
    epochs = testimony.epochs()
    epoch = claim.epoch if claim.epoch is not None else current_epoch(copy.lanes, epochs)
    frontiers, findings = find_frontiers(copy, group, epochs, epoch)
    facts = testimony.facts(frontiers, epoch, claim.failed_at)
    findings += check_damage(copy.damage, frontiers, group, epoch)
    findings += _check_invented(frontiers, facts, group, claim)
    findings += check_causal(frontiers, group)
    for lane, frontier in frontiers.items():
        findings += check_overwrites(copy.lanes[lane], frontier, LanePast(group, lane, epochs, epoch))
    windows = find_windows(frontiers, facts, group)
    clocks = testimony.clocks()
    found, error = check_instant(windows, frontiers, clocks, group)
    findings += found
    findings += _check_backwards(frontiers, group, claim.previous)
    label_error = None
    if claim.label is not None:
        found, label_error = check_label(windows, clocks, claim.label, group)
        findings += found
    unwitnessed = sum(max(0, frontier.position - facts[lane].known_position) for lane, frontier in frontiers.items())
    cut = tuple(frontier.seq for frontier in frontiers.values())
    return Verdict(tuple(findings), epoch, cut, tuple(windows), error, label_error, unwitnessed, _checks(claim))


def loss_of(
    copy: Copy, group: Group, testimony: Testimony, failed_at: Mapping[int, int] | None = None, epoch: int | None = None
) -> GroupLoss:
    """Return what a copy lacks. ``epoch`` is the one that it must be of; None: the newest that it holds."""
    epochs = testimony.epochs()
    current = epoch if epoch is not None else current_epoch(copy.lanes, epochs)
    frontiers, _ = find_frontiers(copy, group, epochs, current)
    return measure_loss(testimony.facts(frontiers, current, failed_at), group, failed_at)


def _checks(claim: Claim) -> tuple[str, ...]:
    optional = [("E", claim.previous is not None), ("F", claim.label is not None)]
    return ("A", "B", "C", "D", *(name for name, done in optional if done))


def _check_invented(
    frontiers: Mapping[int, Frontier], facts: Mapping[int, LaneFacts], group: Group, claim: Claim
) -> list[Finding]:
    """Nothing beyond a complete history, nothing issued by a dead machine (check A)."""
    findings = []
    for lane, frontier in frontiers.items():
        fact, died = facts[lane], claim.failed_at.get(group.lanes[lane].machine)
        if fact.ended and frontier.position > fact.known_position:
            text = f"step {frontier.seq} is there, but the writer ended after write {fact.known_position} of the lane"
            findings.append(at_lane(Rule.INVENTED, group, lane, frontier.seq, text))
        elif died is not None and frontier.issued_ns is not None and frontier.issued_ns > died:
            text = f"step {frontier.seq} was issued {(frontier.issued_ns - died) / 1e6:.3f} ms after the machine died"
            findings.append(at_lane(Rule.INVENTED, group, lane, frontier.seq, text))
    return findings


def _check_backwards(frontiers: Mapping[int, Frontier], group: Group, previous: Sequence[int] | None) -> list[Finding]:
    findings = []
    for frontier, before in zip(frontiers.values(), previous or (), strict=False):
        if frontier.seq < before:
            text = f"ends at step {frontier.seq}, an earlier point went to {before}"
            findings.append(at_lane(Rule.BACKWARDS, group, frontier.lane, before, text))
    return findings
