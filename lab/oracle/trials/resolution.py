"""The smallest skew that the checker finds in 99 % of trials, on a history that really happened (domain facts 4.5).

A trial cuts the recorded lanes at one random moment, and one machine later (or earlier) than the others. The smallest
shift that check D must find follows from the recorded times: no search. A write that is in flight is taken as the
outcome that hides the skew. L1 is left out, so the real checker finds no less than this. A shift in which the machine
wrote nothing changes nothing: such a trial is equivalent and does not count, as with all mutants.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.oracle.clocks import Clocks, Offset
from lab.oracle.group import Group
from lab.oracle.history import Batch, Event, Redo

SHARE = 0.99


@dataclass(frozen=True)
class Resolution:
    """Skews in ns. ``found_ns`` is the checker's resolution: found in 99 % of the trials; None: in fewer."""

    found_ns: int | None
    median_ns: int
    trials: int
    clock_error_ns: int
    """The median error of the clock comparisons, which is part of the skews."""


@dataclass
class LaneTimes:
    """Issues and acknowledgements of all of a lane's writes, in order; ns by its machine's clock."""

    issued: array[int]
    acked: array[int]


def lane_times(events: Iterable[Event], epoch: int) -> dict[int, LaneTimes]:
    """Collect the times of an epoch's writes from histories (32 bytes for each step)."""
    lanes: dict[int, LaneTimes] = {}
    for event in events:
        if isinstance(event, Batch) and event.epoch == epoch:
            times = lanes.setdefault(event.lane, LaneTimes(array("q"), array("q")))
            for step in event.steps():
                times.issued.extend((step.log_issued, step.hot_issued))
                times.acked.extend((step.log_acked, step.hot_acked))
        elif isinstance(event, Redo) and event.epoch == epoch:
            times = lanes.setdefault(event.lane, LaneTimes(array("q"), array("q")))
            times.issued.append(event.issued)
            times.acked.append(event.acked)
    return lanes


@dataclass(frozen=True)
class _Trial:
    """From which shift on the copy is another one, and from which on check D must find it; the clock error. In ns."""

    found_ns: int
    changed_ns: int
    error_ns: int


@dataclass(frozen=True)
class _Recording:
    """What was recorded: the lanes of each machine, and how the machines' clocks compare."""

    lanes: Mapping[int, Sequence[LaneTimes]]
    clocks: Clocks

    def offset(self, here: int, there: int, at_ns: int) -> Offset:
        found = self.clocks.between(here, there, at_ns)
        if found is None:
            raise ValueError(f"machines {here} and {there} never compared their clocks")
        return found

    def common_time(self, first: int) -> tuple[int, int]:
        """Return when all lanes wrote, by the first machine's clock, without a tenth at both ends: shifts need room."""
        begins, ends = [], []
        for machine, lanes in self.lanes.items():
            shift = self.offset(machine, first, lanes[0].issued[0]).ns
            begins += [times.acked[0] + shift for times in lanes]
            ends += [times.issued[-1] + shift for times in lanes]
        margin = (min(ends) - max(begins)) // 10
        return max(begins) + margin, min(ends) - margin

    def trial(self, victim: int, at: Mapping[int, int], *, late: bool) -> _Trial:
        """Cut all machines at one moment (each by its own clock), and the victim later or earlier than that."""
        others = [other for other in self.lanes if other != victim]
        shifts = [self._late(victim, at, other) if late else self._early(victim, at, other) for other in others]
        error = min(self.offset(victim, other, at[victim]).error_ns for other in others)
        mine, here = self.lanes[victim], at[victim]
        if late:
            changed = min(_acked_when_issued_after(times, here) for times in mine) - here
        else:
            changed = here - max(_last_present_issue(times, here) for times in mine)
        return _Trial(max(min(shifts), 0), max(changed, 0), error)

    def _late(self, victim: int, at: Mapping[int, int], other: int) -> int:
        """Return the shift from which on a write of the victim is issued after an acknowledgement that is missing."""
        here, there = at[victim], at[other]
        error = self.offset(victim, other, here).error_ns
        bound = min(_first_absent_ack(times, there) for times in self.lanes[other]) + here - there + error
        return min(_acked_when_issued_after(times, bound) for times in self.lanes[victim]) - here

    def _early(self, victim: int, at: Mapping[int, int], other: int) -> int:
        """Return the shift from which on the victim lacks a write acknowledged before another's newest was issued."""
        here, there = at[victim], at[other]
        error = self.offset(victim, other, here).error_ns
        bound = max(_last_present_issue(times, there) for times in self.lanes[other]) + here - there - error
        return here - max(_issue_of_acked_before(times, bound) for times in self.lanes[victim])


def resolution(group: Group, lanes: Mapping[int, LaneTimes], clocks: Clocks, trials: int, seed: int = 1) -> Resolution:
    """Measure the resolution on recorded times, by lane.

    Raises:
        ValueError: there are not two machines that wrote at the same time and compared clocks: nothing can be skewed.
    """
    rng = random.Random(seed)  # noqa: S311 - the same history gives the same number
    by_machine: dict[int, list[LaneTimes]] = {}
    for lane, times in sorted(lanes.items()):
        by_machine.setdefault(group.lanes[lane].machine, []).append(times)
    recording, machines = _Recording(by_machine, clocks), sorted(by_machine)
    begin, end = recording.common_time(machines[0]) if len(machines) > 1 else (0, 0)
    if begin >= end:
        raise ValueError("a skew needs two machines that wrote at the same time")
    done = []
    for _ in range(trials):
        moment, victim = rng.randrange(begin, end), rng.choice(machines)
        at = {machine: moment + recording.offset(machines[0], machine, moment).ns for machine in machines}
        done.append(recording.trial(victim, at, late=rng.random() < 0.5))  # noqa: PLR2004 - as often late as early
    return Resolution(
        _smallest_sure([trial.found_ns for trial in done], [trial.changed_ns for trial in done], end - begin),
        median(sorted(trial.found_ns for trial in done)),
        trials,
        median(sorted(trial.error_ns for trial in done)),
    )


def median(values: Sequence[int]) -> int:
    """Return the middle of sorted values."""
    return values[len(values) // 2]


def _smallest_sure(found: Sequence[int], changed: Sequence[int], longest: int) -> int | None:
    """Return the shift from which on SHARE of the trials it changes anything in are found; None: not even longest."""
    found, changed = sorted(found), sorted(changed)
    sure = None
    for shift in sorted({*found, *changed}, reverse=True):
        if bisect_right(found, shift) < SHARE * bisect_right(changed, shift):
            break
        sure = shift
    return sure if sure is not None and sure < longest else None


def _first_absent_ack(times: LaneTimes, moment: int) -> int:
    """Return when the first write was acknowledged that a cut may leave out; the one in flight is taken as there."""
    index = bisect_right(times.issued, moment)
    return times.acked[index] if index < len(times.acked) else _NEVER


def _last_present_issue(times: LaneTimes, moment: int) -> int:
    """Return when the last write was issued that a cut must hold."""
    index = bisect_right(times.acked, moment)
    return times.issued[index - 1] if index else -_NEVER


def _acked_when_issued_after(times: LaneTimes, moment: int) -> int:
    """Return from when on a cut must hold a write that was issued after a moment."""
    index = bisect_right(times.issued, moment)
    return times.acked[index] if index < len(times.acked) else _NEVER


def _issue_of_acked_before(times: LaneTimes, moment: int) -> int:
    """Return until when a cut cannot hold a write that was acknowledged before a moment."""
    index = bisect_left(times.acked, moment)
    return times.issued[index - 1] if index else -_NEVER


_NEVER = 1 << 62
