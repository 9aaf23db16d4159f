"""Percentiles of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile, between the smallest and the largest. Raises StatisticsError for fewer than two."""
    return quantiles(values, n=100, method="inclusive")[98]
