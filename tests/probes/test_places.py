"""Which servers take part and where they stand, and that machines come after them: the real configuration server."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from control_stand_ins import SETTINGS, World
from data_path import SOON_S
from test_deployment import PATIENT, PUSH

from lab.replication.common.config import Endpoint
from lab.stacks.errors import OperationRefused


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path, PATIENT)
    yield made
    made.close()


def carrier(world: World) -> str:
    """Return the address of the process server that the agent was told last."""
    return world.agent.last("start-replication")["process_server"]["address"]


@pytest.mark.requirement("V2S-PS-PRIMARY")
def test_data_leaves_a_site_over_its_own_process_server(world):
    world.protected()
    assert carrier(world) == SETTINGS["process_server"]["address"]
    world.do("failover")
    world.do("commit")
    world.do("reprotect")
    assert carrier(world) == SETTINGS["failback"]["process_server"]["address"], "now it leaves the other site"


@pytest.mark.requirement("V2S-MT-UA")
def test_no_machine_is_enabled_before_its_master_target_is_registered(world):
    world.add("mobility", "app1")
    server = world.add("process-server", "ps1")
    world.configure()
    with pytest.raises(OperationRefused, match="master-target-mt1 is not registered"):
        world.stack.start("app1", "enable")
    assert not server.commands
    world.add("master-target", "mt1")
    world.do("enable")


@pytest.mark.requirement("V2S-SETUP")
def test_agents_come_after_the_servers(world):
    world.configure()
    world.stack.put_machine("app1", {**SETTINGS, "push_install": PUSH})
    with pytest.raises(OperationRefused, match="process-server-ps1 is not registered"):
        world.stack.start("app1", "push-install")
    server = world.add("process-server", "ps1")
    world.do("push-install")
    assert server.names() == ["push-install"]


@pytest.mark.requirement("V2S-SCOUT")
def test_to_a_site_of_ones_own_no_part_of_azure_takes_part(world):
    world.protected()
    assert world.stack.call("GET", "/v1/vault")["setup"] == {}
    opened = world.process_server.last("open-stream")
    assert (opened["master_target"]["name"], opened.get("storage")) == ("mt1", None)


@pytest.mark.requirement("H2S-VMM-NET", "V2A-PORT-443-MGMT")
def test_the_management_port_is_open_on_every_address(tmp_path):
    """VMM servers and hosts of another site come over the internet, the servers of its own site do not."""

    class Everywhere(World):
        def configured(self, config):
            return replace(config, listen=Endpoint("0.0.0.0", 0))  # noqa: S104 - as it is installed

    world = Everywhere(tmp_path, PATIENT)
    try:
        for address in (*world.config.addresses, "127.0.0.2"):
            socket.create_connection((address, world.config.listen.port), SOON_S).close()
    finally:
        world.close()
