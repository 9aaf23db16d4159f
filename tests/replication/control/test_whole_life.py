from __future__ import annotations

import threading

import pytest
from control_stand_ins import SETTINGS, World, soon

from lab.hypervisors.model import PowerState
from lab.replication.common.control import ControlRefused
from lab.stacks.errors import InvalidRequest, OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState


def disks_of(host, machine: str) -> list[tuple[str, str]]:
    return [(item.disk.name, item.serial) for item in host.machine(machine).disks]


def names(host) -> set[str]:
    return {disk.id.name for disk in host.disks()}


def machines(host) -> set[str]:
    return {machine.name for machine in host.machines()}


@pytest.mark.requirement("V2A-IR-COPY", "V2A-DELTA-AFTER-IR")
def test_a_machine_is_protected_after_its_copy_and_its_first_point(world):
    world.add_components()
    world.configure()
    world.do("enable")
    assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    world.point(world.master_target, 1)
    assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    world.finish_copy(world.master_target)
    status = world.wait(MachineState.PROTECTED)
    assert status.health.status == "healthy", status.health
    assert status.rpo_seconds < 60
    assert status.recovery_points == 1


def test_enable_tells_every_component_what_it_needs(world):
    world.protected()
    opened = world.master_target.last("open-stream")
    serials = [serial for _, serial in disks_of(world.hosts["recovery"], "mt1")]
    assert [disk["serial"] for disk in opened["disks"]] == serials
    assert all(len(serial) <= 20 for serial in serials)
    assert opened["fresh"] is True
    assert (opened["data_port"], opened["retention_s"], opened["process_server"]) == (9444, 7200, "ps1")
    assert world.process_server.last("open-stream")["master_target"] == {
        "name": "mt1",
        "address": "10.30.0.31",
        "port": 9444,
    }
    started = world.agent.last("start-replication")
    assert started["mode"] == "copy"
    assert started["process_server"] == {"name": "ps1", "address": "10.10.0.21", "port": 9443}
    assert [card["mac"] for card in started["replica_networks"]] == ["52:54:00:00:00:02", "52:54:00:00:00:03"]


def test_the_whole_life_of_a_machine(world):
    world.protected()
    primary, recovery = world.hosts["primary"], world.hosts["recovery"]
    original = disks_of(primary, "app1")
    first_stream = world.stream()

    world.do("test-failover", networks=["bubble"])
    assert recovery.power("app1-test") is PowerState.ON
    assert [nic.network for nic in recovery.machine("app1-test").nics] == ["bubble"]
    assert recovery.spec("app1-test").management.mac == "52:54:00:00:00:01"
    assert world.stack.machine("app1").state is MachineState.PROTECTED
    world.do("cleanup-test-failover")
    assert machines(recovery) == {"mt1"}
    assert world.stack.machine("app1").test_failover == "performed"
    assert len(names(recovery)) == 2

    primary.power_off("app1")
    world.do("failover")
    assert world.stack.machine("app1").state is MachineState.COMMIT_PENDING
    assert [serial for _, serial in disks_of(recovery, "app1-replica")] == ["system", "data", "changes"]
    assert recovery.power("app1-replica") is PowerState.ON

    world.do("commit")
    assert world.stack.machine("app1").state is MachineState.FAILED_OVER
    assert world.stack.recovery_points("app1") == []
    assert disks_of(recovery, "mt1") == []
    assert len(names(recovery)) == 3

    world.do("reprotect")
    assert world.stream() != first_stream
    assert [serial for _, serial in disks_of(primary, "app1")] == ["changes"]
    assert {name for name, _ in disks_of(primary, "ps1")} == {"app1-system", "app1-data"}
    assert world.agent.last("start-replication")["mode"] == "checksum"
    assert world.failback_target.last("open-stream")["fresh"] is False
    world.finish_copy(world.failback_target)
    assert world.wait(MachineState.PROTECTED_REVERSE).direction == "reverse"

    world.do("failback")
    assert world.stack.machine("app1").state is MachineState.FAILBACK_COMMIT_PENDING
    assert recovery.power("app1-replica") is PowerState.OFF
    assert sorted(disks_of(primary, "app1")) == sorted(original)
    assert [name for name, _ in disks_of(primary, "app1") if name != "app1-changes"] == ["app1-system", "app1-data"]
    assert primary.power("app1") is PowerState.ON

    world.do("commit-failback")
    assert world.stack.machine("app1").state is MachineState.FAILED_BACK
    assert machines(recovery) == {"mt1"}
    assert names(recovery) == set()
    world.do("enable")
    world.finish_copy(world.master_target)
    world.wait(MachineState.PROTECTED)
    assert world.stack.machine("app1").allowed == (
        *("push-install", "disable", "resynchronise", "cut", "apply-policy", "move", "grow-disks"),
        *("test-failover", "failover"),
    )


def test_an_older_point_is_rolled_on_copies_by_the_master_target(world):
    world.protected()
    older = world.point(world.master_target, 2)
    world.point(world.master_target, 3)
    replica_serials = {serial for _, serial in disks_of(world.hosts["recovery"], "mt1")}
    job = world.do("test-failover", recovery_point=older)
    assert [step.name for step in job.steps] == [
        *("remove-leftovers", "copy-replica-disks", "roll-copies", "start-test-machine"),
    ]
    rolled = world.master_target.last("roll")
    assert rolled["recovery_point"] == older
    assert not replica_serials & {disk["serial"] for disk in rolled["disks"]}
    assert len(disks_of(world.hosts["recovery"], "mt1")) == 2
    holds = [arguments["hold"] for arguments in world.master_target.told("copy-barrier")]
    assert (holds[0], holds[-1]) == (True, False)


@pytest.mark.requirement("V2A-FO-COMMIT")
def test_before_the_commit_any_point_can_be_chosen_and_after_it_none(world):
    world.protected()
    older = world.point(world.master_target, 2)
    newest = world.point(world.master_target, 3)
    world.do("failover", recovery_point=older)
    assert world.master_target.last("roll")["recovery_point"] == older
    rolls = len(world.master_target.told("roll"))
    job = world.do("change-recovery-point", recovery_point=newest)
    assert job.steps[0].name == "remove-earlier-replica-machine"
    assert len(world.master_target.told("roll")) == rolls
    assert world.stack.machine("app1").attributes["recovery_point"] == newest
    assert world.process_server.names().count("drain") == 1
    with pytest.raises(OperationRefused):
        world.do("failover", recovery_point=older)
    world.do("commit")
    assert world.stack.recovery_points("app1") == []
    assert "close-stream" in world.master_target.names()
    for operation in ("failover", "change-recovery-point"):
        with pytest.raises(OperationRefused):
            world.do(operation, recovery_point=older)


def test_a_change_of_the_point_that_failed_can_only_be_repeated(world):
    world.protected()
    older = world.point(world.master_target, 2)
    world.point(world.master_target, 3)
    world.do("failover")
    with pytest.raises(InvalidRequest):
        world.do("change-recovery-point")
    world.master_target.answers["roll"] = lambda _: (_ for _ in ()).throw(OSError("disk error"))
    with pytest.raises(JobFailed):
        world.do("change-recovery-point", recovery_point=older)
    status = world.stack.machine("app1")
    assert (status.state, status.health.status) == (MachineState.CHANGE_RECOVERY_POINT_FAILED, "critical")
    assert status.allowed == ("change-recovery-point",)
    del world.master_target.answers["roll"]
    world.do("change-recovery-point", recovery_point=older)
    assert world.stack.machine("app1").state is MachineState.COMMIT_PENDING
    assert world.hosts["recovery"].power("app1-replica") is PowerState.ON


@pytest.mark.requirement("V2S-MT-RETENTION")
def test_points_are_chosen_by_kind_by_group_and_by_time(world):
    world.protected()
    application = world.point(world.master_target, 2, age_s=300, kind="application-consistent")
    shared = world.point(world.master_target, 3, age_s=200, shared="g-1")
    world.point(world.master_target, 4, age_s=100)
    moment = world.stack.recovery_points("app1")[2].end_ns
    wanted = {
        "latest-application-consistent": application,
        "latest-shared": shared,
        None: world.stack.recovery_points("app1")[-1].id,
    }
    for word, point in wanted.items():
        world.do("test-failover", **({"recovery_point": word} if word else {}))
        assert world.stack.machine("app1").attributes["test_recovery_point"] == point
        world.do("cleanup-test-failover")
    world.do("test-failover", recovery_point={"time_ns": moment})
    assert world.stack.machine("app1").attributes["test_recovery_point"] == shared
    world.do("cleanup-test-failover")
    for impossible in ("latest-shared-application-consistent", {"time_ns": 1}):
        with pytest.raises(OperationRefused) as refused:
            world.do("failover", recovery_point=impossible)
        assert refused.value.reason == "not-ready"
    assert world.stack.machine("app1").state is MachineState.PROTECTED


@pytest.mark.requirement("V2A-UFO")
def test_without_its_primary_site_a_machine_fails_over_to_what_was_processed(world):
    world.protected()
    world.process_server.stop()
    world.restart_server()
    world.process_server.join()
    with pytest.raises(JobFailed) as failed:
        world.do("failover")
    assert failed.value.job.error.type == "component-unreachable"
    assert "latest-processed" in failed.value.job.error.message
    assert world.stack.machine("app1").state is MachineState.FAILOVER_FAILED
    job = world.do("failover", recovery_point="latest-processed", shutdown_source=True)
    states = {step.name: step.state for step in job.steps}
    assert states["drain"] == "failed"
    assert states["start-replica-machine"] == "done"
    assert world.stack.machine("app1").state is MachineState.COMMIT_PENDING


def test_the_source_is_cut_and_shut_down_when_asked_for(world):
    world.protected()
    world.do("failover", shutdown_source=True)
    assert "cut" in world.agent.names()
    assert world.hosts["primary"].power("app1") is PowerState.OFF


def test_disable_removes_the_replica_although_components_are_gone(world):
    world.protected()
    world.process_server.answers["close-stream"] = lambda _: (_ for _ in ()).throw(OSError("gone"))
    world.do("disable")
    assert world.stack.machine("app1").state is MachineState.UNPROTECTED
    assert names(world.hosts["recovery"]) == set()
    assert "stop-replication" in world.agent.names()


@pytest.mark.requirement("V2A-FB-PREREQ", "V2S-MT-FAILBACK")
def test_reprotection_needs_servers_for_the_way_back(world):
    world.protected()
    world.do("failover")
    world.do("commit")
    world.stack.put_machine("app1", {key: value for key, value in SETTINGS.items() if key != "failback"})
    with pytest.raises(OperationRefused) as refused:
        world.do("reprotect")
    assert refused.value.reason == "not-ready"
    assert world.stack.machine("app1").state is MachineState.FAILED_OVER


def test_a_failed_operation_can_be_started_again(world):
    world.add_components()
    world.configure()
    world.master_target.answers["open-stream"] = lambda _: (_ for _ in ()).throw(OSError("no space"))
    with pytest.raises(JobFailed) as failed:
        world.do("enable")
    assert "no space" in failed.value.job.error.message
    status = world.stack.machine("app1")
    assert (status.state, status.health.status) == (MachineState.ENABLING_FAILED, "critical")
    del world.master_target.answers["open-stream"]
    world.do("enable")
    world.finish_copy(world.master_target)
    assert world.wait(MachineState.PROTECTED).health.status == "healthy"


def test_resynchronisation_is_an_attribute(world):
    world.protected()
    world.do("resynchronise")
    status = world.stack.machine("app1")
    assert (status.state, status.resynchronising, status.health.status) == (MachineState.PROTECTED, True, "warning")
    world.agent.client.event("resynchronisation-complete", {}, machine="app1", stream=world.stream())
    assert not world.stack.machine("app1").resynchronising


def test_a_changed_policy_reaches_servers_and_agent(world):
    world.protected()
    job = world.stack.put_policy("standard", {**world.stack.policy("standard"), "process_server_port": 9555})["app1"]
    world.stack.wait_job(job, soon())
    assert world.process_server.last("open-stream")["data_port"] == 9555
    assert world.agent.last("start-replication")["process_server"]["port"] == 9555
    assert world.agent.last("start-replication")["stream"] == world.stream()


def test_health_names_what_is_wrong(world: World):
    world.protected()
    world.agent.client.event("health", {"process_server": "connection refused"}, machine="app1", stream=world.stream())
    health = world.stack.machine("app1").health
    assert health.status == "critical"
    assert "connection refused" in health.causes[0]
    world.agent.client.event("health", {"process_server": "ok"}, machine="app1", stream=world.stream())
    assert world.stack.machine("app1").health.status == "healthy"


def test_the_latest_point_is_the_last_one_also_when_the_source_sets_its_clock_back(world):
    world.protected()
    latest = world.point(world.master_target, 2, age_s=3600)
    assert world.stack.machine("app1").health.causes[0].startswith("the newest recovery point is 36")
    world.do("failover", recovery_point="latest-processed")
    assert world.stack.machine("app1").attributes["recovery_point"] == latest


def test_the_list_of_points_follows_the_master_target(world):
    world.protected()
    gone = world.point(world.master_target, 2)
    kept = world.point(world.master_target, 3)
    removed = {"recovery_points": [gone]}
    with pytest.raises(ControlRefused):
        world.agent.client.event("recovery-points-removed", removed, machine="app1", stream=world.stream())
    assert gone in [point.id for point in world.stack.recovery_points("app1")]
    world.master_target.client.event("recovery-points-removed", removed, machine="app1", stream=world.stream())
    points = [point.id for point in world.stack.recovery_points("app1")]
    assert gone not in points
    assert kept in points
    found = world.stack.wait_recovery_point("app1", 0, soon())
    assert found.stream == world.stream()


def test_a_window_that_was_shortened_shows_until_it_is_whole_again(world):
    world.protected()
    for reason, causes in (("no room", 1), (None, 0)):
        gone = {"recovery_points": [world.point(world.master_target, 2)], "reason": reason}
        world.master_target.client.event("recovery-points-removed", gone, machine="app1", stream=world.stream())
        found = [cause for cause in world.stack.machine("app1").health.causes if "before their time" in cause]
        assert len(found) == causes


def test_a_cut_and_a_push_installation_are_jobs(world):
    world.protected()
    assert world.stack.cut_now("app1", soon()).operation == "cut"
    with pytest.raises(OperationRefused):
        world.do("push-install")
    world.process_server.answers["push-install"] = lambda _: {"version": "7", "rebooted": True}
    world.stack.put_machine("app1", {**SETTINGS, "push_install": {"address": "10.10.0.11", "user": "root"}})
    world.do("push-install")
    told = world.process_server.last("push-install")
    assert (told["machine"], told["address"]) == ("app1", "10.10.0.11")
    assert told["configuration_server"]["address"] == "127.0.0.1"
    assert world.stack.machine("app1").attributes["mobility_version"] == "7"


def test_settings_that_a_stream_depends_on_are_fixed(world):
    world.protected()
    with pytest.raises(OperationRefused):
        world.stack.put_machine("app1", {**SETTINGS, "disks": SETTINGS["disks"][:1]})
    world.stack.put_machine("app1", {**SETTINGS, "memory_mib": 512})


@pytest.mark.requirement("V2A-FB-UFO")
def test_a_replica_is_stopped_only_when_its_last_changes_are_elsewhere(world):
    """The agent keeps a cut on the machine until the process server has it: the power must not go before."""
    world.protected()
    for operation in ("failover", "commit", "reprotect"):
        world.do(operation)
    world.finish_copy(world.failback_target)
    world.wait(MachineState.PROTECTED_REVERSE)
    seen: list[PowerState] = []

    def publish() -> None:
        seen.append(world.hosts["recovery"].power("app1-replica"))
        world.point(world.failback_target, 2)

    def cut(_: dict) -> dict:
        threading.Timer(1.0, publish).start()
        return {"sequence": 2}

    world.agent.answers["cut"] = cut
    world.do("failback")
    assert seen == [PowerState.ON]
    assert world.stack.machine("app1").attributes["recovery_point"].endswith("-2")
