"""The configuration server of machines that are replicated from their host is killed after each of its commits.

Providers are stand-ins that remember which machines they run; see ``killing`` for what is asked.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from control_stand_ins import POLICY
from killing import LEAKS, killed_at_every_commit, mortal, operation
from mortal_server import PATIENT, MortalWorld
from test_host_rules import host_settings, set_up

from lab.replication.common.control import ControlUnavailable
from lab.replication.configuration_server.states import State
from lab.stacks.protocol import MachineState

pytestmark = LEAKS


class Host:
    """A stand-in for a provider: it has machines that are on or off, and disks that are in use or not."""

    def __init__(self, world, name: str) -> None:
        self.world = world
        self.machines: dict[str, str] = {}
        self.replica_disks = False
        self.provider = world.add("provider", name)
        self.provider.answers |= {
            "power": self.power,
            "start-machine": self.start_machine,
            "remove-machine": self.remove,
            "create-replica-disks": self.places,
            "adopt-disks": self.places,
            "retake-disks": self.places,
            "delete-replica-disks": self.delete,
            "seal-stream": lambda _: {"applied": world.applied},
            "drain": self.drain,
            "cut": self.drain,
        }
        self.receiver: Host = self

    def power(self, order: dict) -> dict:
        state = "on" if order["action"] in ("on", "resume") else "off"
        self.machines[order["machine"]] = state
        return {"state": state}

    def start_machine(self, order: dict) -> dict:
        self.machines[order["guest"]] = "paused" if order["paused"] else "on"
        return {}

    def remove(self, order: dict) -> dict:
        self.machines.pop(order["guest"], None)
        return {}

    def places(self, order: dict) -> dict:
        self.replica_disks = True
        return {"disks": [{"index": disk["index"], "place": f"/images/{disk['name']}"} for disk in order["disks"]]}

    def delete(self, _: dict) -> dict:
        self.replica_disks = False
        return {}

    def drain(self, _: dict) -> dict:
        """What is left becomes a point at the receiver, which tells of it until the server has heard it."""
        with suppress(ControlUnavailable):
            self.world.point(self.receiver.provider, self.world.applied + 1)
        return {"last_sequence": self.world.applied, "sequence": self.world.applied}


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = MortalWorld(tmp_path, PATIENT)
    with mortal(world, monkeypatch):
        world.applied = 0
        world.one, world.two = Host(world, "hv1"), Host(world, "hv2")
        world.one.receiver, world.two.receiver = world.two, world.one
        world.one.machines["app1"] = "on"
        world.stack.put_policy("standard", {**POLICY, "recovery_point_interval_s": 30})
        set_up(world)
        world.stack.put_machine("app1", host_settings())
        yield world


PLANNED = ("protect", "planned-failover")
CASES = {
    # operation: what comes before, where it leads, machines that are on, on either host
    "enable": ((), State.INITIAL_REPLICATION, ({"app1"}, set())),
    "planned-failover": (("protect",), State.COMMIT_PENDING, (set(), {"app1-replica"})),
    "failover": (("protect",), State.COMMIT_PENDING, ({"app1"}, {"app1-replica"})),
    "commit": (PLANNED, State.FAILED_OVER, (set(), {"app1-replica"})),
    "failback": ((*PLANNED, "commit"), State.FAILBACK_COMMIT_PENDING, ({"app1"}, set())),
    "commit-failback": ((*PLANNED, "commit", "failback"), State.FAILED_BACK, ({"app1"}, set())),
    "disable": (("protect",), State.UNPROTECTED, ({"app1"}, set())),
}


def prepared(world, operations) -> None:
    for name in operations:
        if name == "protect":
            world.do("enable")
            event = world.one.provider.client.event
            event("initial-replication-complete", {}, machine="app1", stream=world.stream())
            world.point(world.two.provider, 1)
            world.wait(MachineState.PROTECTED)
        else:
            world.do(name)
        if name == "commit":
            world.point(world.one.provider, 1)  # what makes it protected
            world.wait(MachineState.PROTECTED_REVERSE)


def running(host: Host) -> set[str]:
    return {name for name, state in host.machines.items() if state == "on"}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_done_in_the_end_wherever_it_was_cut_off(world, name):
    before, reached, machines = CASES[name]
    prepared(world, before)
    assert killed_at_every_commit(world, operation(world, name, {reached})) > 3
    assert (running(world.one), running(world.two)) == machines
    if name == "disable":
        assert not world.two.replica_disks
