"""Rows: what is compared, when a goal is met, what the file says."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lab.bench.__main__ import NAMES, chosen_names
from lab.bench.record import Recorded, Run, as_json, joined, read_rows, this_run
from lab.bench.replication_rows import NAMES as OF_REPLICATION
from lab.bench.replication_rows import Turn, rows, wanted
from lab.bench.rows import (
    Row,
    beyond,
    close_to_limit,
    context,
    faster_than_peer,
    rate,
    share_of_limit,
    within,
)
from lab.bench.table import table
from lab.errors import BadInput

seconds = st.floats(0.001, 1e6)
turns = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=5)
KEYS = {"name", "unit", "ours", "peer", "limit", "ratio", "goal", "met", "n", "spread", "note", "run"}
RUN = Run("2026-11-30T03:00", "0.1.0", 2, "tcg", 1.5)


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


def test_every_data_set_has_a_row_for_each_peer_and_the_tightest_stage() -> None:
    stages = {"read": 5.0, "compress": 16.0, "encrypt": 2.0, "network": 1.0, "write": 3.0}
    turn = Turn(20, 30, {"dd": 30, "relay": 25, "rsync": 19, "drbd-wireguard": 40, "drbd": 15}, stages)
    found = {row.name.removeprefix("initial-replication-"): row for row in rows("random", [turn])}
    assert list(found) == [
        *("random-dd", "random-relay", "random-rsync", "random-drbd-wireguard", "random-drbd", "random-limit"),
        "random-until-protected",
    ]
    first = found["random-dd"]
    assert (first.ours, first.peer, first.limit, first.ratio, first.goal, first.met) == (20, 30, 16, 1.5, 1, True)
    relay = found["random-relay"]
    assert (relay.peer, relay.limit, relay.ratio, relay.goal, relay.met) == (25, 16, 1.25, 1, True)
    assert not found["random-rsync"].met
    plain = found["random-drbd"]
    assert (plain.peer, plain.limit, plain.ratio, plain.goal, plain.met) == (None, 15, 0.75, None, None)
    assert "neither encrypts nor compresses" in plain.note
    limit = found["random-limit"]
    assert (limit.limit, limit.ratio, limit.goal, limit.met) == (16, 0.8, 0.8, True)
    assert limit.note.startswith("compress 16.0 s, read 5.0 s")
    assert found["random-until-protected"].goal is None


def test_plain_drbd_is_to_be_matched_where_two_thirds_are_zeros() -> None:
    plain = next(row for row in rows("zeros", [Turn(20, 30, {"drbd": 15})]) if row.name.endswith("-drbd"))
    assert (plain.goal, plain.met) == (1, False)


def test_a_peer_that_failed_in_one_turn_is_compared_in_the_others() -> None:
    dd, *_, protected = rows("half", [Turn(20, 30, {"dd": 30}), Turn(10, 30)])
    assert (dd.n, dd.ratio, dd.limit) == (1, 1.5, None)
    assert (protected.n, protected.name) == (2, "initial-replication-half-until-protected")


def test_what_is_measured_follows_from_the_names() -> None:
    assert wanted(frozenset(OF_REPLICATION)).keys() == {"random", "half", "zeros"}
    assert wanted(chosen_names(["initial-replication-half"])) == {
        "half": ["limit", "dd", "relay", "rsync", "drbd-wireguard", "drbd"]
    }
    assert wanted(chosen_names(["initial-replication-random-relay"])) == {"random": ["relay"]}
    assert wanted(chosen_names(["initial-replication-zeros-drbd"])) == {"zeros": ["drbd"]}
    assert wanted(chosen_names(["churn"])) == {}


@pytest.mark.parametrize(
    "slip", ["initial", "initial-replication-", "initial-replication-random-drb", "lab", "over", ""]
)
def test_the_beginning_of_a_name_starts_nothing(slip: str) -> None:
    with pytest.raises(BadInput, match="there is no row"):
        chosen_names([slip])


def test_a_name_is_that_row_alone_and_a_group_all_of_its_rows() -> None:
    assert chosen_names(None) == set(NAMES)
    assert chosen_names(["churn"]) == {"churn"}
    assert chosen_names(["churn", "failover"]) == {"churn", "failover"}
    assert chosen_names(["initial-replication"]) == set(OF_REPLICATION)


@given(turns, st.none() | st.floats(0.1, 10))
def test_a_share_of_a_limit(pairs: list[tuple[float, float]], goal: float | None) -> None:
    row = share_of_limit("initial-replication-random-limit", "s", pairs, goal)
    assert row.limit is not None
    assert row.ours is not None
    assert row.ratio == row.limit / row.ours
    assert row.met == (None if goal is None else row.ratio >= goal)


def test_a_rate_counts_millions() -> None:
    assert rate(3_000_000, 2) == 1.5


def sample() -> list[Row]:
    return [
        close_to_limit("lab-up", "s", [(60, 50)], 1.25),
        context("rate", "MB/s", [(2, 1)]),
        within("m", "MiB", 9, 6),
    ]


def test_the_file_is_a_list_of_rows_with_exactly_these_keys() -> None:
    found = json.loads(as_json([Recorded(row, RUN) for row in sample()]))
    assert [set(row) for row in found] == [KEYS, KEYS, KEYS]
    assert [row["met"] for row in found] == [True, None, False]
    assert found[0]["peer"] is None


def test_each_row_says_when_and_on_what_it_was_measured(tmp_path: Path) -> None:
    run = this_run(tmp_path)
    assert run.acceleration in {"kvm", "tcg"}
    assert run.cores is not None
    assert run.cores >= 1
    assert run.load is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", run.at)


def test_rows_of_earlier_runs_stay_and_those_measured_again_are_replaced(tmp_path: Path) -> None:
    later = replace(RUN, at="2026-12-01T00:00")
    earlier = [Recorded(row, RUN) for row in sample()]
    path = tmp_path / "bench.json"
    path.write_text(as_json(joined(earlier, [Recorded(within("m", "MiB", 3, 6), later)])))
    found = {each.row.name: each for each in read_rows(path)}
    assert found.keys() == {"lab-up", "rate", "m"}
    assert (found["m"].row.ours, found["m"].run.at) == (3, later.at)
    assert found["rate"].run == RUN


@pytest.mark.parametrize("text", ["nothing", "[1]", '[{"run": {}}]', '[{"name": "x", "run": {"when": "today"}}]'])
def test_what_is_no_file_of_the_bench_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(BadInput, match="no rows of the bench"):
        read_rows(tmp_path / "x")


def test_rows_that_do_not_say_their_run_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('[{"name": "lab-up", "ours": 1}]')
    assert read_rows(tmp_path / "x") == []


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
    assert (
        "there is no row 'speed'; there are: lab-up, lab-up-virt-install, lab-up-warm, failover, churn" in done.stderr
    )
    assert done.stdout == ""
