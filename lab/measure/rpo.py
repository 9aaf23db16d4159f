"""How old the newest usable recovery point was at every moment, from the stack's events. Pure (domain facts 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NS = 10**9
MOST_SAMPLES = 400


@dataclass(frozen=True)
class Published:
    """A recovery point: the end of its cut and when it became usable, ns of clocks that agree."""

    cut_ns: int
    usable_ns: int


@dataclass(frozen=True)
class Outage:
    """From when until when (ns) somebody else than the stack kept it from replicating, and how."""

    what: str
    begin_ns: int
    end_ns: int


def undisturbed(
    samples: Iterable[tuple[float, float]], began_ns: int, outages: Sequence[Outage]
) -> list[tuple[float, float]]:
    """Return the samples, counted from ``began_ns``, for whose age no outage is to blame.

    Blamed is one that was going on, or had been, since the cut of the point that was the newest.
    """

    def blamed(moment_ns: float, cut_ns: float) -> bool:
        return any(outage.begin_ns < moment_ns and cut_ns < outage.end_ns for outage in outages)

    return [
        (second, age) for second, age in samples if not blamed(began_ns + second * NS, began_ns + (second - age) * NS)
    ]


def age_over_time(points: Iterable[Published], until_ns: int) -> list[tuple[float, float]]:
    """Return (seconds since the first point was usable, age of the newest one in seconds), in equal steps.

    At a moment only points count that were usable by then; ages are never negative, clocks of machines differ.
    """
    ordered = sorted(points, key=lambda point: point.usable_ns)
    if not ordered or until_ns <= ordered[0].usable_ns:
        return []
    begin = ordered[0].usable_ns
    step = max(NS, (until_ns - begin) // MOST_SAMPLES)
    samples, newest, place = [], ordered[0].cut_ns, 0
    for moment in range(begin, until_ns + 1, step):
        while place < len(ordered) and ordered[place].usable_ns <= moment:
            newest = max(newest, ordered[place].cut_ns)
            place += 1
        samples.append(((moment - begin) / NS, max(0.0, (moment - newest) / NS)))
    return samples
