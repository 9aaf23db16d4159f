"""A protected disk grows: the agent says so, waits for a larger replica, and compares everything once."""

from __future__ import annotations

import os
import time

import pytest
from stack import AGENT, MIB, MT, PS, Stack

SMALL, LARGE = 3 * MIB + 512, 5 * MIB


@pytest.fixture
def stack(tmp_path, authority, control):
    built = Stack(tmp_path, authority, control)
    yield built
    built.close()


@pytest.fixture
def running(stack):
    stack.create([6 * MIB, SMALL], b"start" * 100_000)
    stack.start(MT, PS, AGENT)
    stack.open_stream()
    stack.replicate(sized=True)
    stack.control.wait_event("recovery-point", 2)
    return stack


def grow(stack) -> None:
    with stack.disks.suspended():
        os.truncate(stack.disks.image(1), LARGE)


def grow_replica(stack) -> None:
    """What the configuration server does: the replica first, then its stream, then the agent."""
    os.truncate(stack.replica(1), LARGE)
    stack.open_at_master_target(process_server="ps1")
    stack.replicate(sized=True)


def test_a_disk_that_has_grown_is_reported_with_its_cause_and_nothing_is_sent(running):
    before = running.points()
    grow(running)
    required = running.control.wait_event("resynchronisation-required")[-1]["data"]
    assert required["cause"] == "disk-resized"
    assert f"disk 1 has grown from {SMALL} to {LARGE} bytes" in required["reason"]
    reported = running.control.wait_event("disks-grown")
    assert [event["data"] for event in reported] == [{"disks": [{"index": 1, "size": LARGE}]}]
    refused = running.control.order(AGENT, "cut", stream=running.stream)
    assert (refused["ok"], refused["error"]["type"]) == (False, "not-replicating-yet")
    assert len(running.points()) <= len(before) + 1
    assert not running.control.of("resynchronisation-complete")


@pytest.mark.parametrize("restarted", [False, True])
def test_points_from_before_and_after_are_right(running, restarted):
    before = running.points()[-1]
    grow(running)
    running.control.wait_event("disks-grown")
    if restarted:
        running.kill(AGENT)
        running.start(AGENT)
        running.control.wait_event("disks-grown", 2)
    grow_replica(running)
    running.control.wait_event("resynchronisation-complete")
    running.disks.write(1, LARGE - 4096, b"behind the old end".ljust(4096, b"."))
    after = running.cut()
    running.wait_point(after)
    points = {point["recovery_point"]: point for point in running.points()}
    running.check_point(points[after["recovery_point"]])
    roll(running, before["recovery_point"])
    old = running.disks.oracle(before["cut"]["begin_ns"], 1)
    rolled = (running.replicas / "clone-1").read_bytes()
    assert rolled[:SMALL] == old
    assert rolled[SMALL:] == bytes(LARGE - SMALL), "what was added shows through in a point from before"


def roll(stack, point: str) -> None:
    stack.control.value(MT, "copy-barrier", stream=stack.stream, hold=True)
    for index in range(2):
        (stack.replicas / f"clone-{index}").write_bytes(stack.replica(index).read_bytes())
    stack.control.value(MT, "copy-barrier", stream=stack.stream, hold=False)
    clones = [{"index": index, "serial": f"clone-{index}"} for index in range(2)]
    stack.control.value(MT, "roll", stream=stack.stream, recovery_point=point, disks=clones)


def test_an_agent_that_was_told_no_sizes_looks_at_none(stack):
    stack.create([6 * MIB, SMALL], b"start" * 100_000)
    stack.start(MT, PS, AGENT)
    stack.open_stream()
    stack.replicate()
    stack.control.wait_event("recovery-point", 1)
    grow(stack)
    stack.control.wait_event("recovery-point", 3)
    assert not stack.control.of("disks-grown")


def test_a_disk_that_grew_before_its_first_copy_is_copied_once_there_is_room(stack):
    stack.create([6 * MIB, SMALL], b"start" * 100_000)
    stack.start(MT, PS, AGENT)
    stack.open_stream()
    sizes = [{"index": 0, "size": 6 * MIB}, {"index": 1, "size": SMALL}]
    grow(stack)
    stack.disks.write(1, LARGE - 512, b"behind the old end".ljust(512, b"."))
    stack.replicate(disks=sizes)
    stack.control.wait_event("disks-grown")
    time.sleep(2)  # long enough for a copy, if one was made
    assert stack.control.value(PS, "drain", stream=stack.stream)["last_sequence"] == 0, "something was sent"
    assert not stack.control.of("initial-replication-complete")
    grow_replica(stack)
    stack.control.wait_event("initial-replication-complete")
    last = stack.cut()
    stack.wait_point(last)
    stack.check_point(next(point for point in stack.points() if point["recovery_point"] == last["recovery_point"]))
