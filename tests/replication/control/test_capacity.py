"""A master target takes as many replica disks as it says, and who finds no room is told the way out."""

from __future__ import annotations

import pytest
from control_stand_ins import MIB, SETTINGS, settings_of, soon
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.configuration_server.capacity import DEFAULT_REPLICA_DISKS, Capacity, holds
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.settings import Server
from lab.replication.configuration_server.settings_document import parse_settings
from lab.replication.configuration_server.states import State
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState

MT1, PS1 = Server("mt1"), Server("ps1")
HOLDING_NOTHING = {State.UNPROTECTED, State.FAILED_OVER, State.FAILBACK_COMMIT_PENDING, State.FAILED_BACK}


def disks(count: int) -> list[dict]:
    return [{"index": n, "name": f"d{n}", "size": MIB, "serial": f"d{n}"} for n in range(count)]


def machine(name: str, state: State, count: int = 2) -> Machine:
    document = {**SETTINGS, "disks": disks(count)}
    return Machine(name, state, parse_settings(document), document, {})


def test_in_every_state_the_disks_are_at_one_master_target_or_at_none():
    for state in State:
        places = [target.name for target in (MT1, PS1) if holds(machine("app1", state), target)]
        assert len(places) == (state not in HOLDING_NOTHING), state
    assert holds(machine("app1", State.PROTECTED), MT1)
    assert holds(machine("app1", State.PROTECTED_REVERSE), PS1)
    assert holds(machine("app1", State.ENABLING_FAILED), MT1), "what an attempt left may still be attached"


@given(st.lists(st.integers(1, 16), max_size=6), st.integers(1, 16), st.integers(1, 64))
def test_what_is_let_in_never_exceeds_the_capacity(others, wanted, most):
    there = [machine(f"m{number}", State.PROTECTED, count) for number, count in enumerate(others)]
    refusal = Capacity({"mt1": most}).refusal(machine("new", State.UNPROTECTED, wanted), MT1, there)
    assert (refusal is None) == (sum(others) + wanted <= most)


def test_a_machine_does_not_stand_in_its_own_way():
    again = machine("app1", State.ENABLING_FAILED, DEFAULT_REPLICA_DISKS)
    assert Capacity().refusal(again, MT1, [again]) is None


@pytest.mark.requirement("V2S-MT-COUNT")
def test_a_machine_beyond_the_capacity_is_refused_until_there_is_another_master_target(world):
    world.protected()
    world.add("mobility", "app2")
    crowded = {**settings_of("app2"), "disks": disks(DEFAULT_REPLICA_DISKS - 1)}
    world.stack.put_machine("app2", crowded)
    told = len(world.master_target.commands)
    with pytest.raises(OperationRefused, match="another master target") as refused:
        world.stack.start("app2", "enable")
    assert refused.value.reason == "master-target-full"
    assert "mt1 has 2 of at most 13 replica disks, app2 needs 12" in str(refused.value)
    assert len(world.master_target.commands) == told
    assert world.stack.machine("app2").state is MachineState.UNPROTECTED
    assert not [disk for disk in world.hosts["recovery"].disks() if disk.id.name.startswith("app2")]
    world.add("master-target", "mt2")
    world.hosts["recovery"].define(world.hosts["recovery"].spec("mt1").__class__("mt2", 1, 512, (), (), None))
    world.stack.put_machine("app2", {**crowded, "master_target": {"name": "mt2", "address": "10.30.0.32"}})
    world.stack.run("app2", "enable", soon())
    held = [disk for disk in world.hosts["recovery"].disks() if disk.attached_to == "mt2"]
    assert len(held) == DEFAULT_REPLICA_DISKS - 1
