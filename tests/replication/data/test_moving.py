"""A stream moves from one process server to another while its machine writes, with the real services."""

from __future__ import annotations

import time

import pytest
from stack import AGENT, MIB, MT, PS, PS2, Stack
from test_end_to_end import Scribbler, finish_and_check


@pytest.fixture
def running(tmp_path, authority, control):
    stack = Stack(tmp_path, authority, control)
    stack.create([4 * MIB], b"start" * 100_000)
    stack.start(MT, PS, PS2, AGENT)
    stack.open_stream()
    stack.replicate()
    stack.control.wait_event("recovery-point", 2)
    yield stack
    stack.close()


def move(stack, old: str, new: str, *, restart: str | None = None) -> None:
    """Do what the configuration server does; ``restart`` is killed and started again in the middle."""
    stack.control.value(old, "seal-stream", stream=stack.stream)
    if restart is not None:
        stack.kill(restart)
        time.sleep(1)  # the machine goes on writing, the agent goes on trying
        stack.start(restart)
    last = stack.control.value(old, "drain", stream=stack.stream)["last_sequence"]
    stack.open_at_master_target(fresh=False, process_server=new[-3:])
    stack.open_at_process_server(new, first=last + 1)
    stack.replicate(over=new)
    stack.control.value(old, "close-stream", stream=stack.stream)


@pytest.mark.requirement("V2A-PS-SCALE")
@pytest.mark.parametrize("restart", [None, PS, AGENT])
def test_no_recovery_point_is_lost_and_nothing_is_resynchronised(running, restart):
    with Scribbler(running):
        move(running, PS, PS2, restart=restart)
        running.control.wait_event("recovery-point", len(running.points()) + 3)
    finish_and_check(running)
    assert not running.control.of("resynchronisation-required")
    numbers = sorted(point["sequence"] for point in running.points())
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "the series has a gap"


def test_there_and_back_again(running):
    with Scribbler(running):
        move(running, PS, PS2)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
        move(running, PS2, PS)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
    finish_and_check(running)
    assert not running.control.of("resynchronisation-required")


def test_a_move_that_is_given_up_goes_on_where_it_was(running):
    with Scribbler(running):
        running.control.value(PS, "seal-stream", stream=running.stream)
        before = len(running.points())
        running.cut()
        time.sleep(2)
        assert len(running.points()) <= before + 2, "a sealed stream takes in nothing new"
        running.open_at_process_server(PS)
        running.control.wait_event("recovery-point", before + 4)
    finish_and_check(running)
    assert not running.control.of("resynchronisation-required")


def test_an_earlier_stay_does_not_count(running):
    """A stream that could not be closed comes back: it begins where it is now, not where it was."""
    with Scribbler(running):
        running.control.value(PS, "seal-stream", stream=running.stream)
        last = running.control.value(PS, "drain", stream=running.stream)["last_sequence"]
        running.open_at_master_target(fresh=False, process_server="ps2")
        running.open_at_process_server(PS2, first=last + 1)
        running.replicate(over=PS2)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
        move(running, PS2, PS)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
    finish_and_check(running)
    assert not running.control.of("resynchronisation-required")
