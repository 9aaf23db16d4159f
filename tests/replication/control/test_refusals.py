"""What is not legal is refused with a typed error, and the database is the same afterwards, byte for byte."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace

import pytest
from control_stand_ins import QUICK, World, soon

from lab.replication.common.identity import RegistrationRefused
from lab.replication.configuration_server.states import Operation, State, allowed_operations
from lab.stacks.errors import InvalidRequest, NotFound, OperationRefused


@pytest.fixture
def world(tmp_path):
    """Nobody looks at health meanwhile: an alert would be a change."""
    world = World(tmp_path, replace(QUICK, watch=600))
    yield world
    world.close()


HEARD_OF = re.compile(r'(INSERT INTO "components" .*),(?:\d+|NULL)\);$')


def content(world) -> list[str]:
    """Everything that is stored, but when components were last heard of: they go on asking for commands meanwhile."""
    with sqlite3.connect(world.config.database) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return [HEARD_OF.sub(r"\1);", line) for line in dump]


def put_into(world, state: State, *, test_machine: bool) -> None:
    attributes = '{"test_machine": "app1-test"}' if test_machine else "{}"
    with sqlite3.connect(world.config.database) as connection:
        connection.execute("UPDATE machines SET state = ?, attributes = ?", (state.value, attributes))
    connection.close()


@pytest.mark.parametrize("test_machine", [False, True])
def test_every_illegal_operation_in_every_state(world, test_machine):
    world.configure()
    for state in State:
        put_into(world, state, test_machine=test_machine)
        allowed = allowed_operations(state, test_machine=test_machine)
        before = content(world)
        for operation in [*Operation, "planned-failover"]:
            if operation in allowed:
                continue
            with pytest.raises(OperationRefused) as refused:
                world.stack.start("app1", operation)
            wanted = "not-supported" if operation == "planned-failover" else "operation-refused"
            assert (refused.value.reason, refused.value.state) == (wanted, state)
            assert refused.value.allowed == allowed
        assert content(world) == before


@pytest.mark.requirement("V2A-PFO-REFUSED")
def test_a_planned_failover_is_not_supported_and_touches_nothing(world):
    world.protected()
    commands = len(world.agent.commands)
    with pytest.raises(OperationRefused) as refused:
        world.do("planned-failover")
    assert refused.value.reason == "not-supported"
    assert world.hosts["primary"].power("app1") == "on"
    assert len(world.agent.commands) == commands


@pytest.mark.requirement("V2A-SETUP-SEQ")
def test_enabling_before_the_components_are_there_is_refused(world):
    world.configure()
    before = content(world)
    with pytest.raises(OperationRefused) as refused:
        world.do("enable")
    assert refused.value.reason == "not-ready"
    assert "mobility-app1 is not registered" in str(refused.value)
    assert content(world) == before


SUPPORTED = {"system": "debian", "version": "12", "kernel": "6.1.0", "architecture": "x86_64", "firmware": "bios"}


@pytest.mark.requirement("GEN-P2S-OS")
@pytest.mark.parametrize(("change", "named"), [({}, None), ({"version": "9"}, "'9'"), ({"firmware": "uefi"}, "'uefi'")])
def test_a_machine_whose_agent_says_that_it_is_unsupported_is_not_enabled(world, change, named):
    world.add("mobility", "app1", {**SUPPORTED, **change})
    world.add("process-server", "ps1")
    target = world.add("master-target", "mt1")
    world.configure()
    before = content(world)
    if named is None:
        world.do("enable")
        return
    with pytest.raises(OperationRefused, match=named) as refused:
        world.do("enable")
    assert refused.value.reason == "unsupported-system"
    assert "debian 12" in str(refused.value)
    assert content(world) == before
    assert not target.commands


def test_facts_that_are_none_are_not_registered(world):
    with pytest.raises(RegistrationRefused):
        world.add("mobility", "app1", {**SUPPORTED, "shoe-size": "44"})


def test_failover_to_an_unknown_point_is_refused(world):
    world.protected()
    before = world.stack.machine("app1").state
    for operation in ("failover", "test-failover"):
        with pytest.raises(OperationRefused):
            world.do(operation, recovery_point="never-made")
    with pytest.raises(InvalidRequest):
        world.do("test-failover", networks=["production"])
    with pytest.raises(InvalidRequest):
        world.do("failover", recovery_piont="latest")
    assert world.stack.machine("app1").state is before


def test_one_job_at_a_time(world):
    world.protected()
    world.agent.stop()
    world.agent.answers["cut"] = lambda _: {}
    job = world.stack.start("app1", "failover", {"shutdown_source": True})
    with pytest.raises(OperationRefused):
        world.stack.start("app1", "disable")
    world.stack.wait_job(job, soon())


def test_unknown_things(world):
    world.configure()
    for call in (
        lambda: world.stack.machine("app9"),
        lambda: world.stack.policy("gold"),
        lambda: world.stack.job("99"),
        lambda: world.stack.start("app1", "explode"),
    ):
        with pytest.raises(NotFound):
            call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"disks": []}, "1 to 16 disks"),
        ({"policy": "gold"}, "no policy 'gold'"),
        ({"cpus": "two"}, "settings.cpus: a whole number"),
        ({"colour": "blue"}, "unknown key 'colour'"),
        ({"replica_nics": [{"network": "x", "mac": "no"}]}, "settings.replica_nics[0].mac"),
        ({"disks": [{"index": 0, "name": "a", "size": 1048577, "serial": "s"}]}, "settings.disks[0].size: a multiple"),
        ({"disks": [{"index": 1, "name": "a", "size": 1048576, "serial": "s"}]}, "indices have to be 0"),
        ({"process_server": {"name": "ps1", "address": "nowhere"}}, "settings.process_server.address: an IP address"),
    ],
)
def test_settings_are_checked_and_the_place_is_named(world, change, message):
    from control_stand_ins import SETTINGS

    world.stack.put_policy("standard", {"recovery_point_interval_s": 15, "retention_s": 60, "rpo_threshold_s": 60})
    with pytest.raises(InvalidRequest) as refused:
        world.stack.put_machine("app1", {**SETTINGS, **change})
    assert message in str(refused.value)
    with pytest.raises(NotFound):
        world.stack.machine("app1")
