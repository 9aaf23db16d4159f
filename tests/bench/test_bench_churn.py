"""Rows of churn, which rates are tried, and the writer that makes it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.bench import scribble as tool
from lab.bench.churn_steps import FINEST, RATE, Step, beside, next_rate, rows
from lab.bench.scribble import BLOCK, MOST_BLOCKS, fill, scribble
from lab.errors import LabError

YOUNG = {"app1": [8.0, 12.0] * 50, "app2": [9.0, 11.0] * 50}
OLD = {"app1": [40.0] * 100}
MOST = 10


def named(*steps: Step):
    return {row.name: row for row in rows(steps)}


def step(rate: float, *, holds: bool) -> Step:
    return Step(rate, rate, YOUNG if holds else OLD)


def test_points_that_stay_young_meet_the_goals() -> None:
    assert all(row.met for row in named(step(RATE, holds=True)).values())


def test_a_backlog_that_grows_is_found() -> None:
    found = named(Step(RATE, RATE, {"app1": [10 + n * 0.15 for n in range(100)], "app2": [10.0] * 100}))
    assert not found["churn-rpo-growth"].met
    assert found["churn-rpo-p99"].met
    assert found["churn-sustained"].ours == 0


def test_old_points_are_found() -> None:
    assert not named(step(RATE, holds=False))["churn-rpo-p99"].met


def test_a_machine_that_wrote_too_little_proves_nothing() -> None:
    assert not named(Step(RATE, 3e6, YOUNG))["churn-rate"].met


def test_what_was_ended_early_does_not_hold() -> None:
    found = named(Step(RATE, RATE, YOUNG, "app1 is resynchronising"), step(2e6, holds=True))
    assert found["churn-sustained"].ours == 2
    assert not found["churn-sustained"].met


def test_the_largest_rates_that_held_are_set_beside_each_other() -> None:
    row = beside([step(RATE, holds=False), step(2e6, holds=True)], [step(4e6, holds=True)])
    assert (row.name, row.ours, row.peer, row.ratio, row.goal) == ("churn-drbd", 2, 4, 0.5, None)
    assert "12.0 s behind at most" in row.note


def test_a_stack_that_follows_at_no_rate_has_nothing_of_drbds() -> None:
    row = beside([step(RATE, holds=False)], [step(4e6, holds=True)])
    assert (row.ours, row.ratio) == (0, 0)


def test_drbd_that_follows_at_no_rate_is_no_peer() -> None:
    with pytest.raises(LabError, match="DRBD followed at no rate"):
        beside([step(RATE, holds=True)], [step(RATE, holds=False)])


@given(limit=st.floats(0, 2 * RATE))
def test_the_search_ends_near_the_largest_rate_that_holds(limit: float) -> None:
    steps: list[Step] = []
    while (rate := next_rate(steps, MOST)) is not None:
        assert rate not in [other.asked for other in steps]
        steps.append(step(rate, holds=rate <= limit))
    sustained = max((each.asked for each in steps if each.holds), default=0.0)
    assert sustained <= limit
    assert sustained == RATE or sustained > limit - FINEST * RATE


def test_the_search_takes_no_more_steps_than_it_may() -> None:
    assert next_rate([step(RATE, holds=False)] * 3, 3) is None


def test_filling_covers_the_file_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fill(str(path), (MOST_BLOCKS + 1) * BLOCK)
    assert path.stat().st_size == (MOST_BLOCKS + 1) * BLOCK
    assert any(path.read_bytes()[-BLOCK:])


def test_the_writer_keeps_its_rate_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fill(str(path), 64 * BLOCK)
    before = path.read_bytes()
    written, seconds = scribble(str(path), 1e6, 0.5, threading.Event())
    assert path.stat().st_size == 64 * BLOCK
    assert path.read_bytes() != before
    assert seconds >= 0.5
    assert written % BLOCK == 0
    assert 0 < written <= 1e6 * seconds + MOST_BLOCKS * BLOCK


def test_the_writer_ends_when_nobody_holds_its_input(tmp_path: Path) -> None:
    path = tmp_path / "file"
    fill(str(path), 64 * BLOCK)
    words = [sys.executable, tool.__file__, "write", str(path), "1e6", "300"]
    done = subprocess.run(words, input="", capture_output=True, text=True, timeout=60, check=True)
    written, seconds = done.stdout.split()
    assert int(written) >= 0
    assert float(seconds) < 60
