"""The numbers of trends, against values from the literature and against brute force."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.history.statistics import mann_whitney, wilson

small = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def test_wilson_of_known_values() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4901625), pytest.approx(0.9433178))
    assert wilson(0, 5) == (0.0, pytest.approx(0.4344825))
    assert wilson(5, 5) == (pytest.approx(1 - 0.4344825), 1.0)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_holds_the_share(successes: int, more: int) -> None:
    trials = successes + more
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1


def by_force(one: list[int], other: list[int]) -> float:
    values = [*one, *other]
    ordered = sorted(values)
    ranks = [ordered.index(value) + 1 + (ordered.count(value) - 1) / 2 for value in values]
    mean = sum(ranks) * len(one) / len(values)
    far = abs(sum(ranks[: len(one)]) - mean)
    choices = [sum(chosen) for chosen in combinations(ranks, len(one))]
    return sum(abs(found - mean) >= far - 1e-9 for found in choices) / comb(len(values), len(one))


@given(small, small)
def test_mann_whitney_is_exact_with_and_without_ties(one: list[int], other: list[int]) -> None:
    assert mann_whitney(one, other) == pytest.approx(by_force(one, other))


def test_mann_whitney_of_values_that_do_not_overlap() -> None:
    assert mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / comb(10, 5))
    assert mann_whitney([1, 1], [1, 1]) == 1.0
    assert mann_whitney([], [1]) == 1.0
