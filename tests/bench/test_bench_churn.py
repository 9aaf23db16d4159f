"""Rows of churn, and the writer that makes it."""

from __future__ import annotations

from pathlib import Path

from lab.bench.churn import rows
from lab.bench.scribble import BLOCK, scribble


def named(ages: dict[str, list[float]], written: float = 5e6):
    return {row.name: row for row in rows(ages, written)}


def test_points_that_stay_young_meet_the_goals() -> None:
    found = named({"app1": [8.0, 12.0] * 50, "app2": [9.0, 11.0] * 50})
    assert all(row.met for row in found.values())


def test_a_backlog_that_grows_is_found() -> None:
    found = named({"app1": [10 + n * 0.2 for n in range(100)], "app2": [10.0] * 100})
    assert not found["churn-rpo-growth"].met
    assert found["churn-rpo-p99"].met


def test_old_points_are_found() -> None:
    assert not named({"app1": [40.0] * 100})["churn-rpo-p99"].met


def test_a_machine_that_wrote_too_little_proves_nothing() -> None:
    assert not named({"app1": [10.0] * 100}, written=3e6)["churn-rate"].met


def test_the_writer_keeps_its_rate_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    written = scribble(str(path), 64 * BLOCK, 1e6, 0.5)
    assert path.stat().st_size == 64 * BLOCK
    assert written % BLOCK == 0
    assert 0 < written < 2e6, "a margin for a busy machine"
