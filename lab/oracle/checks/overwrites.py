"""Check C: every HOT slot holds the last overwrite before the frontier, or the one that may be in flight. Pure.

The schedule is replayed backwards from the frontier until every slot is accounted for: O(H log H) steps on average.
"""

from __future__ import annotations

from array import array

from lab.oracle.checks.epochs import LanePast
from lab.oracle.checks.frontier import Frontier
from lab.oracle.findings import Finding, Rule
from lab.oracle.scan import ABSENT, LaneCopy


def expected_overwrites(past: LanePast, finished: int) -> array[int]:
    """Return the step whose overwrite each slot holds after HOT(finished), 0 for a slot that has none yet."""
    group, lane = past.group, past.lane
    wanted = array("q", bytes(8 * group.hot_slots))
    open_slots = [group.hot_slots // 2] * 2
    for epoch, after, last in past.epochs.segments(lane, finished, past.current):
        for seq in range(last, after, -1):
            if not open_slots[epoch % 2]:
                break
            slot = group.hot_slot(lane, seq, epoch)
            if not wanted[slot]:
                wanted[slot] = seq
                open_slots[epoch % 2] -= 1
    return wanted


def check_overwrites(copy: LaneCopy, frontier: Frontier, past: LanePast) -> list[Finding]:
    """Return the slots that hold another version than they must."""
    findings = []
    seq = frontier.seq
    wanted = expected_overwrites(past, seq - 1)
    in_flight = past.hot_slot(seq) if seq else None
    for slot, found in enumerate(copy.hot):
        want = wanted[slot]
        if found == ABSENT or (found == seq and slot == in_flight):
            continue
        epoch = copy.hot_epochs[slot]
        if found != want or (found and not past.hot_fits(found, epoch)):
            rule, text = _name(found, want, epoch, seq, past.limit(epoch))
            findings.append(past.finding(rule, found or want, f"HOT slot {slot}: {text}"))
    return findings


def _name(found: int, want: int, epoch: int, frontier: int, limit: int | None) -> tuple[Rule, str]:
    if limit is not None and found > limit:
        return Rule.ZOMBIE, f"version {found} of epoch {epoch} survived, which was cut at {limit}"
    if found > frontier:
        return Rule.LEAKED, f"version {found} is from after the frontier {frontier}"
    if found < want:
        return Rule.STALE, f"version {found} although {want} was acknowledged before the frontier {frontier}"
    if found == want:
        return Rule.FOREIGN, f"version {found} is of epoch {epoch}, another than its LOG record"
    return Rule.MISDIRECTED, f"version {found} was never written to this slot"
