"""What a check found wrong, as values: which rule, where, what. Rules are those of domain facts 4.4 and 4.7."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from lab.oracle.group import Group


class Rule(StrEnum):
    """What a sound copy keeps to; the value is how a finding is named in reports."""

    ORDER = "order"
    """A: the records of each lane are there without a gap."""
    TORN = "torn"
    """A: only the write in flight may be there in part."""
    DAMAGED = "damaged"
    """A: every block holds a whole record, or the blank that was put there before."""
    MISDIRECTED = "misdirected"
    """A: records are where they say they belong."""
    FOREIGN = "foreign"
    """A: no record of another run, or of an epoch that nobody began."""
    FORKED = "forked"
    """A: each record follows the one whose digest it names."""
    INVENTED = "invented"
    """A: nothing is there that was never written."""
    CAUSAL = "causal"
    """B, level L1: whatever a record knew of is there too."""
    STALE = "stale"
    """C: the last overwrite before the frontier is the one that is there."""
    LEAKED = "leaked"
    """C: no overwrite from after the frontier is there."""
    CANARY = "canary"
    """C: blocks that nobody writes do not change."""
    INSTANT = "instant"
    """D, level L2: one moment exists at which the whole group looked like this."""
    UNCOMPARED = "uncompared"
    """D: the clocks of all machines can be compared, otherwise one moment is not proven."""
    BACKWARDS = "backwards"
    """E: a later point never shows less than an earlier one."""
    LABEL = "label"
    """F: the point was made when it says it was."""
    ZOMBIE = "zombie"
    """4.7: no record of an epoch from after the cut that ended it."""
    APPLICATION = "application"
    """4.6: an application-consistent point ends at its marker and holds everything accepted before it."""


@dataclass(frozen=True)
class Finding:
    """One violation. Lane and seq name the write that is there or missing; ``other`` the second write of a pair."""

    rule: Rule
    text: str
    machine: str | None = None
    volume: int | None = None
    lane: int | None = None
    seq: int | None = None
    other_lane: int | None = None
    other_seq: int | None = None
    skew_ns: int | None = None
    """For INSTANT and LABEL: how far apart at least, clock errors already taken off."""


@dataclass(frozen=True)
class Window:
    """When a machine may have been cut: not before its last present issue, not after its first absent acknowledgement.

    Nanoseconds by the machine's writer clock; None: no bound.
    """

    machine: int
    begin_ns: int | None
    begin_lane: int | None
    end_ns: int | None
    end_lane: int | None


@dataclass(frozen=True)
class Verdict:
    """What a group's copy shows. No findings: it is what a power cut of the whole group at one moment leaves."""

    findings: tuple[Finding, ...]
    epoch: int
    frontier: tuple[int, ...]
    """The newest complete step of each lane, by number: the cut vector."""
    windows: tuple[Window, ...]
    clock_error_ns: int
    """The largest error among the clock comparisons that were needed (eps)."""
    label_error_ns: int | None = None
    unwitnessed: int = 0
    """Writes that are there although the witness never heard of them: a dying machine's last words got lost."""
    checks: tuple[str, ...] = field(default=())
    """What was judged."""

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def rules(self) -> frozenset[Rule]:
        """The rules that are broken."""
        return frozenset(finding.rule for finding in self.findings)

    def as_json(self) -> str:
        """Return the verdict as a JSON document, keys sorted, the same bytes for the same verdict."""
        return json.dumps(asdict(self) | {"sound": self.sound}, sort_keys=True, indent=1)


def at_lane(rule: Rule, group: Group, lane: int, seq: int | None, text: str) -> Finding:
    """Return a finding about a lane, with machine and volume by name and number."""
    place = group.lanes[lane]
    return Finding(rule, text, group.members[place.machine].name, place.volume, lane, seq)
