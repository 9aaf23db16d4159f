"""Check B, level L1: whatever the newest record of a lane knew to be acknowledged is in the copy too. Pure.

Lanes are chains with growing vector clocks, so the newest record of each lane is enough: O(lanes squared).
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.oracle.checks.frontier import Frontier
from lab.oracle.findings import Finding, Rule, at_lane
from lab.oracle.group import Group


def check_causal(frontiers: Mapping[int, Frontier], group: Group) -> list[Finding]:
    """Return each pair of a write that is there and a write before it that is missing."""
    findings = []
    for lane, frontier in frontiers.items():
        for other, known in enumerate(frontier.clock):
            if other in frontiers and known > frontiers[other].seq:
                missing = frontiers[other].seq + 1
                text = f"step {frontier.seq} knew of LOG({known}) of lane {other}, where LOG({missing}) is missing"
                finding = at_lane(Rule.CAUSAL, group, lane, frontier.seq, text)
                findings.append(Finding(**{**vars(finding), "other_lane": other, "other_seq": missing}))
    return findings
