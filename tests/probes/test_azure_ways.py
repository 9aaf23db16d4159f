"""How data gets to Azure, and what its management server may be; no account is called."""

from __future__ import annotations

import base64

import pytest
from azure_world import STEPS, AzureWorld
from test_deployment import PATIENT

from lab.replication.vault.azure_storage import AzureStorage
from lab.stacks.protocol import MachineState

OWN = "https://10.99.0.10:10000/recoverylab"
PUBLIC = "https://203.0.113.10/recoverylab"


@pytest.mark.requirement("V2A-NET-PUBLIC")
def test_process_servers_are_told_the_public_endpoint_of_the_storage():
    key = base64.b64encode(bytes(64)).decode()
    secret = f"DefaultEndpointsProtocol=https;AccountName=recoverylab;AccountKey={key};BlobEndpoint={OWN};"
    for public, expected in ((PUBLIC, PUBLIC), (None, OWN)):
        storage = AzureStorage(secret, None, public)
        assert storage.access("app1-1", 60).container == f"{expected}/app1-1"
        storage.close()


@pytest.mark.requirement("P2A-CS-PHYS", "P2A-SAME")
def test_a_management_server_that_is_no_vmware_machine_is_as_good(tmp_path):
    world = AzureWorld(tmp_path, PATIENT)
    try:
        world.add_single_server()
        world.configure_azure()
        world.set_up(*STEPS)
        assert not [machine for site in world.stack.inventory().values() for machine in site.machines]
        world.do("enable")
        assert world.stack.machine("app1").state is MachineState.INITIAL_REPLICATION
    finally:
        world.close()
