"""Rows of the bench: ratios and goals. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

Pair = tuple[float, float]
"""Ours, and what it is compared with, taken in turn."""


@dataclass(frozen=True)
class Row:
    """One comparison. ``peer`` is another tool that does the same, ``limit`` what no tool can beat."""

    name: str
    unit: str
    ours: float | None
    """None: nothing but the ratio was written down."""
    peer: float | None
    limit: float | None
    ratio: float
    goal: float | None
    met: bool | None
    """None: context without a goal."""
    n: int
    spread: float | None
    """Largest minus smallest ratio of the turns; None for a single turn."""
    note: str = ""
    """What has to be known to read the row."""


Report = Callable[[Sequence[Row]], None]
"""Takes rows as soon as they are measured; one of the same name takes the place of an earlier one."""


def close_to_limit(name: str, unit: str, pairs: Sequence[Pair], goal: float) -> Row:
    """Compare with a limit: the ratio ours/limit may be ``goal`` at most."""
    ours, limit = _medians(pairs)
    ratio = ours / limit
    spread = _spread([mine / other for mine, other in pairs])
    return Row(name, unit, ours, None, limit, ratio, goal, ratio <= goal, len(pairs), spread)


def share_of_limit(name: str, unit: str, pairs: Sequence[Pair], goal: float | None, note: str = "") -> Row:
    """Compare durations with a limit: the ratio limit/ours has to be ``goal`` at least; None: there is no goal."""
    ours, limit = _medians(pairs)
    ratio = limit / ours
    met = None if goal is None else ratio >= goal
    return Row(name, unit, ours, None, limit, ratio, goal, met, len(pairs), _spread([b / a for a, b in pairs]), note)


def faster_than_peer(name: str, unit: str, pairs: Sequence[Pair], goal: float = 1.0) -> Row:
    """Compare durations with a peer's: the ratio peer/ours has to be above ``goal``."""
    ours, peer = _medians(pairs)
    ratio = peer / ours
    spread = _spread([other / mine for mine, other in pairs])
    return Row(name, unit, ours, peer, None, ratio, goal, ratio > goal, len(pairs), spread)


def at_least(name: str, unit: str, pairs: Sequence[Pair], goal: float) -> Row:
    """Compare rates with a peer's: the ratio ours/peer has to be ``goal`` at least."""
    ours, peer = _medians(pairs)
    ratio = ours / peer
    spread = _spread([mine / other for mine, other in pairs])
    return Row(name, unit, ours, peer, None, ratio, goal, ratio >= goal, len(pairs), spread)


def within(name: str, unit: str, ours: float, goal: float) -> Row:
    """Compare one number with an absolute goal in the same unit; the ratio is ours/goal."""
    ratio = ours / goal
    return Row(name, unit, ours, None, None, ratio, goal, ratio <= 1.0, 1, None)


def at_most(name: str, unit: str, found: Sequence[float], goal: float) -> Row:
    """Compare numbers with an absolute goal in the same unit: the ratio ours/goal may be 1 at most."""
    ours = median(found)
    spread = _spread([number / goal for number in found])
    return Row(name, unit, ours, None, None, ours / goal, goal, ours <= goal, len(found), spread)


def beyond(name: str, unit: str, found: Sequence[float], goal: float) -> Row:
    """Compare rates with an absolute goal in the same unit: the ratio ours/goal has to be 1 at least."""
    ours = median(found)
    spread = _spread([number / goal for number in found])
    return Row(name, unit, ours, None, None, ours / goal, goal, ours >= goal, len(found), spread)


def context(name: str, unit: str, pairs: Sequence[Pair]) -> Row:
    """Tell two numbers (ours/peer is the ratio) that have no goal."""
    ours, peer = _medians(pairs)
    spread = _spread([mine / other for mine, other in pairs])
    return Row(name, unit, ours, peer, None, ours / peer, None, None, len(pairs), spread)


def rate(size_bytes: int, seconds: float) -> float:
    """Return MB/s (10**6 bytes)."""
    return size_bytes / 1e6 / seconds


def _medians(pairs: Sequence[Pair]) -> Pair:
    if not pairs or any(number <= 0 for pair in pairs for number in pair):
        raise ValueError(f"a row needs turns with numbers above 0, not {pairs}")
    return median(mine for mine, _ in pairs), median(other for _, other in pairs)


def _spread(ratios: Sequence[float]) -> float | None:
    return max(ratios) - min(ratios) if len(ratios) > 1 else None
