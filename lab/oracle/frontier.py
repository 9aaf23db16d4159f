"""Check A: how far each lane goes without a gap, and that nothing lies beyond (domain facts 4.4). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lab.oracle.epochs import Epochs
from lab.oracle.findings import Finding, Rule, at_lane
from lab.oracle.group import Group
from lab.oracle.scan import MARKER_KIND, LaneCopy, NewestHot, Run


@dataclass(frozen=True)
class Frontier:
    """The newest complete step of a lane in a copy, and whether its second write (HOT) is there too."""

    lane: int
    seq: int
    epoch: int
    hot: bool
    issued_ns: int | None
    """When the last present write was issued, by the machine's writer clock; None when nothing is there."""
    clock: tuple[int, ...]
    """What the last present write knew to be acknowledged; empty when nothing is there."""
    marker: bool
    followed: bool
    """Later records are there although one is missing: so nothing at the frontier was in flight."""

    @property
    def position(self) -> int:
        """Count of the lane's writes that are there: LOG(k) is number 2k - 1, HOT(k) number 2k."""
        return 2 * self.seq if self.hot else max(2 * self.seq - 1, 0)


def current_epoch(lanes: dict[int, LaneCopy], epochs: Epochs) -> int:
    """Return the newest epoch that any LOG record of the copy is of, among those that somebody began."""
    found = {run.epoch for lane, copy in lanes.items() for run in copy.runs if epochs.known(lane, run.epoch)}
    first = {epoch for bases in epochs.bases.values() for epoch in bases}
    return max(found, default=min(first, default=1))


def find_frontier(
    copy: LaneCopy, lane: int, group: Group, epochs: Epochs, current: int
) -> tuple[Frontier, list[Finding]]:
    """Return the frontier of a lane when the group is in epoch ``current``, and what breaks check A."""
    findings: list[Finding] = []
    spans = []
    for run in copy.runs:
        span = _valid_span(run, lane, group, epochs, current, findings)
        if span:
            spans.append(span)
    seq = _gap_free(spans, lane, group, findings)
    findings += _left_behind(spans, copy.blank, lane, group)
    followed = any(last > seq for _, last in spans)
    return _describe(copy, lane, seq, group, epochs, current, followed=followed), findings


def _valid_span(
    run: Run, lane: int, group: Group, epochs: Epochs, current: int, findings: list[Finding]
) -> tuple[int, int] | None:
    """Return the part of a run that belongs to the copy's history; the rest becomes findings."""
    if run.epoch > current or not epochs.known(lane, run.epoch):
        text = f"LOG({run.last}) is of epoch {run.epoch}, which nobody began before epoch {current} ended"
        findings.append(at_lane(Rule.FOREIGN, group, lane, run.last, text))
        return None
    limit = epochs.last_valid(lane, run.epoch, current)
    if limit is not None and run.last > limit:
        text = f"LOG({max(run.first, limit + 1)}..{run.last}) of epoch {run.epoch} survived, which was cut at {limit}"
        findings.append(at_lane(Rule.ZOMBIE, group, lane, run.last, text))
    first = max(run.first, epochs.begins_at(lane, run.epoch) + 1)
    last = run.last if limit is None else min(run.last, limit)
    return (first, last) if first <= last else None


def _gap_free(spans: list[tuple[int, int]], lane: int, group: Group, findings: list[Finding]) -> int:
    """Return the last step before the first gap. A full ring holds the last ``log_slots - 1`` steps at least."""
    newest = max((last for _, last in spans), default=0)
    seq = max(newest - group.log_slots + 1, 0)
    for first, last in sorted(spans):
        if first > seq + 1:
            text = f"LOG({seq + 1}) is missing although LOG({first}) is there"
            finding = at_lane(Rule.ORDER, group, lane, seq + 1, text)
            findings.append(Finding(**{**vars(finding), "other_lane": lane, "other_seq": first}))
            return seq
        seq = max(seq, last)
    return seq


def _left_behind(spans: list[tuple[int, int]], blank: int, lane: int, group: Group) -> list[Finding]:
    """Find slots that hold an older turn of the ring, or nothing yet, although a newer record was to be there."""
    newest = max((last for _, last in spans), default=0)
    oldest = min((first for first, _ in spans), default=1)
    if oldest <= newest - group.log_slots:
        text = f"LOG({oldest}) is still there, LOG({oldest + group.log_slots}) was to overwrite it"
        return [at_lane(Rule.ORDER, group, lane, oldest + group.log_slots, text)]
    if blank > max(group.log_slots - newest, 0):
        text = f"{blank} LOG slots were never written to although LOG({newest}) is there"
        return [at_lane(Rule.ORDER, group, lane, newest, text)]
    return []


def _describe(
    copy: LaneCopy, lane: int, seq: int, group: Group, epochs: Epochs, current: int, *, followed: bool
) -> Frontier:
    epoch = epochs.expected(lane, max(seq, 1), current)
    run = next((run for run in copy.runs if run.last == seq and run.epoch == epoch), None)
    hot = _overwritten(copy, lane, seq, group, epochs, current)
    marker = run is not None and run.kind == MARKER_KIND
    last: Run | NewestHot | None = run
    if hot and copy.newest_hot is not None and copy.newest_hot.seq == seq:
        last = copy.newest_hot
    if last is None:
        return Frontier(lane, seq, epoch, hot, None, (), marker, followed)
    return Frontier(lane, seq, epoch, hot, last.issued_ns, last.clock, marker, followed)


def _overwritten(copy: LaneCopy, lane: int, seq: int, group: Group, epochs: Epochs, current: int) -> bool:
    """Return whether HOT(seq) is there, of the epoch that wrote it last."""
    slot = group.hot_slot(lane, seq, epochs.expected(lane, max(seq, 1), current))
    if not seq or copy.hot[slot] != seq:
        return False
    epoch = copy.hot_epochs[slot]
    return epoch == current if epochs.rewrites(lane, current, seq) else epochs.fits(lane, seq, epoch, current)
