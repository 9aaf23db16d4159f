"""What the configuration server allows, refuses, orders and reports: the real server, with stand-ins for components."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from control_stand_ins import PATIENCE, QUICK, SETTINGS, World, settings_of, soon

from lab.hypervisors.model import PowerState
from lab.replication.common.control import ControlRefused
from lab.replication.common.identity import RegistrationRefused
from lab.stacks.errors import OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState
from lab.stacks.plans import PlanRunKind, PlanRunState
from lab.stacks.reference.client import ReferenceStack

ADDRESSES = {"app1": ("10.10.0.11", "10.20.0.11"), "app2": ("10.10.0.12", "10.20.0.12")}
GROUP = {
    "members": [{"name": name, "address": here, "replica_address": there} for name, (here, there) in ADDRESSES.items()],
    "consistent": True,
    "stall_bound_ms": 500,
}
UNSUPPORTED = {"system": "debian", "version": "9", "kernel": "4.9.0", "architecture": "x86_64", "firmware": "bios"}


@pytest.fixture
def world(tmp_path):
    """Nobody looks at health by himself: an alert would be a change."""
    made = World(tmp_path, replace(QUICK, watch=600, delivery=15 * PATIENCE))
    yield made
    made.close()


def content(world: World) -> list[str]:
    with sqlite3.connect(world.config.database) as connection:
        dump = list(connection.iterdump())
    connection.close()
    return dump


def serials(host, machine: str) -> list[tuple[str, str]]:
    return [(item.disk.name, item.serial) for item in host.machine(machine).disks]


def machines(host) -> set[str]:
    return {machine.name for machine in host.machines()}


@pytest.mark.requirement("V2A-IR-COPY", "V2A-DELTA-AFTER-IR")
def test_a_machine_is_protected_after_its_copy_and_its_first_point(world):
    world.add_components()
    world.configure()
    world.do("enable")
    world.agent.client.event("initial-replication-complete", {}, machine="app1", stream=world.stream())
    assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    world.point(world.master_target, 1)
    world.wait(MachineState.PROTECTED)
    world.do("disable")
    world.do("enable")
    world.point(world.master_target, 1)
    assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    world.agent.client.event("initial-replication-complete", {}, machine="app1", stream=world.stream())
    world.wait(MachineState.PROTECTED)


@pytest.mark.requirement("V2A-PFO-REFUSED", "LAB-REFUSAL")
def test_what_is_not_allowed_is_refused_and_changes_nothing(world):
    world.protected()
    before = content(world)
    for operation, reason in (("planned-failover", "not-supported"), ("failback", "operation-refused")):
        with pytest.raises(OperationRefused) as refused:
            world.stack.start("app1", operation)
        assert refused.value.reason == reason
    assert content(world) == before
    assert world.hosts["primary"].power("app1") is PowerState.ON


@pytest.mark.requirement("LAB-TFO-ISOLATION")
def test_a_test_failover_touches_nothing_else_and_leaves_nothing(world):
    world.protected()
    primary, recovery = world.hosts["primary"], world.hosts["recovery"]
    points = world.stack.recovery_points("app1")
    world.do("test-failover")
    assert recovery.power("app1-test") is PowerState.ON
    assert {card.network for card in recovery.machine("app1-test").nics} == {"bubble"}
    assert primary.power("app1") is PowerState.ON
    assert world.stack.machine("app1").state is MachineState.PROTECTED
    assert world.stack.recovery_points("app1") == points
    world.do("cleanup-test-failover")
    assert machines(recovery) == {"mt1"}
    assert len(recovery.disks()) == 2


@pytest.mark.requirement(
    "V2A-UFO", "V2A-FO-SINGLE", "V2A-FO-COMMIT", "V2A-FO-REPLICA", "V2S-MT-REPLICA", "LAB-RPO", "LAB-FENCE"
)
def test_a_failover_takes_the_newest_point_and_a_commit_ends_the_choice(world):
    world.protected()
    primary, recovery = world.hosts["primary"], world.hosts["recovery"]
    older = world.point(world.master_target, 2)
    newest = world.point(world.master_target, 3)
    old_stream = world.stream()
    world.do("failover", shutdown_source=True)
    assert "drain" in world.process_server.names()
    assert "close-stream" in world.process_server.names()
    assert primary.power("app1") is PowerState.OFF
    assert world.stack.machine("app1").attributes["recovery_point"] == newest
    assert recovery.power("app1-replica") is PowerState.ON
    places = {serial: name for name, serial in serials(recovery, "app1-replica")}
    assert ("-system-" in places["system"], "-data-" in places["data"]) == (True, True), places
    with pytest.raises(OperationRefused):
        world.do("failover", recovery_point=older)
    world.do("commit")
    assert world.stack.machine("app1").state is MachineState.FAILED_OVER
    assert world.stack.recovery_points("app1") == []
    with suppress(ControlRefused):
        report(world, "recovery-point", stream=old_stream)
    assert world.stack.recovery_points("app1") == []
    assert not [row for row in content(world) if "late-point" in row and "recovery_points" in row]
    for operation in ("failover", "change-recovery-point"):
        with pytest.raises(OperationRefused):
            world.do(operation, recovery_point=older)


def report(world: World, kind: str, *, stream: str) -> None:
    """Have the master target report a point of a session that has ended."""
    cut = {"begin_ns": 1, "end_ns": 2, "time": "now"}
    data = {"recovery_point": "late-point", "sequence": 9, "cut": cut}
    world.master_target.client.event(kind, data, machine="app1", stream=stream)


@pytest.mark.requirement(
    "V2A-FB-REVERSE", "V2A-FB-UFO", "V2A-FB-COMMIT", "V2A-FB-REENABLE", "LAB-ZOMBIE", "V2S-MT-FAILBACK"
)
def test_the_way_back_compares_stops_the_replica_and_ends_unprotected(world):
    world.protected()
    primary, recovery = world.hosts["primary"], world.hosts["recovery"]
    original = sorted(serials(primary, "app1"))
    world.do("failover")
    world.do("commit")
    primary.power_on("app1")
    world.do("reprotect")
    assert primary.power("app1") is PowerState.OFF
    assert world.agent.last("start-replication")["mode"] == "checksum"
    world.finish_copy(world.failback_target)
    world.wait(MachineState.PROTECTED_REVERSE)
    world.do("failback")
    assert recovery.power("app1-replica") is PowerState.OFF
    assert primary.power("app1") is PowerState.ON
    assert sorted(serials(primary, "app1")) == original
    world.do("commit-failback")
    assert world.stack.machine("app1").state is MachineState.FAILED_BACK
    assert machines(recovery) == {"mt1"}


@pytest.mark.requirement("V2A-FB-PREREQ", "V2S-MT-FAILBACK")
def test_reprotection_needs_the_servers_of_the_way_back(world):
    world.add_components()
    world.stack.put_policy("standard", {"recovery_point_interval_s": 15, "retention_s": 60, "rpo_threshold_s": 60})
    failback = {**SETTINGS["failback"], "master_target": {"name": "mt9", "address": "10.10.0.29"}}
    world.stack.put_machine("app1", {**SETTINGS, "failback": failback})
    world.do("enable")
    world.finish_copy(world.master_target)
    world.wait(MachineState.PROTECTED)
    world.do("failover")
    world.do("commit")
    with pytest.raises(OperationRefused) as refused:
        world.do("reprotect")
    assert refused.value.reason == "not-ready"
    assert world.stack.machine("app1").state is MachineState.FAILED_OVER


@pytest.mark.requirement("LAB-RPO")
def test_a_point_that_is_too_old_is_reported_as_such(world):
    world.protected()
    world.point(world.master_target, 2, age_s=100)
    status = world.stack.machine("app1")
    assert status.rpo_seconds == pytest.approx(100, abs=10)
    assert status.health.status != "healthy"


@pytest.mark.requirement("LAB-MUTUAL-TLS", "V2A-PORT-443-MGMT")
def test_only_operators_operate_and_only_who_knows_the_passphrase_registers(world, monkeypatch):
    world.protected()
    identity = world.agent.identity
    (world.folder / "as-operator").mkdir()
    for source, target in (("ca.pem", "ca.pem"), ("machine.pem", "operator.pem"), ("machine.key", "operator.key")):
        (world.folder / "as-operator" / target).write_bytes((identity / source).read_bytes())
    agent = stack_with(world, world.folder / "as-operator")
    with pytest.raises(Exception, match=r"may not call this|403|forbidden"):
        agent.machine("app1")
    agent.close()
    monkeypatch.setattr("control_stand_ins.PASSPHRASE", "battery staple")
    with pytest.raises(RegistrationRefused):
        world.add("mobility", "app9")


def stack_with(world: World, identity) -> ReferenceStack:
    url, name = f"https://127.0.0.1:{world.server.port}", "configuration-server.cs1.recovery"
    return ReferenceStack(url, name, identity, {"app1": settings_of("app1")})


@pytest.mark.requirement("V2A-MOB-EACH", "V2S-UA-EACH", "GEN-P2S-OS", "GEN-V2S-HOST")
def test_a_machine_without_agent_or_with_an_unsupported_system_is_not_enabled(world):
    world.add("process-server", "ps1")
    world.add("master-target", "mt1")
    world.configure()
    with pytest.raises(OperationRefused, match="not registered"):
        world.do("enable")
    world.add("mobility", "app1", UNSUPPORTED)
    with pytest.raises(OperationRefused) as refused:
        world.do("enable")
    assert refused.value.reason == "unsupported-system"


@pytest.mark.requirement("V2S-MT-COUNT")
def test_a_full_master_target_takes_no_machine(world):
    world.add_components()
    world.configure()
    world.add("mobility", "app2")
    many = [{"index": n, "name": f"d{n}", "size": 1 << 20, "serial": f"d{n}"} for n in range(10)]
    for name in ("app1", "app2"):
        world.stack.put_machine(name, {**settings_of(name), "disks": many})
    world.do("enable")
    with pytest.raises(OperationRefused) as refused:
        world.stack.run("app2", "enable", soon())
    assert refused.value.reason == "master-target-full"


@pytest.mark.requirement("V2A-POLICY-APPLIES", "V2A-PORT-9443-CONF")
def test_a_changed_policy_reaches_servers_and_agent(world):
    world.protected()
    job = world.stack.put_policy("standard", {**world.stack.policy("standard"), "process_server_port": 9555})["app1"]
    world.stack.wait_job(job, soon())
    assert world.process_server.last("open-stream")["data_port"] == 9555
    assert world.agent.last("start-replication")["process_server"]["port"] == 9555


def shop(world: World) -> None:
    """Two protected machines in a consistent group."""
    world.add_components()
    world.configure()
    world.agents["app2"] = world.add("mobility", "app2")
    world.stack.protect("app2")
    world.stack.groups.put("shop", GROUP)
    for name in ADDRESSES:
        world.stack.run(name, "enable", soon())
        world.finish_copy(world.master_target, name)
        world.stack.wait_state(name, MachineState.PROTECTED, deadline=soon())


@pytest.mark.requirement("V2A-TFO-GATE")
def test_a_failover_says_whether_a_test_came_before_it(world):
    world.protected()
    world.protect_too("app2")
    world.do("test-failover")
    world.do("cleanup-test-failover")
    for name in ("app1", "app2"):
        world.stack.run(name, "failover", soon())
    said = {name: world.stack.machine(name).attributes.get("failed_over_untested") for name in ("app1", "app2")}
    assert said == {"app1": None, "app2": True}


@pytest.mark.requirement("V2A-MVM-CRASH", "V2A-MVM-SAMEWORK", "V2A-PORT-20004", "V2A-PORT-20004-OFF", "LAB-REFUSAL")
def test_a_group_shares_one_instant_and_nothing_when_the_option_is_off(world):
    shop(world)
    order = world.agent.last("start-replication")["group"]
    assert (order["coordinator"], order["port"]) == ("app1", 20004)
    assert [each.partition(":")[0] for each in world.stack.groups.get("shop").advisories] == ["same-workload"]
    for member in ADDRESSES:
        world.point(world.master_target, 2, machine=member, shared="shop-1")
        world.point(world.master_target, 3, machine=member)
    with pytest.raises(OperationRefused) as refused:
        world.do("failover")
    assert refused.value.reason == "group-member"
    for job in world.stack.groups.set_consistent("shop", consistent=False).values():
        world.stack.wait_job(job, soon())
    assert world.agent.last("start-replication")["group"] is None
    for job in world.stack.groups.set_consistent("shop", consistent=True).values():
        world.stack.wait_job(job, soon())
    for name, job in world.stack.groups.start("shop", "failover").items():
        world.stack.wait_job(job, soon())
        chosen = world.stack.machine(name).attributes["recovery_point"]
        assert chosen == f"{world.stream(name)}-2", "newer points are shared by nobody"


@pytest.mark.requirement("V2A-FO-RP")
def test_a_plan_goes_group_by_group(world):
    world.protected()
    world.protect_too("app2")
    world.stack.put_plan("shop", {"groups": [{"machines": ["app1"]}, {"machines": ["app2"]}]})
    run = world.stack.start_plan("shop", PlanRunKind.UNPLANNED)
    done = world.stack.wait_plan("shop", run, PlanRunState.SUCCEEDED, deadline=soon())
    first, second = (world.stack.job(step.job) for step in done.steps)
    assert first.ended_ns <= second.started_ns


@pytest.mark.requirement("LAB-RPO", "LAB-FENCE")
def test_a_failover_that_cannot_drain_does_not_pretend(world):
    world.protected()

    def drain(_: dict[str, Any]) -> dict[str, Any]:
        raise OSError("cache is broken")

    world.process_server.answers["drain"] = drain
    with pytest.raises(JobFailed):
        world.do("failover")
    assert world.stack.machine("app1").state is MachineState.FAILOVER_FAILED
