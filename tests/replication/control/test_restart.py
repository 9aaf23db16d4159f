"""A configuration server that dies in the middle of a job tells about it when it is back."""

from __future__ import annotations

import threading

from lab.stacks.jobs import JobState
from lab.stacks.machines import MachineState


def interrupt(world, operation: str, target, command: str) -> str:
    """Start an operation, kill the server while ``command`` is being executed, and return the job's id."""
    reached, go_on = threading.Event(), threading.Event()

    def slow(_):
        reached.set()
        go_on.wait(20)
        return {"applied": world.applied}

    target.answers[command] = slow
    job = world.stack.start("app1", operation)
    assert reached.wait(10)
    world.restart_server()
    target.answers[command] = lambda _: {"applied": world.applied}
    go_on.set()
    return job


def test_enabling_is_interrupted_and_can_be_started_again(world):
    world.add_components()
    world.configure()
    job = interrupt(world, "enable", world.master_target, "open-stream")
    found = world.stack.job(job)
    assert found.state is JobState.INTERRUPTED
    assert found.error.type == "interrupted"
    assert [step.state for step in found.steps] == ["done", "interrupted"]
    assert world.stack.machine("app1").state is MachineState.ENABLING_FAILED
    world.do("enable")
    world.finish_copy(world.master_target)
    world.wait(MachineState.PROTECTED)


def test_failover_is_interrupted_and_can_be_started_again(world):
    world.protected()
    interrupt(world, "failover", world.master_target, "copy-barrier")
    assert world.stack.machine("app1").state is MachineState.FAILOVER_FAILED
    world.do("failover")
    assert world.stack.machine("app1").state is MachineState.COMMIT_PENDING


def test_an_interrupted_test_failover_can_be_cleaned_up_and_does_not_count(world):
    world.protected()
    interrupt(world, "test-failover", world.master_target, "copy-barrier")
    status = world.stack.machine("app1")
    assert (status.state, status.test_failover) == (MachineState.PROTECTED, "failed")
    world.do("cleanup-test-failover")
    assert world.stack.machine("app1").test_failover is None


def test_points_and_events_survive(world):
    world.protected()
    events = world.stack.events(0)
    world.restart_server()
    assert list(world.stack.events(0))[: len(events)] == list(events)
    assert world.stack.machine("app1").state is MachineState.PROTECTED
    assert len(world.stack.recovery_points("app1")) == 1
