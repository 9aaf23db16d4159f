"""Scripts that quiet applications, and the pace of cuts."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.common.control import CommandFailed
from lab.replication.mobility.hooks import hooks_in, quiet
from lab.replication.mobility.schedule import Schedule


def hook(folder: Path, name: str, body: str, mode: int = 0o755) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "{name} $1" >>{folder}/../said\n{body}\n')
    (folder / name).chmod(mode)


def said(folder: Path) -> list[str]:
    path = folder.parent / "said"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "hooks"


def test_scripts_freeze_in_order_and_thaw_in_the_other(folder: Path) -> None:
    hook(folder, "10-database", "")
    hook(folder, "20-queue", "")
    with quiet(folder):
        assert said(folder) == ["10-database freeze", "20-queue freeze"]
    assert said(folder)[2:] == ["20-queue thaw", "10-database thaw"]


def test_a_script_that_fails_ends_the_attempt_and_all_are_thawed(folder: Path) -> None:
    hook(folder, "10-database", "")
    hook(folder, "20-queue", '[ "$1" = thaw ] || { echo "queue is stuck" >&2; exit 3; }')
    with pytest.raises(CommandFailed, match="queue is stuck"), quiet(folder):
        pytest.fail("the block must not run")
    assert said(folder) == ["10-database freeze", "20-queue freeze", "20-queue thaw", "10-database thaw"]


def test_applications_are_thawed_when_the_cut_fails(folder: Path) -> None:
    hook(folder, "10-database", "")
    with pytest.raises(OSError, match="no cut"), quiet(folder):
        raise OSError("no cut")
    assert said(folder)[-1] == "10-database thaw"


def test_without_scripts_no_point_is_called_application_consistent(folder: Path) -> None:
    with pytest.raises(CommandFailed, match="no script"), quiet(folder):
        pytest.fail("the block must not run")


def test_only_executable_files_are_scripts(folder: Path) -> None:
    hook(folder, "10-database", "")
    hook(folder, "notes", "", mode=0o644)
    (folder / "folder").mkdir()
    assert [path.name for path in hooks_in(folder)] == ["10-database"]


@given(interval=st.floats(0.1, 1e4), elapsed=st.floats(0, 1e5), group=st.booleans())
def test_a_cut_is_due_after_an_interval_and_a_member_has_more_patience(
    interval: float, elapsed: float, group: bool
) -> None:
    schedule = Schedule.starting(100.0, interval, None, group=group)
    due = schedule.wait_s(100.0 + elapsed) == 0
    assert due == (100.0 + interval * (2 if group else 1) - (100.0 + elapsed) <= 0)
    schedule.note(100.0 + elapsed)
    assert schedule.wait_s(100.0 + elapsed) > 0
    assert not schedule.application_due(1e9)


def test_a_cut_that_was_noted_meanwhile_puts_the_next_one_off() -> None:
    begin = time.monotonic()
    schedule = Schedule.starting(begin, 0.2, None, group=False)
    timer = threading.Timer(0.1, lambda: schedule.note(time.monotonic()))
    timer.start()
    assert schedule.wait_due(threading.Event())
    timer.join()
    assert time.monotonic() - begin >= 0.29


def test_a_cut_can_be_due_before_its_time() -> None:
    schedule = Schedule.starting(time.monotonic(), 60.0, None, group=False)
    answers = iter([False, True])
    begin = time.monotonic()
    assert schedule.wait_due(threading.Event(), lambda: next(answers))
    assert time.monotonic() - begin < 30
    assert not list(answers), "it is asked until it says yes"


def test_waiting_ends_when_it_is_told_to() -> None:
    stop = threading.Event()
    stop.set()
    assert not Schedule.starting(time.monotonic(), 60.0, None, group=False).wait_due(stop)
    assert not Schedule.starting(time.monotonic() - 61, 60.0, None, group=False).wait_due(stop)


def test_applications_have_a_pace_of_their_own() -> None:
    schedule = Schedule.starting(0.0, 10.0, 60.0, group=False)
    assert not schedule.application_due(59.0)
    assert schedule.application_due(60.0)
    schedule.note(60.0, application=True)
    assert not schedule.application_due(119.0)
    schedule.note(70.0)
    assert schedule.application_due(120.0)
