"""How machines come under protection and leave it, who takes part in it, and what is written down about it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from azure_world import STEPS, AzureWorld
from control_stand_ins import PATIENCE, QUICK, SETTINGS, World
from data_path import stranger

from lab.replication.common.config import Endpoint
from lab.stacks.errors import StackError
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState

PATIENT = replace(QUICK, watch=600, delivery=15 * PATIENCE)
PLACES = ("10.10.0.11", "127.0.0.1")
PUSH = {"address": PLACES[0], "user": "root"}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, PATIENT)
    yield made
    made.close()


@pytest.mark.requirement("V2A-PS-PUSH", "V2A-MOB-PUSH", "V2S-PS-PUSH")
def test_the_process_server_installs_the_mobility_service(world):
    server = world.add("process-server", "ps1")
    server.answers["push-install"] = lambda _: {"version": "7"}
    world.configure()
    world.stack.put_machine("app1", {**SETTINGS, "push_install": PUSH})
    world.do("push-install")
    told = server.last("push-install")
    assert (told["machine"], told["address"], told["configuration_server"]["address"]) == ("app1", *PLACES)
    assert world.stack.machine("app1").attributes["mobility_version"] == "7"


@pytest.mark.requirement("V2A-MOB-MANUAL")
def test_a_mobility_service_that_was_installed_by_hand_is_as_good(world):
    world.add_components()
    world.configure()
    world.do("enable")
    assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    assert "push-install" not in world.process_server.names()


@pytest.mark.requirement("V2S-MT-SECONDARY")
def test_replicated_data_is_kept_in_the_secondary_site(world):
    before = set(world.hosts["primary"].disks())
    world.protected()
    kept = {item.disk.name for item in world.hosts["recovery"].machine("mt1").disks}
    assert kept == {"app1-system-replica", "app1-data-replica"}
    assert set(world.hosts["primary"].disks()) == before


@pytest.mark.requirement("LAB-RTO")
def test_every_step_of_a_failover_says_how_long_it_took(world):
    world.protected()
    job = world.do("failover", shutdown_source=True)
    assert len(job.steps) > 3
    for step in job.steps:
        assert job.started_ns <= step.started_ns <= (step.ended_ns or 0) <= job.ended_ns, step


@pytest.mark.requirement("V2A-CS-COORD")
def test_the_configuration_server_begins_and_ends_replication_everywhere(world):
    world.protected()
    for component in (world.process_server, world.master_target):
        assert "open-stream" in component.names()
    world.do("disable")
    assert "stop-replication" in world.agent.names()
    for component in (world.process_server, world.master_target):
        assert "close-stream" in component.names()
    assert not list(world.hosts["recovery"].disks())


@pytest.mark.requirement("V2A-PORT-443-CS-OUT", "V2A-VAULT-ADD")
def test_nothing_is_set_up_with_a_vault_of_another_authority(tmp_path):
    class Misled(World):
        def configured(self, config):
            return replace(config, vault=Endpoint("127.0.0.1", port))

    with stranger(tmp_path) as port:
        world = Misled(tmp_path, PATIENT)
        try:
            with pytest.raises(StackError, match="CERTIFICATE_VERIFY_FAILED"):
                world.stack.call("PUT", "/v1/vault/vault/vault1", {})
            assert world.stack.call("GET", "/v1/vault")["setup"] == {}
        finally:
            world.close()


@pytest.mark.requirement("GEN-V2A-HOST", "V2A-ESX")
def test_a_vmware_machine_that_no_host_has_does_not_go_to_azure(tmp_path):
    world = AzureWorld(tmp_path, PATIENT)
    try:
        world.add_single_server()
        world.configure_azure(vmware="app1")
        world.set_up(*STEPS)
        with pytest.raises(JobFailed) as refusal:
            world.do("enable")
        assert refusal.value.job.error.type == "not-on-esxi"
        assert not world.process_server.commands
    finally:
        world.close()
