"""Rows of churn, which rates are tried, and the writer that makes it."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.bench import churn_mirror
from lab.bench import scribble as tool
from lab.bench.asked import Asked, Problems
from lab.bench.churn import is_calm
from lab.bench.churn_mirror import Marked
from lab.bench.churn_steps import FINEST, RATE, Step, beside, next_rate, rows
from lab.bench.rows import Row
from lab.bench.scribble import BLOCK, MOST_BLOCKS, fill, scribble
from lab.errors import LabError
from lab.stacks.machines import Health, MachineState, MachineStatus

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


def test_a_writer_that_is_a_little_slower_than_asked_for_holds_the_rate() -> None:
    assert named(Step(RATE, 0.99 * RATE, YOUNG))["churn-sustained"].met


@pytest.mark.parametrize(
    ("state", "age", "waited", "calm"),
    [
        (MachineState.PROTECTED, 5.0, 6.0, True),
        (MachineState.PROTECTED, 5.0, 4.0, False),
        (MachineState.PROTECTED, 23.0, 60.0, False),
        (MachineState.FAILED_OVER, 5.0, 6.0, False),
        (MachineState.PROTECTED, None, 60.0, False),
    ],
)
def test_calm_is_a_young_point_of_a_moment_after_the_last_write(
    state: MachineState, age: float | None, waited: float, *, calm: bool
) -> None:
    status = MachineStatus("app1", state, Health("healthy"), (), age, 1, None, False, None, None, None)
    assert is_calm(status, 22.5, waited) is calm


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


def test_drbd_writes_when_nothing_is_protected_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextmanager
    def there(what: str):
        told.append(what)
        yield
        told.append(f"{what} gone")

    def marked(lab: object, name: str, minor: int) -> Marked:
        ssh = SimpleNamespace(machine=name)
        end = SimpleNamespace(ssh=ssh)
        return Marked(SimpleNamespace(source=end, device=f"drbd{minor}", name=name), 100 << 20)

    monkeypatch.setattr(churn_mirror, "_marked", marked)
    monkeypatch.setattr(churn_mirror, "churn", lambda lab, board: told.append("ours") or [step(RATE, holds=True)])
    monkeypatch.setattr(churn_mirror, "deployed", lambda lab, board: nullcontext())
    monkeypatch.setattr(churn_mirror, "end_protection", lambda stack, name: told.append(f"{name} unprotected"))
    monkeypatch.setattr(churn_mirror, "connected", lambda mirror, protocol: there(f"{mirror.name} {protocol}"))
    monkeypatch.setattr(churn_mirror, "mounted", lambda ssh, device, folder: there(f"{device} mounted"))
    monkeypatch.setattr(churn_mirror, "promote", lambda mirror: told.append(f"{mirror.name} promoted"))
    monkeypatch.setattr(churn_mirror, "wait_whole", lambda mirror: told.append(f"{mirror.name} whole"))
    monkeypatch.setattr(
        churn_mirror, "format_device", lambda ssh, device, blocks: told.append(f"{device} of {blocks} formatted")
    )
    monkeypatch.setattr(churn_mirror, "fill", lambda lab, name, file, board: told.append(f"{name} filled"))
    monkeypatch.setattr(
        churn_mirror, "step_of", lambda *words: told.append(f"at {words[2]:g}") or step(4e6, holds=True)
    )
    found: list[Row] = []
    lab = SimpleNamespace(topology=SimpleNamespace(stack=SimpleNamespace(protect={"app1": None, "app2": None})))
    board = SimpleNamespace(step=lambda subject, step: None)
    asked = Asked(frozenset({"churn-drbd"}), 1, found.extend, Problems(board))
    churn_mirror.churn_rows(lab, asked)
    assert [row.name for row in found][-2:] == ["churn-sustained", "churn-drbd"]
    blocks = (99 << 20) // 4096
    assert told == [
        *("ours", "app1 unprotected", "app2 unprotected"),
        *("app1 A", "app1 promoted", "app2 A", "app2 promoted"),
        *("app1 whole", f"drbd0 of {blocks} formatted", "drbd0 mounted", "app1 filled"),
        *("app2 whole", f"drbd1 of {blocks} formatted", "drbd1 mounted", "app2 filled"),
        "at 5e+06",
        *("drbd1 mounted gone", "drbd0 mounted gone", "app2 A gone", "app1 A gone"),
    ]
