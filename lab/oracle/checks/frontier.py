"""Check A: how far each lane goes without a gap, and that nothing lies beyond (domain facts 4.4). Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.oracle.checks.epochs import Epochs, LanePast
from lab.oracle.findings import Finding, Rule
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


def find_frontier(copy: LaneCopy, past: LanePast) -> tuple[Frontier, list[Finding]]:
    """Return the frontier of a lane, and what breaks check A."""
    findings: list[Finding] = []
    spans = []
    for run in copy.runs:
        span = _valid_span(run, past, findings)
        if span:
            spans.append(span)
    seq = _gap_free(spans, past, findings)
    findings += _left_behind(spans, copy.blank, past)
    return _describe(copy, seq, past, followed=any(last > seq for _, last in spans)), findings


def _valid_span(run: Run, past: LanePast, findings: list[Finding]) -> tuple[int, int] | None:
    """Return the part of a run that belongs to the copy's history; the rest becomes findings."""
    if not past.known(run.epoch):
        text = f"LOG({run.last}) is of epoch {run.epoch}, which nobody began before epoch {past.current} ended"
        findings.append(past.finding(Rule.FOREIGN, run.last, text))
        return None
    limit = past.limit(run.epoch)
    if limit is not None and run.last > limit:
        text = f"LOG({max(run.first, limit + 1)}..{run.last}) of epoch {run.epoch} survived, which was cut at {limit}"
        findings.append(past.finding(Rule.ZOMBIE, run.last, text))
    first = max(run.first, past.begins_at(run.epoch) + 1)
    last = run.last if limit is None else min(run.last, limit)
    return (first, last) if first <= last else None


def _gap_free(spans: list[tuple[int, int]], past: LanePast, findings: list[Finding]) -> int:
    """Return the last step before the first gap. A full ring holds the last ``log_slots - 1`` steps at least."""
    newest = max((last for _, last in spans), default=0)
    seq = max(newest - past.group.log_slots + 1, 0)
    for first, last in sorted(spans):
        if first > seq + 1:
            text = f"LOG({seq + 1}) is missing although LOG({first}) is there"
            findings.append(replace(past.finding(Rule.ORDER, seq + 1, text), other_lane=past.lane, other_seq=first))
            return seq
        seq = max(seq, last)
    return seq


def _left_behind(spans: list[tuple[int, int]], blank: int, past: LanePast) -> list[Finding]:
    """Find slots that hold an older turn of the ring, or nothing yet, although a newer record was to be there."""
    newest = max((last for _, last in spans), default=0)
    oldest = min((first for first, _ in spans), default=1)
    slots = past.group.log_slots
    if oldest <= newest - slots:
        text = f"LOG({oldest}) is still there, LOG({oldest + slots}) was to overwrite it"
        return [past.finding(Rule.ORDER, oldest + slots, text)]
    if blank > max(slots - newest, 0):
        text = f"{blank} LOG slots were never written to although LOG({newest}) is there"
        return [past.finding(Rule.ORDER, newest, text)]
    return []


def _describe(copy: LaneCopy, seq: int, past: LanePast, *, followed: bool) -> Frontier:
    epoch = past.epoch_of(seq)
    run = next((run for run in copy.runs if run.last == seq and run.epoch == epoch), None)
    hot = _overwritten(copy, seq, past)
    marker = run is not None and run.kind == MARKER_KIND
    last: Run | NewestHot | None = run
    if hot and copy.newest_hot is not None and copy.newest_hot.seq == seq:
        last = copy.newest_hot
    issued_ns, clock = (last.issued_ns, last.clock) if last is not None else (None, ())
    return Frontier(past.lane, seq, epoch, hot, issued_ns, clock, marker, followed)


def _overwritten(copy: LaneCopy, seq: int, past: LanePast) -> bool:
    """Return whether HOT(seq) is there, of the epoch that wrote it last."""
    slot = past.hot_slot(seq)
    if not seq or copy.hot[slot] != seq:
        return False
    epoch = copy.hot_epochs[slot]
    rewritten = past.epochs.rewrites(past.lane, past.current, seq)
    return epoch == past.current if rewritten else past.hot_fits(seq, epoch)
