"""The smallest skew that the checker finds in 99 % of trials, on a history that really happened (domain facts 4.5).

A trial cuts the recorded lanes at one random moment, and one machine later (or earlier) than the others. The smallest
shift that check D must find follows from the recorded times: no search. A write that is in flight is taken as the
outcome that hides the skew. L1 is left out, so the real checker finds no less than this.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.oracle.clocks import Clocks
from lab.oracle.group import Group
from lab.oracle.history import Batch, Event, Redo

SHARE = 0.99


@dataclass(frozen=True)
class Resolution:
    """Skews in ns. ``found_ns`` is the checker's resolution: found in 99 % of the trials; None: not found even there."""

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


def resolution(group: Group, lanes: Mapping[int, LaneTimes], clocks: Clocks, trials: int, seed: int = 1) -> Resolution:
    """Measure the resolution on recorded times.

    Raises:
        ValueError: there are not two machines that wrote at the same time, so nothing can be skewed.
    """
    rng = random.Random(seed)  # noqa: S311 - the same history gives the same number
    machines = sorted({group.lanes[lane].machine for lane in lanes})
    begin, end = _common_time(group, lanes, clocks, machines)
    if len(machines) < 2 or begin >= end:  # noqa: PLR2004 - two machines
        raise ValueError("a skew needs two machines that wrote at the same time")
    found, errors = [], []
    for _ in range(trials):
        moment, victim = rng.randrange(begin, end), rng.choice(machines)
        skews = [_pair_skews(group, lanes, clocks, moment, victim, other) for other in machines if other != victim]
        side = rng.choice((0, 1))
        found.append(min(skew[side] for skew in skews))
        errors.append(min(skew[2] for skew in skews))
    found.sort()
    errors.sort()
    at_share = found[min(trials - 1, int(SHARE * trials))]
    return Resolution(
        at_share if at_share < end - begin else None, found[trials // 2], trials, errors[trials // 2]
    )


def _common_time(
    group: Group, lanes: Mapping[int, LaneTimes], clocks: Clocks, machines: list[int]
) -> tuple[int, int]:
    """Return when all lanes wrote, by the first machine's clock; the last tenth is left out, shifts need room."""
    begins, ends = [], []
    for lane, times in lanes.items():
        offset = clocks.between(group.lanes[lane].machine, machines[0], times.issued[0])
        shift = offset.ns if offset else 0
        begins.append(times.acked[0] + shift)
        ends.append(times.issued[-1] + shift)
    begin, end = max(begins), min(ends)
    return begin + (end - begin) // 10, end - (end - begin) // 10


def _pair_skews(
    group: Group, lanes: Mapping[int, LaneTimes], clocks: Clocks, moment: int, victim: int, other: int
) -> tuple[int, int, int]:
    """Return from which shift on check D finds the victim cut later, and earlier, than the other; and the clock error.

    ``moment`` is by the clock of the group's first machine that wrote.
    """
    first = min(group.lanes[lane].machine for lane in lanes)
    to_victim, to_other = (clocks.between(first, machine, moment) for machine in (victim, other))
    if to_victim is None or to_other is None:
        raise ValueError(f"machines {first}, {victim} and {other} never compared their clocks")
    here, there = moment + to_victim.ns, moment + to_other.ns
    between = clocks.between(victim, other, here)
    error = between.error_ns if between else 0
    shift = there - here
    mine = [times for lane, times in lanes.items() if group.lanes[lane].machine == victim]
    others = [times for lane, times in lanes.items() if group.lanes[lane].machine == other]
    latest = min((_first_absent_ack(times, there) for times in others)) - shift + error
    late = min(_acked_when_issued_after(times, latest) for times in mine) - here
    earliest = max(_last_present_issue(times, there) for times in others) - shift - error
    early = here - max(_issue_of_acked_before(times, earliest) for times in mine)
    return max(late, 0), max(early, 0), error


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
