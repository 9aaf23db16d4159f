"""What is asked of a configuration server that is killed after each of its commits, and how it is killed there."""

from __future__ import annotations

import functools
import gc
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from control_stand_ins import soon

from lab.replication.common import control
from lab.replication.common.backoff import Backoff
from lab.replication.configuration_server.states import State, allowed_operations
from lab.stacks.errors import StackError
from lab.stacks.jobs import JobState
from lab.waiting import Deadline, wait_until

# CPython leaks the socket when a peer dies between connect and handshake; here peers die all the time.
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MOST_COMMITS = 120
ON_THE_WAY = {
    State.ENABLING,
    State.FAILING_OVER,
    State.CHANGING_RECOVERY_POINT,
    State.FAILING_BACK,
    State.DISABLING,
}


@contextmanager
def mortal(world, monkeypatch) -> Iterator[None]:
    """Run the test in a world whose server is there, and whose components come back to it at once."""
    monkeypatch.setattr(control, "Backoff", functools.partial(Backoff, first=0.02, longest=0.1))
    try:
        awake(world)
        yield
    finally:
        world.close()
        gc.collect()  # so that what was leaked is found here, and not in somebody else's test


def awake(world) -> bool:
    """Wait until the server answers; return whether it does, because it may have died before."""

    def probe():
        if world.server.ending is not None:
            return "dead"
        try:
            world.stack.machines()
        except StackError:
            return None
        return "alive"

    return wait_until(probe, Deadline.after(20), "answer", every=0.02) == "alive"


def rows(world, query: str) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(world.config.database)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(query).fetchall()


def assert_legal(world) -> None:
    """Whatever was interrupted says so, and everything has a way on."""
    assert [row[0] for row in rows(world, "PRAGMA integrity_check")] == ["ok"]
    assert not rows(world, "PRAGMA foreign_key_check")
    # What the server starts by itself may be running again already.
    assert not rows(world, "SELECT id FROM jobs WHERE state = 'running' AND operation <> 'grow-disks'")
    steps = "SELECT operation FROM steps JOIN jobs ON jobs.id = job WHERE steps.state = 'running'"
    assert {row["operation"] for row in rows(world, steps)} <= {"grow-disks"}
    assert not rows(world, "SELECT id FROM plan_runs WHERE state = 'running'")
    assert not rows(world, "SELECT run FROM plan_steps WHERE state = 'running'")
    for row in rows(world, "SELECT * FROM machines"):
        state, test_machine = State(row["state"]), '"test_machine"' in row["attributes"]
        assert state not in ON_THE_WAY
        assert allowed_operations(state, test_machine=test_machine) or state is State.REPROTECTING
        # Each machine's own newest job: members of a group each have one.
        jobs = rows(world, "SELECT machine, state, failed_state FROM jobs ORDER BY id DESC")
        failed = next((job for job in jobs if job["machine"] == row["name"]), None)
        if failed is not None and failed["state"] == "interrupted" and not rows(world, "SELECT id FROM plan_runs"):
            assert state == failed["failed_state"]


def dead(world) -> bool:
    return world.server.ending is not None


def killed_at_every_commit(world, attempt) -> int:
    """Kill the server after its first, second, third ... commit until ``attempt`` gets to its end; return the kills.

    ``attempt`` asks for what is to be done, if it was not done already, and returns whether it has come to its end.
    """
    for lives in range(1, MOST_COMMITS):
        world.restart_server(lives)
        if not awake(world):
            # It died while it was still cleaning up after the last death: the next one has to manage.
            world.restart_server()
            assert awake(world)
            assert_legal(world)
            continue
        assert_legal(world)
        try:
            if attempt():
                break
        except StackError:
            pass
        wait_until(lambda: dead(world), Deadline.after(20), f"death after commit {lives}", every=0.02)
        assert world.server.ending == (-signal.SIGKILL, lives)
    else:
        pytest.fail(f"not done after {MOST_COMMITS} attempts")
    world.restart_server()
    assert awake(world)
    assert_legal(world)
    return lives - 1


def operation(world, name: str, reached: set[State], **arguments):
    """Return an attempt at an operation of app1; jobs that were interrupted are started again."""

    def done() -> bool:
        status = world.stack.machine("app1")
        last = [(job["operation"], job["state"]) for job in rows(world, "SELECT * FROM jobs ORDER BY id DESC LIMIT 1")]
        return status.state in reached and last == [(name, "succeeded")]

    def attempt() -> bool:
        if not done():
            if name == "test-failover" and world.stack.machine("app1").test_machine:
                world.do("cleanup-test-failover")  # what an interrupted test has left is removed before the next
            job = world.stack.start("app1", name, arguments)
            world.stack.wait_status("app1", lambda s: s.job is None or dead(world), "end", soon())
            assert world.stack.job(job).state is JobState.SUCCEEDED, world.stack.job(job)
        return done()

    return attempt
