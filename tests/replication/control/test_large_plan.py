"""The largest plan: seven groups and a hundred machines, run to its end by the real runner (domain 2.3)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from control_stand_ins import POLICY, World
from mortal_server import PATIENT
from provider_stand_in import two_hosts
from test_host_rules import host_settings, set_up

from lab.stacks.machines import MachineState
from lab.stacks.plans import PlanRunKind, PlanRunState
from lab.waiting import Deadline

GROUPS, MACHINES = 7, 100


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, PATIENT)
    world.one, world.two = two_hosts(world)
    world.stack.put_policy("standard", {**POLICY, "recovery_point_interval_s": 30})
    set_up(world)
    yield world
    world.close()


def names() -> list[str]:
    return [f"app{number}" for number in range(1, MACHINES + 1)]


def protect(world, name: str) -> None:
    cards = [{"network": "secondary", "mac": f"52:54:00:00:01:{int(name[3:]):02x}", "address": None}]
    world.stack.put_machine(name, host_settings(host={"name": "hv1", "guest": name}, replica_nics=cards))
    world.one.machines[name] = "on"
    world.stack.run(name, "enable", Deadline.after(60))
    world.one.first_copy(world.stream(name))
    world.stack.wait_state(name, MachineState.PROTECTED, deadline=Deadline.after(60))


@pytest.mark.timeout(600)
@pytest.mark.requirement("V2A-FO-RP", "H2S-FO-RP")
def test_a_hundred_machines_in_seven_groups_fail_over_in_their_order(world):
    for name in names():
        protect(world, name)
    groups = [names()[number::GROUPS] for number in range(GROUPS)]
    world.stack.put_plan("all", {"groups": [{"machines": group} for group in groups]})
    number = world.stack.start_plan("all", PlanRunKind.PLANNED)
    run = world.stack.wait_plan("all", number, PlanRunState.SUCCEEDED, deadline=Deadline.after(400))
    assert run.state is PlanRunState.SUCCEEDED
    started = [order["guest"] for order in world.two.provider.told("start-machine")]
    assert len(started) == MACHINES
    place = {name: number for number, name in enumerate(started)}
    for earlier, later in pairwise(groups):
        last = max(place[f"{name}-replica"] for name in earlier)
        assert last < min(place[f"{name}-replica"] for name in later)
    assert {name for name, state in world.two.machines.items() if state == "on"} == {f"{n}-replica" for n in names()}
    assert "on" not in world.one.machines.values()
