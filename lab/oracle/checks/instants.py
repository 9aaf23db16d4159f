"""Check D, level L2, and check F: one moment for the whole group, and the moment that the label claims. Pure.

Each machine may have been cut between the issue of its newest present write and the acknowledgement of its oldest
absent one. One moment exists if no machine's earliest moment is after another one's latest; their clocks are compared
with an error that is given away, so it costs resolution and never causes a false alarm (domain facts 4.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.oracle.checks.facts import LaneFacts
from lab.oracle.checks.frontier import Frontier
from lab.oracle.clocks import Clocks
from lab.oracle.findings import Finding, Rule, Window
from lab.oracle.group import Group


@dataclass(frozen=True)
class Label:
    """What a recovery point claims: made between two moments by the wall clock of a machine (index), in ns."""

    machine: int
    begin_ns: int
    end_ns: int
    tolerance_ns: int = 0
    """How far the policy lets it be wrong."""


def find_windows(frontiers: Mapping[int, Frontier], facts: Mapping[int, LaneFacts], group: Group) -> list[Window]:
    """Return when each machine of the copy may have been cut."""
    windows = []
    for machine in sorted({group.lanes[lane].machine for lane in frontiers}):
        lanes = [lane for lane in frontiers if group.lanes[lane].machine == machine]
        begins = [(frontiers[lane].issued_ns or 0, lane) for lane in lanes if frontiers[lane].issued_ns is not None]
        ends = [(acked, lane) for lane in lanes if (acked := facts[lane].next_acked) is not None]
        begin_ns, begin_lane = max(begins, default=(None, None))
        end_ns, end_lane = min(ends, default=(None, None))
        windows.append(Window(machine, begin_ns, begin_lane, end_ns, end_lane))
    return windows


def check_instant(
    windows: Sequence[Window], frontiers: Mapping[int, Frontier], clocks: Clocks, group: Group
) -> tuple[list[Finding], int]:
    """Return the pairs of machines that cannot have been cut at one moment, and the largest clock error used (ns)."""
    findings, largest = [], 0
    for late in windows:
        for early in windows:
            if late.begin_ns is None or early.end_ns is None:
                continue
            offset = clocks.between(late.machine, early.machine, late.begin_ns)
            if offset is None:
                findings.append(_uncompared(late, early, group))
                continue
            largest = max(largest, offset.error_ns)
            skew = late.begin_ns + offset.ns - early.end_ns - offset.error_ns
            if skew > 0:
                findings.append(_skewed(late, early, frontiers, skew, group))
    return findings, largest


def _skewed(late: Window, early: Window, frontiers: Mapping[int, Frontier], skew: int, group: Group) -> Finding:
    assert late.begin_lane is not None  # noqa: S101 - both belong to a bound
    assert early.end_lane is not None  # noqa: S101 - both belong to a bound
    place, other = group.lanes[late.begin_lane], group.lanes[early.end_lane]
    text = (
        f"a write was issued on {group.members[place.machine].name} {skew / 1e6:.3f} ms or more after "
        f"{group.members[other.machine].name} had an acknowledgement for one that is missing"
    )
    seq, missing = frontiers[place.index].seq, frontiers[other.index].position // 2 + 1
    name = group.members[place.machine].name
    return Finding(Rule.INSTANT, text, name, place.volume, place.index, seq, other.index, missing, skew)


def _uncompared(late: Window, early: Window, group: Group) -> Finding:
    names = group.members[late.machine].name, group.members[early.machine].name
    return Finding(Rule.UNCOMPARED, f"the writers of {names[0]} and {names[1]} never exchanged times", names[0])


def check_label(windows: Sequence[Window], clocks: Clocks, label: Label, group: Group) -> tuple[list[Finding], int]:
    """Return findings above the label's tolerance, and the largest distance between claim and windows (ns)."""
    findings, worst = [], 0
    begin, end = (clocks.from_wall(label.machine, wall) for wall in (label.begin_ns, label.end_ns))
    for window in windows:
        offset = clocks.between(label.machine, window.machine, begin)
        name = group.members[window.machine].name
        if offset is None:
            findings.append(Finding(Rule.UNCOMPARED, f"the label's clock cannot be compared with {name}'s", name))
            continue
        early = 0 if window.begin_ns is None else window.begin_ns - (end + offset.ns)
        late = 0 if window.end_ns is None else begin + offset.ns - window.end_ns
        distance = max(early, late) - offset.error_ns
        worst = max(worst, distance)
        if distance > label.tolerance_ns:
            lane, what = (
                (window.begin_lane, "holds a write from") if early > late else (window.end_lane, "lacks one from")
            )
            text = f"{name} {what} {distance / 1e6:.3f} ms or more {'after' if early > late else 'before'} the label"
            findings.append(Finding(Rule.LABEL, text, name, None, lane, skew_ns=distance))
    return findings, worst
