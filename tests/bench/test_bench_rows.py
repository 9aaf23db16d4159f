"""Rows: what is compared, when a goal is met, what the file says."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.bench.replication import Turn, rows
from lab.bench.rows import Row, as_json, beyond, close_to_limit, context, faster_than_peer, rate, within
from lab.bench.table import table

seconds = st.floats(0.001, 1e6)
turns = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=5)
KEYS = {"name", "ours", "peer", "limit", "ratio", "goal", "met", "n", "spread"}


@given(turns, st.floats(0.1, 10))
def test_a_limit_may_be_missed_by_the_goal_at_most(pairs: list[tuple[float, float]], goal: float) -> None:
    row = close_to_limit("lab-up", "s", pairs, goal)
    assert row.limit is not None
    assert row.peer is None
    assert row.ratio == row.ours / row.limit
    assert row.met == (row.ratio <= goal)
    assert row.n == len(pairs)
    assert (row.spread is None) == (len(pairs) == 1)


@given(turns)
def test_a_peer_has_to_be_slower(pairs: list[tuple[float, float]]) -> None:
    row = faster_than_peer("initial-replication", "s", pairs)
    assert row.peer is not None
    assert row.limit is None
    assert row.ratio == row.peer / row.ours
    assert row.met == (row.ratio > 1)
    assert row.spread is None or row.spread >= 0


@given(seconds, seconds)
def test_an_absolute_goal(ours: float, goal: float) -> None:
    row = within("run-time", "s", ours, goal)
    assert row.ratio == ours / goal
    assert row.met == (row.ratio <= 1)
    assert (row.peer, row.limit, row.goal) == (None, None, goal)


@given(st.lists(seconds, min_size=1, max_size=5), seconds)
def test_a_rate_has_to_reach_an_absolute_goal(found: list[float], goal: float) -> None:
    row = beyond("esxi-emulator-reads", "1/s", found, goal)
    assert row.met == (row.ours >= goal)
    assert (row.peer, row.limit, row.goal, row.n) == (None, None, goal, len(found))
    assert (row.spread is None) == (len(found) == 1)


def test_turns_are_summed_up_by_median_and_spread() -> None:
    row = close_to_limit("lab-up", "s", [(10, 10), (30, 20), (12, 10)], 1.25)
    assert (row.ours, row.limit, row.ratio, row.met) == (12, 10, 1.2, True)
    assert row.spread == pytest.approx(0.5)


@pytest.mark.parametrize("pairs", [[], [(1.0, 0.0)], [(0.0, 1.0)]])
def test_what_was_not_measured_makes_no_row(pairs: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        close_to_limit("lab-up", "s", pairs, 1.25)


def test_replication_gives_one_goal_and_two_rows_of_context() -> None:
    first, speeds, protected = rows([Turn(peer=60, copied=20, protected=30)], 1_500_000_000)
    assert (first.name, first.ratio, first.goal, first.met) == ("initial-replication", 3, 1, True)
    assert (speeds.ours, speeds.peer, speeds.ratio) == (75, 25, 3)
    assert (protected.ours, protected.ratio, protected.goal, protected.met) == (30, 0.5, None, None)


def test_a_rate_counts_millions() -> None:
    assert rate(3_000_000, 2) == 1.5


def sample() -> list[Row]:
    return [
        close_to_limit("lab-up", "s", [(60, 50)], 1.25),
        context("rate", "MB/s", [(2, 1)]),
        within("m", "MiB", 9, 6),
    ]


def test_the_file_is_a_list_of_rows_with_exactly_these_keys() -> None:
    found = json.loads(as_json(sample()))
    assert [set(row) for row in found] == [KEYS, KEYS, KEYS]
    assert [row["met"] for row in found] == [True, None, False]
    assert found[0]["peer"] is None


def test_the_table_shows_every_row() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table(sample()))
    lines = capture.get().splitlines()
    assert len(lines) == 4
    assert lines[1].split() == ["lab-up", "s", "60.0", "50.0", "1.200", "1.25", "yes", "1"]
    assert lines[3].split() == ["m", "MiB", "9.0", "1.500", "6", "no", "1"]


def test_an_unknown_row_is_refused_before_anything_is_touched() -> None:
    command = [sys.executable, "-m", "lab.bench", "--only", "speed"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "there is no row 'speed'; there are: lab-up, lab-up-warm, initial-replication" in done.stderr
    assert done.stdout == ""
