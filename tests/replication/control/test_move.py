"""Moving a machine to another process server: order, failures, and the way back."""

from __future__ import annotations

import pytest
from control_stand_ins import SETTINGS

from lab.stacks.errors import InvalidRequest, OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState

PS2 = {"name": "ps2", "address": "10.10.0.22"}


@pytest.fixture
def world(world):
    world.protected()
    world.new_server = world.add("process-server", "ps2")
    world.process_server.answers["drain"] = lambda _: {"last_sequence": 7}
    world.new_server.answers["drain"] = lambda _: {"last_sequence": 9}
    return world


@pytest.mark.requirement("V2A-PS-SCALE")
def test_the_stream_goes_on_at_the_new_process_server(world):
    stream = world.stream()
    job = world.do("move", process_server=PS2)
    assert [step.name for step in job.steps] == [
        "drain-old-process-server",
        "open-stream-at-master-target",
        "open-stream-at-new-process-server",
        "start-replication",
        "close-stream-at-old-process-server",
    ]
    assert world.process_server.names()[-3:] == ["seal-stream", "drain", "close-stream"]
    assert world.master_target.last("open-stream")["process_server"] == "ps2"
    assert world.master_target.last("open-stream")["fresh"] is False
    assert world.new_server.last("open-stream")["first"] == 8
    assert world.agent.last("start-replication")["process_server"]["address"] == "10.10.0.22"
    assert (world.stream(), world.stack.machine("app1").state) == (stream, MachineState.PROTECTED)
    world.do("failover")
    assert "drain" in world.new_server.names()


def test_a_new_process_server_that_does_not_answer_changes_nothing(world):
    world.new_server.answers["open-stream"] = lambda _: (_ for _ in ()).throw(OSError("no space"))
    with pytest.raises(JobFailed):
        world.do("move", process_server=PS2)
    assert world.process_server.names()[-1] == "open-stream"
    assert world.master_target.last("open-stream")["process_server"] == "ps1"
    assert len(world.agent.told("start-replication")) == 1
    del world.new_server.answers["open-stream"]
    world.do("move", process_server=PS2)
    assert world.agent.last("start-replication")["process_server"]["name"] == "ps2"


def test_an_agent_that_did_not_hear_of_it_can_be_told_again_or_sent_back(world):
    world.agent.answers["start-replication"] = lambda _: (_ for _ in ()).throw(OSError("busy"))
    with pytest.raises(JobFailed):
        world.do("move", process_server=PS2)
    del world.agent.answers["start-replication"]
    job = world.do("move", process_server=SETTINGS["process_server"])
    assert [step.name for step in job.steps] == ["give-back", "start-replication"]
    assert world.master_target.last("open-stream")["process_server"] == "ps1"
    assert world.agent.last("start-replication")["process_server"]["name"] == "ps1"
    assert "moving_from" not in world.stack.machine("app1").attributes


def test_what_cannot_be_moved_is_refused(world):
    with pytest.raises(InvalidRequest):
        world.do("move")
    with pytest.raises(InvalidRequest):
        world.do("move", process_server={"name": "ps2", "address": "nowhere"})
    with pytest.raises(OperationRefused) as refused:
        world.do("move", process_server="ps9")
    assert refused.value.reason == "not-ready"
    required = {"reason": "changes were lost"}
    world.agent.client.event("resynchronisation-required", required, machine="app1", stream=world.stream())
    with pytest.raises(OperationRefused):
        world.do("move", process_server=PS2)
    assert "seal-stream" not in world.process_server.names()
