"""The configuration server of machines that are replicated from their host is killed after each of its commits.

Providers are stand-ins that remember which machines they run; see ``killing`` for what is asked.
"""

from __future__ import annotations

import pytest
from control_stand_ins import POLICY
from killing import LEAKS, killed_at_every_commit, mortal, operation
from mortal_server import PATIENT, MortalWorld
from provider_stand_in import Host, two_hosts
from test_host_rules import host_settings, set_up

from lab.replication.configuration_server.states import State
from lab.stacks.machines import MachineState

pytestmark = LEAKS


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = MortalWorld(tmp_path, PATIENT)
    with mortal(world, monkeypatch):
        world.one, world.two = two_hosts(world)
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
            world.one.first_copy(world.stream())
            world.wait(MachineState.PROTECTED)
        else:
            world.do(name)
        if name == "commit":
            world.one.point(world.stream())  # what makes it protected
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
