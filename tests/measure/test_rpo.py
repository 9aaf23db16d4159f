"""The age of the newest recovery point over time."""

from hypothesis import given
from hypothesis import strategies as st

from lab.measure.rpo import MOST_SAMPLES, NS, Outage, Published, age_over_time, undisturbed


def test_the_age_grows_until_a_newer_point_can_be_used() -> None:
    points = [Published(0, 2 * NS), Published(10 * NS, 13 * NS)]
    ages = dict(age_over_time(points, 15 * NS))
    assert ages[0.0] == 2
    assert ages[10.0] == 12, "the point of second 10 is not usable yet"
    assert ages[11.0] == 3
    assert ages[13.0] == 5


def test_an_outage_is_to_blame_until_a_point_that_was_cut_after_it() -> None:
    cuts = [Published(second * NS, (second + 1) * NS) for second in (0, 10, 50, 60)]
    samples = age_over_time(cuts, 65 * NS)
    outage = Outage("process server stopped", 20 * NS, 45 * NS)
    kept = undisturbed(samples, 1 * NS, [outage])
    assert max(age for _, age in samples) == 40
    assert [second for second, _ in kept] == [*range(20), *range(50, 65)]
    assert max(age for _, age in kept) == 10
    assert undisturbed(samples, 1 * NS, []) == samples


def test_without_points_there_is_no_curve() -> None:
    assert age_over_time([], NS) == []
    assert age_over_time([Published(0, NS)], NS) == []


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**10)), min_size=1), st.integers(0, 2 * 10**12))
def test_ages_are_never_negative_and_samples_bounded(raw: list[tuple[int, int]], until: int) -> None:
    samples = age_over_time([Published(cut, cut + lag) for cut, lag in raw], until)
    assert all(age >= 0 for _, age in samples)
    assert len(samples) <= MOST_SAMPLES + 2
