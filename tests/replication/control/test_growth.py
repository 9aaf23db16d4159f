"""A disk that has grown: its replica grows by itself, and the agent is told when it may go on."""

from __future__ import annotations

import pytest
from control_stand_ins import DISKS, MIB, soon
from test_access import call, component_identity

from lab.hypervisors.model import DiskId
from lab.replication.common.control import ControlRefused
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState

LARGER = 512 * MIB
REPLICA = DiskId("app1-data-replica")
CAUSE = {"reason": "disk 1 has grown", "cause": "disk-resized"}


def grown(world, size: int = LARGER, index: int = 1, component: str = "agent") -> None:
    disks = {"disks": [{"index": index, "size": size}]}
    getattr(world, component).client.event("disks-grown", disks, machine="app1", stream=world.stream())


def last_job(world, state: str):
    """Wait for the end of the job that nobody asked for."""

    def ended():
        events = [event for event in world.stack.events(0) if event.kind == "job"]
        mine = [event for event in events if event.data["operation"] == "grow-disks"]
        return next((event.data["job"] for event in reversed(mine) if event.data["state"] == state), None)

    return world.stack.job(world.stack.wait(ended, bool, "growth", soon()))


def test_the_replica_grows_by_itself_and_the_points_stay(world):
    world.protected()
    stream, points = world.stream(), world.stack.recovery_points("app1")
    world.agent.client.event("resynchronisation-required", CAUSE, machine="app1", stream=stream)
    grown(world)
    job = last_job(world, "succeeded")
    assert [step.name for step in job.steps] == [
        "grow-replica-disks",
        "open-stream-at-master-target",
        "start-replication",
    ]
    assert world.hosts["recovery"].disk(REPLICA).size_bytes == LARGER
    assert world.hosts["recovery"].disk(REPLICA).attached_to == "mt1"
    opened = world.master_target.last("open-stream")
    assert (opened["fresh"], [disk["size"] for disk in opened["disks"]]) == (False, [DISKS[0]["size"], LARGER])
    assert world.agent.last("start-replication")["disks"][1]["size"] == LARGER
    assert (world.stream(), world.stack.recovery_points("app1")) == (stream, points)
    status = world.stack.machine("app1")
    assert (status.state, status.resynchronising) == (MachineState.PROTECTED, True)
    assert any("disk 1 has grown" in cause for cause in status.health.causes)
    world.agent.client.event("resynchronisation-complete", {}, machine="app1", stream=stream)
    assert not world.stack.machine("app1").resynchronising
    world.do("failover")
    assert world.hosts["recovery"].disk(DiskId("app1-data-replica-copy")).size_bytes == LARGER


def test_settings_with_the_old_size_do_not_make_it_small_again(world):
    """A topology says how large a disk was at first, and is handed over again at the next start of the suites."""
    world.protected()
    grown(world)
    last_job(world, "succeeded")
    world.stack.protect("app1")
    assert world.stack.machine("app1").state is MachineState.PROTECTED
    with pytest.raises(OperationRefused, match="disks"):
        world.stack.protect("app1", {"disks": [DISKS[0], {**DISKS[1], "size": 2 * LARGER}]})
    world.do("disable")
    world.stack.protect("app1")
    world.do("enable")
    assert world.hosts["recovery"].disk(REPLICA).size_bytes == DISKS[1]["size"]


def test_an_attempt_that_fails_is_told_and_the_wish_stays(world):
    world.protected()
    world.master_target.answers["open-stream"] = lambda _: (_ for _ in ()).throw(OSError("device is busy"))
    grown(world)
    assert last_job(world, "failed").error.type == "oserror"
    assert world.stack.machine("app1").attributes["grown_disks"] == {"1": LARGER}
    del world.master_target.answers["open-stream"]
    world.do("grow-disks")
    assert "grown_disks" not in world.stack.machine("app1").attributes


def test_it_waits_while_another_job_runs(world):
    world.protected()
    world.do("test-failover")
    grown(world)
    last_job(world, "succeeded")


@pytest.mark.parametrize(("size", "index"), [(LARGER, 2), (128 * MIB, 1), ("large", 1)])
def test_reports_that_make_no_sense_change_nothing(world, size, index):
    world.protected()
    with pytest.raises(ControlRefused):
        grown(world, size, index)
    assert "grown_disks" not in world.stack.machine("app1").attributes


def test_only_the_agent_can_report_it(world):
    world.protected()
    for component in ("process_server", "master_target"):
        with pytest.raises(ControlRefused):
            grown(world, component=component)


def test_without_a_report_there_is_nothing_to_do(world):
    world.protected()
    with pytest.raises(OperationRefused, match="outgrown"):
        world.do("grow-disks")


def test_a_fabric_grows_what_belongs_to_a_replica_and_nothing_else(world):
    world.protected()
    host, port = world.hosts["recovery"], world.fabrics["recovery"].port
    host.create_disk(DiskId("mt1-system"), MIB)
    own = world.config.identity_dir / "machine.pem", world.config.identity_dir / "machine.key"
    ask = {"size": 2 * MIB}
    assert call(world, "POST", "/v1/disks/mt1-system/grow", identity=own, body=ask, port=port).status_code == 403
    stranger = component_identity(world.agent)
    path = f"/v1/disks/{REPLICA.name}/grow"
    assert call(world, "POST", path, identity=stranger, body={"size": LARGER}, port=port).status_code == 403
    assert call(world, "POST", path, identity=own, body={"size": MIB}, port=port).status_code == 409
    assert call(world, "POST", path, identity=own, body={"size": LARGER + 1}, port=port).status_code == 400
    assert host.disk(DiskId("mt1-system")).size_bytes == MIB
    assert host.disk(REPLICA).size_bytes == DISKS[1]["size"]
