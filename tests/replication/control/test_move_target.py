"""Moving a machine to another master target: order, failures, and the way back."""

from __future__ import annotations

import pytest
from control_stand_ins import SETTINGS

from lab.hypervisors.model import DiskId, MachineSpec
from lab.stacks.errors import InvalidRequest, OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState

MT2 = {"name": "mt2", "address": "10.30.0.32"}
HANDOVER = DiskId("app1-handover-replica-copy")
REPLICAS = {"app1-system-replica", "app1-data-replica"}


@pytest.fixture
def world(world):
    world.protected()
    prepare(world)
    return world


def prepare(world) -> None:
    world.hosts["recovery"].define(MachineSpec("mt2", 1, 512, (), (), None))
    world.new_target = world.add("master-target", "mt2")
    for target in (world.master_target, world.new_target):
        target.answers["hand-over-size"] = lambda _: {"bytes": 5000}
        target.answers["hand-over"] = lambda _: {"length": 4000, "sha256": "0" * 64}
        target.answers["copy-barrier"] = lambda _: {"applied": world.applied}
    world.process_server.answers["drain"] = lambda _: {"last_sequence": 7}


def disks_of(world, machine: str) -> set[str]:
    return {item.disk.name for item in world.hosts["recovery"].machine(machine).disks}


def fails(_):
    raise OSError("no space")


def test_points_first_then_disks_then_the_stream(world):
    stream, points = world.stream(), world.stack.recovery_points("app1")
    job = world.do("move", master_target=MT2)
    assert [step.name for step in job.steps] == [
        "drain",
        "hand-over-recovery-points",
        "move-replica-disks",
        "open-stream-at-new-master-target",
        "open-stream-at-process-server",
        "close-stream-at-old-master-target",
    ]
    assert world.process_server.names()[-3:] == ["seal-stream", "drain", "open-stream"]
    assert world.process_server.last("open-stream")["master_target"]["address"] == "10.30.0.32"
    told = world.new_target.last("take-over")
    assert (told["first"], told["length"], told["sha256"]) == (8, 4000, "0" * 64)
    assert told["serial"] == world.master_target.last("hand-over")["serial"]
    assert world.new_target.last("open-stream")["fresh"] is False
    assert world.master_target.names()[-1] == "close-stream"
    assert (disks_of(world, "mt1"), disks_of(world, "mt2")) == (set(), REPLICAS)
    assert HANDOVER not in {disk.id for disk in world.hosts["recovery"].disks()}
    assert len(world.agent.told("start-replication")) == 1, "the agent does not notice"
    status = world.stack.machine("app1")
    assert (status.state, world.stream()) == (MachineState.PROTECTED, stream)
    assert world.stack.recovery_points("app1") == points
    assert not {"moving_target_from", "left_master_target"} & set(status.attributes)
    world.point(world.new_target, 8)
    world.do("failover")
    assert "copy-barrier" in world.new_target.names()


@pytest.mark.parametrize("command", ["take-over", "open-stream"])
def test_a_new_master_target_that_fails_changes_nothing(world, command):
    world.new_target.answers[command] = fails
    with pytest.raises(JobFailed):
        world.do("move", master_target=MT2)
    assert (disks_of(world, "mt1") & REPLICAS, disks_of(world, "mt2") & REPLICAS) == (REPLICAS, set())
    assert world.master_target.last("open-stream")["fresh"] is False
    assert "close-stream" not in world.master_target.names()
    assert world.process_server.last("open-stream")["master_target"]["name"] == "mt1"
    assert "moving_target_from" not in world.stack.machine("app1").attributes
    world.point(world.master_target, 8)
    del world.new_target.answers[command]
    world.do("move", master_target=MT2)
    assert disks_of(world, "mt2") == REPLICAS


def test_once_the_new_one_has_the_stream_there_is_only_the_way_forward(world):
    world.process_server.answers["open-stream"] = fails
    with pytest.raises(JobFailed):
        world.do("move", master_target=MT2)
    assert disks_of(world, "mt2") == REPLICAS
    assert "close-stream" not in world.new_target.names()
    del world.process_server.answers["open-stream"]
    job = world.do("move", master_target=MT2)
    assert [step.name for step in job.steps] == ["open-stream-at-process-server", "close-stream-at-old-master-target"]
    assert world.process_server.last("open-stream")["master_target"]["name"] == "mt2"
    assert world.master_target.names()[-1] == "close-stream"
    assert not {"moving_target_from", "left_master_target"} & set(world.stack.machine("app1").attributes)


def test_who_cannot_give_back_either_can_be_sent_back_later(world):
    world.new_target.answers["take-over"] = fails
    world.master_target.answers["open-stream"] = fails
    with pytest.raises(JobFailed):
        world.do("move", master_target=MT2)
    assert world.stack.machine("app1").attributes["moving_target_from"]["name"] == "mt1"
    with pytest.raises(OperationRefused, match="not finished"):
        world.do("move", process_server={"name": "ps1", "address": "10.10.0.21"})
    del world.master_target.answers["open-stream"]
    world.do("move", master_target=SETTINGS["master_target"])
    assert disks_of(world, "mt1") >= REPLICAS
    assert "moving_target_from" not in world.stack.machine("app1").attributes
    assert world.process_server.names()[-1] == "open-stream"


def test_what_cannot_be_moved_is_refused(world):
    with pytest.raises(InvalidRequest, match="one server at a time"):
        world.do("move", master_target=MT2, process_server={"name": "ps2"})
    for wrong in ({"master_target": None}, {"master_target": MT2, "speed": 1}):
        with pytest.raises(InvalidRequest):
            world.do("move", **wrong)
    with pytest.raises(OperationRefused, match="not registered"):
        world.do("move", master_target={"name": "mt9"})
    assert "seal-stream" not in world.process_server.names()
