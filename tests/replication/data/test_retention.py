"""The rule that thins recovery points out, and the undo log that follows it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.master_target.coverage import Coverage
from lab.replication.master_target.undo import runs
from lab.replication.retention import (
    HOUR_S,
    NS,
    STANDARD_THINNING,
    Retention,
    Thinning,
    keep,
    thinning_problem,
)

DAY_S = 24 * HOUR_S
STEPS = (Thinning(20, 10), Thinning(60, 20), Thinning(200, 40))


@dataclass(frozen=True)
class Mark:
    number: int
    end_ns: int
    application_consistent: bool = False
    shared: str | None = None


marks = st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: [
        Mark(n, sum(row[0] for row in rows[: n + 1]) * NS, app, "g" if shared else None)
        for n, (_, app, shared) in enumerate(rows)
    ]
)
policies = st.builds(
    Retention, st.sampled_from([0, 1, 50, 300, 1000]), st.sampled_from([(), STEPS[:1], STEPS[:2], STEPS])
)


@given(marks, policies)
def test_the_newest_always_stays_and_the_order_too(points, policy):
    kept = keep(points, points[-1].end_ns, policy)
    assert kept[-1] is points[-1]
    assert kept == sorted(kept, key=lambda p: p.number)


@given(marks, policies)
def test_asking_twice_removes_nothing_more(points, policy):
    kept = keep(points, points[-1].end_ns, policy)
    assert keep(kept, points[-1].end_ns, policy) == kept


@given(marks, policies, st.data())
def test_pruning_on_the_way_gives_what_pruning_at_the_end_gives(points, policy, data):
    middle = data.draw(st.integers(1, len(points)))
    early = keep(points[:middle], points[middle - 1].end_ns, policy)
    assert keep(early + points[middle:], points[-1].end_ns, policy) == keep(points, points[-1].end_ns, policy)


def test_a_period_whose_point_is_past_the_window_is_empty_whenever_one_asks():
    points = [Mark(n, second * NS) for n, second in enumerate([1, 2, 9, 12, 31, 52])]
    policy = Retention(50, (Thinning(20, 10),))
    early = keep(points[:5], points[4].end_ns, policy)
    assert [mark.number for mark in early] == [0, 3, 4]
    assert keep([*early, points[5]], points[5].end_ns, policy) == keep(points, points[5].end_ns, policy)


@given(marks, policies)
def test_each_old_period_has_exactly_one_point_and_an_application_consistent_one_if_it_had_any(points, policy):
    newest = points[-1].end_ns
    kept = keep(points, newest, policy)
    if policy.window_s == 0:
        assert kept == [points[-1]]
        return
    for step in policy.thinning:
        older = [s for s in policy.thinning if s.after_s > step.after_s]
        for period in {p.end_ns // (step.every_s * NS) for p in points[:-1]}:
            end = (period + 1) * step.every_s * NS
            inside = [p for p in points[:-1] if p.end_ns // (step.every_s * NS) == period]
            old_enough = end <= newest - step.after_s * NS
            coarser = any(
                (p // s.every_s + 1) * s.every_s * NS <= newest - s.after_s * NS
                for s in older
                for p in [period * step.every_s]
            )
            whole = all(newest - p.end_ns <= policy.window_s * NS for p in inside)
            if not old_enough or coarser or not whole:
                continue
            staying = [p for p in inside if p in kept]
            assert len(staying) == 1
            assert staying[0].application_consistent == any(p.application_consistent for p in inside)


@given(marks, policies)
def test_a_clock_that_is_ahead_does_not_remove_more(points, policy):
    ahead = [*points, Mark(999, points[-1].end_ns + 10**6 * NS)]
    kept = keep(ahead, points[-1].end_ns, policy)
    if policy.window_s:
        assert set(keep(points, points[-1].end_ns, policy)[:-1]) <= set(kept)


def test_two_days_at_the_standard_schedule():
    points = [Mark(n, n * 300 * NS) for n in range(1, 2 * DAY_S // 300 + 1)]
    kept = keep(points, points[-1].end_ns, Retention(3 * DAY_S))
    ages = [(points[-1].end_ns - p.end_ns) / NS / HOUR_S for p in kept]
    assert sum(age <= 2 for age in ages) == 25
    assert sum(3 < age <= 24 for age in ages) == pytest.approx(21, abs=1)
    assert sum(age > 24 for age in ages) == pytest.approx(12, abs=1)


def test_seven_days_on_there_is_one_point_for_four_hours():
    points = [Mark(n, n * 1800 * NS) for n in range(1, 15 * DAY_S // 1800 + 1)]
    kept = keep(points, points[-1].end_ns, Retention(15 * DAY_S))
    old = [p for p in kept if points[-1].end_ns - p.end_ns > 8 * DAY_S * NS]
    gaps = {(b.end_ns - a.end_ns) / NS / HOUR_S for a, b in itertools.pairwise(old[1:])}
    assert gaps == {4}


def test_without_new_points_nothing_goes():
    points = [Mark(n, n * 60 * NS) for n in range(1, 10)]
    years_later = 10**6 * DAY_S * NS
    assert keep(points, years_later, Retention(3600)) == points


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([Thinning(10, 5), Thinning(10, 10)], "higher age"),
        ([Thinning(10, 5), Thinning(20, 7)], "multiple"),
        ([Thinning(10, 5), Thinning(20, 5)], "multiple"),
        ([Thinning(-1, 5)], "positive"),
        ([Thinning(1, 0)], "positive"),
    ],
)
def test_schedules_that_cannot_work(steps, problem):
    assert problem in thinning_problem(steps)


def test_the_standard_schedule_is_possible():
    assert thinning_problem(STANDARD_THINNING) is None


def test_a_policy_survives_the_wire():
    policy = Retention(3600.0, STEPS)
    assert Retention.from_json(policy.to_json()) == policy
    assert Retention.from_json({"retention_s": 60}).thinning == STANDARD_THINNING


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=30))
def test_coverage_names_every_byte_once(ranges):
    coverage, seen = Coverage(), set()
    for start, length in ranges:
        new = coverage.add(start, start + length)
        fresh = {byte for low, high in new for byte in range(low, high)}
        assert fresh == set(range(start, start + length)) - seen
        assert sum(high - low for low, high in new) == len(fresh)
        seen |= fresh


def test_runs_never_cross_a_point():
    assert runs([1, 2, 3, 4, 5, 6], [2, 4, 6]) == [[3, 4], [5, 6]]
    assert runs([3, 5, 7], [2, 7]) == [[3, 5, 7]]
    assert runs([3, 4, 5], [2, 3, 4, 5]) == []
    assert runs([3, 4], [2]) == []
