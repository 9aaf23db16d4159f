"""Check A, the blocks that hold nothing sound: each is a finding, but for a torn write that may be in flight. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lab.oracle.checks.frontier import Frontier
from lab.oracle.findings import Finding, Rule, at_lane
from lab.oracle.group import Group
from lab.oracle.scan import Damage

_RULES = {"torn": Rule.TORN, "misdirected": Rule.MISDIRECTED, "foreign-run": Rule.FOREIGN, "forked": Rule.FORKED}


def check_damage(
    damage: Iterable[Damage], frontiers: Mapping[int, Frontier], group: Group, current: int
) -> list[Finding]:
    """Return a finding for each piece of damage that a power cut in epoch ``current`` cannot explain."""
    findings = []
    for item in damage:
        frontier = frontiers[item.lane]
        if not (_rule(item, group) is Rule.TORN and _may_be_in_flight(item, frontier, group, current)):
            text = f"{item.count} blocks from {item.first_block}: {item.what}"
            findings.append(at_lane(_rule(item, group), group, item.lane, None, text))
    return findings


def _rule(item: Damage, group: Group) -> Rule:
    if item.first_block % group.stride == 0:
        return Rule.CANARY
    return _RULES.get(item.what.partition(":")[0], Rule.DAMAGED)


def _may_be_in_flight(item: Damage, frontier: Frontier, group: Group, current: int) -> bool:
    """Whether this is the one write that was under way: LOG(c + 1) once HOT(c) is there, HOT(c) before that.

    A lane that has not begun to write in its new epoch may still show what was torn at the end of the old one.
    """
    lane = group.lanes[item.lane]
    log = group.log_block(lane, frontier.seq + 1)
    hot = group.hot_block(lane, group.hot_slot(item.lane, frontier.seq, frontier.epoch))
    allowed = {log} if frontier.hot or frontier.seq == 0 else {hot}
    if frontier.seq and frontier.epoch < current:
        allowed = {log, hot}
    return item.count == 1 and item.first_block in allowed and not frontier.followed
