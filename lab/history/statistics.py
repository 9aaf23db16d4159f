"""The numbers of trends: pure, exact where it says so, no library."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 %."""


def wilson(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; of no trials, everything from 0 to 1."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # At the ends the formula gives 0 and 1 exactly, rounding does not.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    return low, 1.0 if successes == trials else min(1.0, middle + half)


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p-value of the Mann-Whitney U test, exact, also with ties (permutation of midranks).

    The probability that a random choice of ``len(one)`` among all values has a rank sum at least as far from its mean.
    """
    if not one or not other:
        return 1.0
    doubled = _doubled_midranks([*one, *other])
    size, total = len(one), sum(doubled)
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in range(size))]
    for rank in doubled:
        for taken in range(size - 1, -1, -1):
            for reached, count in ways[taken].items():
                ways[taken + 1][reached + rank] = ways[taken + 1].get(reached + rank, 0) + count
    # Doubled once more, the mean is a whole number: no rounding decides what is "as far".
    scale = len(doubled)
    far = abs(sum(doubled[:size]) * scale - total * size)
    extreme = sum(count for reached, count in ways[size].items() if abs(reached * scale - total * size) >= far)
    return extreme / comb(len(doubled), size)


def _doubled_midranks(values: Sequence[float]) -> list[int]:
    """Return twice the rank of each value, equal ones sharing the mean of their ranks."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered, 1)))}
    last = {value: place for place, value in enumerate(ordered, 1)}
    return [first[value] + last[value] for value in values]
