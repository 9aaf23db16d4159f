"""VMware and physical machines to Azure, as far as the servers decide it (domain 1.1-1.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from azure_world import STEPS, AzureWorld, azure_settings
from control_stand_ins import SETTINGS, soon

from lab.hypervisors.model import PowerState
from lab.stacks.errors import InvalidRequest, OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState


@pytest.fixture
def world(tmp_path):
    world = AzureWorld(tmp_path)
    yield world
    world.close()


@pytest.fixture
def protected(world):
    return protect(world)


@pytest.fixture
def physical(world):
    """A protected machine that no fabric can switch."""
    return protect(world, switched_by_owner=True)


def protect(world, **settings):
    """From an empty vault to a protected machine with these settings."""
    world.add_single_server()
    world.configure_azure(**settings)
    world.set_up(*STEPS)
    world.do("enable")
    world.finish_first_copy()
    world.wait(MachineState.PROTECTED)
    return world


@pytest.mark.requirement("V2A-SETUP-SEQ", "V2A-VAULT-ADD")
def test_a_step_that_is_too_early_is_refused_and_changes_nothing(world):
    world.add_single_server()
    world.configure_azure()
    for position, step in enumerate(STEPS):
        for early in STEPS[position + 1 :]:
            with pytest.raises(OperationRefused) as refused:
                world.set_up(early)
            assert step in str(refused.value)
        with pytest.raises(OperationRefused):
            world.do("enable")
        assert world.stack.machine("app1").state is MachineState.UNPROTECTED
        assert list(world.stack.call("GET", "/v1/vault")["setup"]) == list(STEPS[:position])
        world.set_up(step)
    assert world.storage._now.blobs == {}
    assert world.process_server.commands == []
    world.do("enable")
    assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION


@pytest.mark.requirement("H2A-PREP")
def test_a_replica_needs_networks_that_were_set_up_in_azure_before(tmp_path, monkeypatch):
    monkeypatch.setattr(AzureWorld, "networks", frozenset({"recovery", "bubble"}))
    world = AzureWorld(tmp_path)
    try:
        world.add_single_server()
        world.configure_azure()
        cards = [{**card, "network": "nowhere"} for card in azure_settings("app1")["test_nics"]]
        world.configure_azure(test_nics=cards)
        world.set_up(*STEPS)
        with pytest.raises(JobFailed, match="no network nowhere in Azure; set up are bubble, recovery"):
            world.do("enable")
        assert world.storage._now.blobs == {}
        assert world.stack.machine("app1").state is MachineState.ENABLING_FAILED
        world.configure_azure()
        world.do("enable")
        assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    finally:
        world.close()


@pytest.mark.requirement("V2A-VAULT-ADD", "V2A-POLICY-APPLIES")
def test_the_server_of_a_machine_has_to_be_in_the_vault(world):
    world.add_single_server()
    world.configure_azure(azure={"server": "other", "source": "physical"})
    world.set_up(*STEPS)
    with pytest.raises(OperationRefused, match="other was not added"):
        world.do("enable")


@pytest.mark.requirement("V2A-MOB-EACH")
def test_without_a_mobility_service_nothing_is_enabled(world):
    world.add("process-server", "ps1")
    world.configure_azure()
    world.set_up(*STEPS)
    with pytest.raises(OperationRefused, match="mobility"):
        world.do("enable")


@pytest.mark.requirement("V2A-IR-COPY", "V2A-DELTA-AFTER-IR", "V2A-MT-FAILBACK", "V2A-CS-ONE")
def test_the_process_server_is_told_of_the_storage_and_no_master_target_takes_part(protected):
    opened = protected.process_server.last("open-stream")
    assert "master_target" not in opened
    assert set(opened["storage"]) == {"container", "signature", "expires_ns", "ca"}
    assert protected.failback_target.commands == [], "forward, a master target has nothing to do"
    status = protected.stack.machine("app1")
    assert status.health.status == "healthy", status.health
    assert status.recovery_points == 1


def test_the_signature_of_a_container_is_shown_to_nobody(protected):
    secret = protected.process_server.last("open-stream")["storage"]["signature"]
    shown = [
        protected.stack.call("GET", path) for path in ("/v1/machines/app1", "/v1/events", "/v1/vault", "/v1/jobs/1")
    ]
    assert secret not in str(shown)


@pytest.mark.requirement("V2A-PFO-REFUSED")
def test_planned_failover_is_refused(protected):
    with pytest.raises(OperationRefused) as refused:
        protected.do("planned-failover")
    assert "not supported" in str(refused.value)
    assert protected.stack.machine("app1").state is MachineState.PROTECTED


@pytest.mark.requirement("V2A-TFO-GATE", "V2A-UFO", "V2A-FO-REPLICA", "V2A-FO-COMMIT")
def test_from_test_failover_to_commit(protected):
    world = protected
    first = world.stack.recovery_points("app1")[0].id
    world.do("test-failover")
    test = world.cloud.machine("app1-test")
    assert test.power is PowerState.ON
    assert [nic.network for nic in test.nics] == ["bubble"]
    assert [item.serial for item in test.disks] == ["system", "data", "changes"]
    assert world.content("app1-test") == b"1"
    second = world.upload(content=b"2")
    world.stack.wait(
        lambda: [point.id for point in world.stack.recovery_points("app1")], lambda ids: second in ids, "point", soon()
    )
    world.do("cleanup-test-failover")
    assert [machine.name for machine in world.cloud.machines()] == []
    assert list(world.cloud.disks()) == []
    world.do("failover", recovery_point="latest")
    replica = world.cloud.machine("app1-replica")
    assert (replica.power, [nic.network for nic in replica.nics]) == (PowerState.ON, ["recovery"])
    assert world.content("app1-replica") == b"2"
    world.do("change-recovery-point", recovery_point=first)
    assert world.content("app1-replica") == b"1"
    world.do("commit")
    assert world.stack.machine("app1").state is MachineState.FAILED_OVER
    assert world.stack.recovery_points("app1") == []
    assert world.content("app1-replica") == b"1", "the machine still has what it was made of"
    kept = {len(blob.snapshots) for blob in world.storage._now.blobs.values()}
    assert kept == {1}


def test_what_only_the_process_server_had_is_merged_before_a_failover(protected):
    protected.upload(content=b"9")
    protected.do("failover", recovery_point="latest")
    assert protected.content("app1-replica") == b"9"


def test_a_point_that_the_storage_has_lost_is_made_again_for_a_failover(protected):
    protected.storage.save()
    protected.upload(content=b"8")
    protected.stack.wait(
        lambda: protected.stack.recovery_points("app1"), lambda points: len(points) == 2, "two points", soon()
    )
    protected.storage.lose()
    protected.do("failover", recovery_point="latest")
    assert protected.content("app1-replica") == b"8"


@pytest.mark.requirement("V2A-FB-PREREQ", "P2A-FB-NOPHYS", "P2A-FB-VMWARE")
def test_from_azure_a_machine_fails_back_to_vmware_only(world):
    protect(world, failback={**SETTINGS["failback"], "to": "physical"})
    world.do("failover")
    world.do("commit")
    with pytest.raises(OperationRefused, match="only fail back to VMware"):
        world.do("reprotect")
    assert world.stack.machine("app1").state is MachineState.FAILED_OVER


@pytest.mark.requirement(
    *("V2A-FB-REVERSE", "V2A-FB-UFO", "V2A-FB-COMMIT", "V2A-FB-REENABLE", "V2A-MT-FAILBACK"),
    *("V2A-CS-ONE", "V2A-PS-DEFAULT", "V2A-MT-DEFAULT", "P2A-SAME"),
)
def test_the_way_back_goes_over_the_master_target_on_premises(protected):
    world = protected
    world.do("failover")
    world.do("commit")
    world.hosts["primary"].power_off("app1")
    world.do("reprotect")
    assert world.failback_target.last("open-stream")["fresh"] is False
    assert world.process_server.last("open-stream")["master_target"]["name"] == "ps1"
    come_back(world, world.failback_target)
    assert world.hosts["primary"].power("app1") is PowerState.ON
    assert world.cloud.power("app1-replica") is PowerState.OFF
    world.do("commit-failback")
    assert list(world.cloud.machines()) == []
    assert world.storage._now.blobs == {}, "the replica in Azure is gone"
    assert world.stack.machine("app1").state is MachineState.FAILED_BACK
    world.do("enable")


NEW_CARDS = [
    {"network": "management", "mac": "52:54:00:00:00:01", "address": None},
    {"network": "primary", "mac": "52:54:00:00:00:09", "address": "10.10.0.11", "prefix": 24, "routes": []},
]
TO_VMWARE = {
    "failback": {"process_server": {"name": "ps1"}, "master_target": {"name": "mt1"}, "fabric": "recovery"},
    "failback_nics": NEW_CARDS,
}


def fail_over(world, **settings):
    """To the end: the machine runs in Azure, and has these settings for its way back."""
    world.do("failover")
    world.do("commit")
    world.configure_azure(**settings)


def come_back(world, target):
    """The reverse copy is complete and one point is there."""
    target.answers["copy-barrier"] = lambda _: {"applied": 1}
    world.agent.client.event("initial-replication-complete", {}, machine="app1", stream=world.stream())
    world.point(target, 1)
    world.wait(MachineState.PROTECTED_REVERSE)
    world.process_server.answers["drain"] = lambda _: {"last_sequence": 1}
    world.do("failback")


@pytest.mark.requirement("P2A-FB-VMWARE", "P2A-FB-NOPHYS", "V2A-MT-SEPARATE", "V2A-FB-COMMIT", "V2A-FB-REENABLE")
def test_a_physical_machine_comes_back_as_a_new_vmware_machine(protected):
    world, target = protected, protected.add("master-target", "mt1")
    fail_over(world, **TO_VMWARE)
    world.do("reprotect")
    assert world.hosts["primary"].power("app1") is PowerState.OFF
    assert target.last("open-stream")["fresh"] is True
    order = world.agent.last("start-replication")
    assert order["mode"] == "copy", "there is nothing that the new disks could be compared with"
    assert [card["address"] for card in order["replica_networks"]] == ["10.10.0.11"]
    assert world.failback_target.commands == [], "the other master target takes no part"
    come_back(world, target)
    made = world.hosts["recovery"].machine("app1-failback")
    assert (made.power, [nic.network for nic in made.nics]) == (PowerState.ON, ["primary"])
    assert [item.serial for item in made.disks] == ["system", "data", "changes"]
    assert world.hosts["primary"].power("app1") is PowerState.OFF, "the physical machine stays off"
    world.do("commit-failback")
    assert list(world.cloud.machines()) == []
    assert world.stack.machine("app1").attributes["home"] == {"fabric": "recovery", "name": "app1-failback"}
    world.do("enable")


@pytest.mark.requirement("P2A-FB-VMWARE", "P2A-FB-NOPHYS")
def test_the_power_of_a_physical_machine_is_left_to_its_owner(physical):
    world, target = physical, physical.add("master-target", "mt1")
    fail_over(world, **TO_VMWARE, switched_by_owner=True)
    before = world.hosts["primary"].power("app1")
    world.do("reprotect")
    assert world.hosts["primary"].power("app1") is before, "the fabric was asked for what it cannot do"
    come_back(world, target)
    world.do("commit-failback")
    world.do("enable")
    world.sent = 0
    world.process_server.answers["drain"] = lambda _: {"last_sequence": world.sent}
    world.finish_first_copy()
    world.wait(MachineState.PROTECTED)
    world.do("failover")
    world.do("commit")
    world.do("reprotect")
    assert world.hosts["recovery"].power("app1-failback") is PowerState.OFF, "what came back is a fabric's business"


@pytest.mark.requirement("P2A-FB-NOPHYS", "LAB-REFUSAL")
@pytest.mark.parametrize(
    ("to", "said"),
    [("vmware", "nothing can plug disks into a physical machine"), ("physical", "only fail back to VMware")],
)
def test_a_physical_machine_does_not_come_back_as_itself(physical, to, said):
    fail_over(physical, switched_by_owner=True, failback={**SETTINGS["failback"], "to": to})
    with pytest.raises(OperationRefused, match=said) as refused:
        physical.do("reprotect")
    assert refused.value.reason == "not-supported"
    assert physical.stack.machine("app1").state is MachineState.FAILED_OVER


def test_what_came_back_as_a_new_machine_goes_and_comes_again_as_itself(protected):
    world, target = protected, protected.add("master-target", "mt1")
    fail_over(world, **TO_VMWARE)
    world.do("reprotect")
    come_back(world, target)
    world.do("commit-failback")
    world.do("enable")
    world.sent = 0
    world.process_server.answers["drain"] = lambda _: {"last_sequence": world.sent}
    world.finish_first_copy()
    world.wait(MachineState.PROTECTED)
    world.do("failover", shutdown_source=True)
    assert world.hosts["recovery"].power("app1-failback") is PowerState.OFF, "the source is the new machine"
    world.do("commit")
    world.do("reprotect")
    assert target.last("open-stream")["fresh"] is False, "it has its own disks already"
    come_back(world, target)
    assert world.hosts["recovery"].power("app1-failback") is PowerState.ON
    world.do("commit-failback")
    assert world.stack.machine("app1").attributes["home"]["name"] == "app1-failback"


@pytest.mark.requirement("P2A-FB-VMWARE", "LAB-REFUSAL")
def test_a_site_without_vmware_takes_nothing_back(tmp_path):
    world = AzureWorld(tmp_path, vmware=("primary",))
    try:
        world.add_single_server()
        world.add("master-target", "mt1")
        world.configure_azure(**TO_VMWARE)
        world.set_up(*STEPS)
        world.do("enable")
        world.finish_first_copy()
        world.wait(MachineState.PROTECTED)
        fail_over(world, **TO_VMWARE)
        with pytest.raises(JobFailed) as refusal:
            world.do("reprotect")
        assert refusal.value.job.error.type == "not-on-esxi"
        assert world.hosts["primary"].power("app1") is PowerState.ON, "nothing was done"
        assert list(world.hosts["recovery"].disks()) == []
    finally:
        world.close()


def test_disable_leaves_nothing_in_azure(protected):
    protected.do("disable")
    assert protected.storage._now.blobs == {}
    assert protected.storage._now.logs.keys() <= {"vault-check"}


def test_a_vault_that_is_away_fails_the_job_and_not_the_machine(protected):
    protected.run(protected.vault.close())
    with pytest.raises(JobFailed):
        protected.do("test-failover")
    assert protected.stack.machine("app1").state is MachineState.PROTECTED
    protected.vault = protected._start_vault()


def test_settings_name_one_target(world):
    with pytest.raises(InvalidRequest, match="master_target"):
        world.stack.call("PUT", "/v1/machines/app1", azure_settings("app1", master_target="mt1"))
    with pytest.raises(InvalidRequest, match="source"):
        world.stack.call("PUT", "/v1/machines/app1", azure_settings("app1", azure={"server": "a", "source": "hyperv"}))


def test_a_disk_that_has_grown_is_not_grown_in_azure_and_the_way_out_is_named(protected, caplog):
    disks = {"disks": [{"index": 1, "size": 8 << 20}]}
    protected.agent.client.event("disks-grown", disks, machine="app1", stream=protected.stream())
    with pytest.raises(OperationRefused, match="disable the machine's replication and enable it again") as refused:
        protected.do("grow-disks")
    assert refused.value.reason == "not-supported"
    assert protected.stack.machine("app1").state is MachineState.PROTECTED
    assert not [record for record in caplog.records if "are not grown" in record.message], "asked for again and again"


def test_there_is_no_other_master_target_to_move_to(protected):
    protected.add("master-target", "mt2")
    with pytest.raises(OperationRefused, match="no master target takes part") as refused:
        protected.do("move", master_target={"name": "mt2"})
    assert refused.value.reason == "not-supported"


def test_a_master_target_without_room_refuses_nobody_who_goes_to_azure(tmp_path):
    class Full(AzureWorld):
        def configured(self, config):
            return replace(super().configured(config), replica_disks={"ps1": 1})

    world = Full(tmp_path)
    try:
        world.add_single_server()
        world.configure_azure()
        world.set_up(*STEPS)
        world.do("enable")
        assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    finally:
        world.close()


@pytest.mark.requirement("GEN-P2A-OS")
def test_azure_has_a_support_matrix_of_its_own(world):
    unsupported = {"system": "sles", "version": "11.4", "kernel": "6.1.0", "architecture": "x86_64", "firmware": "bios"}
    world.add("mobility", "app1", unsupported)
    world.process_server = world.add("process-server", "ps1")
    world.configure_azure(push_install={"address": "10.10.0.11", "user": "root"})
    world.set_up(*STEPS)
    with pytest.raises(OperationRefused, match="supported for target azure"):
        world.do("enable")
    world.process_server.answers["push-install"] = lambda _: {"version": "7", "rebooted": True}
    world.do("push-install")
    assert world.process_server.last("push-install")["support"] == "azure"
