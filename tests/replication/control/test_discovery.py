"""What the fabrics discover on VMware hosts, and what the configuration server makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from control_stand_ins import QUICK, VmwareHost, World, soon

from lab.hypervisors.model import PowerState, Seen
from lab.hypervisors.protocols import HypervisorError
from lab.replication.fabric.discovery import Follower, NoInventory
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState, Operation
from lab.waiting import wait_until

APP1 = Seen("app1", "lab.app1", PowerState.ON)
APP2 = Seen("app2", "lab.app2", PowerState.OFF)


@pytest.fixture
def connection() -> Iterator[VmwareHost]:
    found = VmwareHost()
    yield found
    found.told.put(None)


@pytest.fixture
def world(tmp_path, connection):
    connection.told.put([APP1])
    world = World(tmp_path, QUICK, {"primary": Follower(lambda: connection, retry_seconds=0.05)})
    world.add_components()
    world.configure()
    yield world
    world.close()
    connection.told.put(None)


def reached(condition: Callable[[], bool]) -> None:
    wait_until(condition, soon(), "what the host told", every=0.02)


def names(world) -> list[str]:
    return [machine.name for machine in world.stack.inventory()["primary"].machines]


@pytest.mark.requirement("V2A-PS-DISCOVER")
def test_the_inventory_follows_what_the_host_tells(world, connection):
    assert list(world.stack.inventory()) == ["primary"], "a site without VMware host has no inventory"
    assert names(world) == ["app1"]
    connection.told.put([APP1, APP2])
    reached(lambda: names(world) == ["app1", "app2"])
    connection.told.put([APP2])
    reached(lambda: names(world) == ["app2"])


def test_what_is_not_known_any_more_is_not_told(world, connection):
    connection.told.put(HypervisorError("the host went away"))
    reached(lambda: world.stack.inventory()["primary"].problem is not None)
    found = world.stack.inventory()["primary"]
    assert "the host went away" in found.problem
    assert found.machines == ()
    connection.told.put([APP2])
    reached(lambda: world.stack.inventory()["primary"].problem is None)
    assert names(world) == ["app2"]


@pytest.mark.requirement("V2S-ESX", "V2A-ESX")
@pytest.mark.parametrize("vcenter", [True, False])
def test_a_stand_alone_host_is_an_advisory_and_no_failure(tmp_path, vcenter):
    connection = VmwareHost(vcenter=vcenter)
    follower = Follower(lambda: connection)
    follower.start()
    connection.told.put([APP1])
    found = follower.inventory()
    assert found["vcenter"] is vcenter
    assert [advisory.partition(":")[0] for advisory in found["advisories"]] == ([] if vcenter else ["no-vcenter"])
    follower.close()
    connection.told.put(None)


def test_a_host_that_cannot_be_reached_is_said_to_be_unknown():
    def refused() -> VmwareHost:
        raise HypervisorError("login of reader was refused")

    follower = Follower(refused)
    follower.start()
    with pytest.raises(NoInventory, match="login of reader was refused"):
        follower.inventory()
    follower.close()


@pytest.mark.requirement("GEN-V2S-HOST", "V2S-ESX")
@pytest.mark.parametrize("operation", [Operation.PUSH_INSTALL, Operation.ENABLE])
def test_a_vmware_machine_that_no_host_has_is_refused(world, operation):
    world.stack.protect("app1", {"vmware": "app9", "push_install": {}})
    with pytest.raises(JobFailed) as refusal:
        world.do(operation)
    assert refusal.value.job.error.type == "not-on-esxi"
    assert "app9 is not in the inventory of primary (there are: app1)" in refusal.value.job.error.message
    assert world.process_server.commands == []
    assert world.master_target.commands == []


def test_a_vmware_machine_of_the_inventory_is_taken_in(world):
    world.stack.protect("app1", {"vmware": "app1"})
    world.do("enable")
    assert world.stack.machine("app1").state is not MachineState.ENABLING_FAILED


def test_a_vmware_machine_at_a_site_that_is_none_is_refused(world):
    world.stack.protect("app1", {"vmware": "app1", "primary_fabric": "recovery", "recovery_fabric": "primary"})
    with pytest.raises(JobFailed, match=r"not-on-esxi.*no ESXi host"):
        world.do("enable")


def test_a_machine_that_is_none_of_vmwares_is_not_looked_for(world, connection):
    connection.told.put([])
    reached(lambda: names(world) == [])
    world.do("enable")
