"""Check C: every HOT slot holds the last overwrite before the frontier, or the one that may be in flight. Pure.

The schedule is replayed backwards from the frontier until every slot is accounted for: O(H log H) steps on average.
"""

from __future__ import annotations

from array import array

from lab.oracle.epochs import Epochs
from lab.oracle.findings import Finding, Rule, at_lane
from lab.oracle.frontier import Frontier
from lab.oracle.group import Group
from lab.oracle.scan import ABSENT, LaneCopy


def expected_overwrites(group: Group, lane: int, finished: int, epochs: Epochs, current: int) -> array[int]:
    """Return the step whose overwrite each slot holds after HOT(finished), 0 for a slot that has none yet."""
    wanted = array("q", bytes(8 * group.hot_slots))
    open_slots = [group.hot_slots // 2] * 2
    for epoch, after, last in epochs.segments(lane, finished, current):
        for seq in range(last, after, -1):
            if not open_slots[epoch % 2]:
                break
            slot = group.hot_slot(lane, seq, epoch)
            if not wanted[slot]:
                wanted[slot] = seq
                open_slots[epoch % 2] -= 1
    return wanted


def check_overwrites(
    copy: LaneCopy, frontier: Frontier, group: Group, epochs: Epochs, current: int
) -> list[Finding]:
    """Return the slots that hold another version than they must."""
    findings = []
    lane, seq = frontier.lane, frontier.seq
    wanted = expected_overwrites(group, lane, seq - 1, epochs, current)
    in_flight = group.hot_slot(lane, seq, frontier.epoch) if seq else None
    for slot, found in enumerate(copy.hot):
        want = wanted[slot]
        if found == ABSENT or (found == seq and slot == in_flight):
            continue
        if found != want or (found and not epochs.fits(lane, found, copy.hot_epochs[slot], current)):
            rule, text = _name(found, want, copy.hot_epochs[slot], frontier, epochs, current)
            findings.append(at_lane(rule, group, lane, found or want, f"HOT slot {slot}: {text}"))
    return findings


def _name(
    found: int, want: int, epoch: int, frontier: Frontier, epochs: Epochs, current: int
) -> tuple[Rule, str]:
    limit = epochs.last_valid(frontier.lane, epoch, current)
    if limit is not None and found > limit:
        return Rule.ZOMBIE, f"version {found} of epoch {epoch} survived, which was cut at {limit}"
    if found > frontier.seq:
        return Rule.LEAKED, f"version {found} is from after the frontier {frontier.seq}"
    if found < want:
        return Rule.STALE, f"version {found} although {want} was acknowledged before the frontier {frontier.seq}"
    if found == want:
        return Rule.FOREIGN, f"version {found} is of epoch {epoch}, another than its LOG record"
    return Rule.MISDIRECTED, f"version {found} was never written to this slot"
