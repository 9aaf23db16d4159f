"""The age of the newest recovery point over time."""

from hypothesis import given
from hypothesis import strategies as st

from lab.measure.rpo import MOST_SAMPLES, NS, Published, age_over_time


def test_the_age_grows_until_a_newer_point_can_be_used() -> None:
    points = [Published(0, 2 * NS), Published(10 * NS, 13 * NS)]
    ages = dict(age_over_time(points, 15 * NS))
    assert ages[0.0] == 2
    assert ages[10.0] == 12, "the point of second 10 is not usable yet"
    assert ages[11.0] == 3
    assert ages[13.0] == 5


def test_without_points_there_is_no_curve() -> None:
    assert age_over_time([], NS) == []
    assert age_over_time([Published(0, NS)], NS) == []


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**10)), min_size=1), st.integers(0, 2 * 10**12))
def test_ages_are_never_negative_and_samples_bounded(raw: list[tuple[int, int]], until: int) -> None:
    samples = age_over_time([Published(cut, cut + lag) for cut, lag in raw], until)
    assert all(age >= 0 for _, age in samples)
    assert len(samples) <= MOST_SAMPLES + 2
