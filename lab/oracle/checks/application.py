"""Application-consistent points (domain facts 4.6): everything accepted before the marker, and nothing after it. Pure.

The writer stands for an application with a memory buffer: it accepts operations before it writes them. A marker
flushes the buffer. A crash-consistent point must fail this very test, otherwise the test would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.oracle.checks.facts import LaneFacts
from lab.oracle.checks.frontier import Frontier
from lab.oracle.findings import Finding, Rule, at_lane
from lab.oracle.group import Group
from lab.oracle.history import Marker


@dataclass(frozen=True)
class ApplicationVerdict:
    """Whether a point holds what the application had promised, and whether the test could have failed."""

    findings: tuple[Finding, ...]
    discriminates: bool
    """The crash-consistent point before it lacked accepted operations."""

    @property
    def consistent(self) -> bool:
        """Whether the point is application-consistent and the test is not vacuous."""
        return not self.findings and self.discriminates


def markers_of(events: Iterable[object], marker: int) -> dict[int, Marker]:
    """Return the lanes' records of one marker from a history."""
    return {event.lane: event for event in events if isinstance(event, Marker) and event.marker == marker}


def lost_operations(frontiers: Mapping[int, Frontier], facts: Mapping[int, LaneFacts]) -> int:
    """Return how many operations were accepted before the point and are not in it."""
    return sum(max(0, facts[lane].accepted - frontier.seq) for lane, frontier in frontiers.items())


def check_application_point(
    frontiers: Mapping[int, Frontier], facts: Mapping[int, LaneFacts], markers: Mapping[int, Marker], group: Group
) -> list[Finding]:
    """Return what keeps a point from being the one of a marker: each lane must end with it, both writes of it."""
    findings = []
    for lane, frontier in frontiers.items():
        marker = markers.get(lane)
        text = None
        if marker is None:
            text = "the lane wrote no such marker"
        elif frontier.seq != marker.seq:
            text = f"ends at step {frontier.seq} instead of its marker {marker.seq}"
        elif not frontier.marker or not frontier.hot:
            text = f"step {frontier.seq} is not the whole marker"
        elif marker.ahead or facts[lane].accepted > frontier.seq:
            text = f"{max(marker.ahead, facts[lane].accepted - frontier.seq)} accepted operations are missing"
        if text:
            findings.append(at_lane(Rule.APPLICATION, group, lane, frontier.seq, text))
    return findings


def judge_application_point(
    point: tuple[Mapping[int, Frontier], Mapping[int, LaneFacts]],
    crash_before: tuple[Mapping[int, Frontier], Mapping[int, LaneFacts]],
    markers: Mapping[int, Marker],
    group: Group,
) -> ApplicationVerdict:
    """Judge a point together with the crash-consistent point just before it, the discriminator."""
    return ApplicationVerdict(
        tuple(check_application_point(*point, markers, group)), lost_operations(*crash_before) > 0
    )
