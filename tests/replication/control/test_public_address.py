"""The public address of a machine that goes from its host to Azure; provider, storage and cloud are stand-ins."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest
from azure_world import SMALL, AzureWorld
from provider_stand_in import DESCRIBED

from lab.hypervisors.model import PowerState
from lab.hypervisors.public import PublicAddress
from lab.stacks.errors import InvalidRequest, StackError
from lab.stacks.machines import MachineState

PUBLIC = {"network": "internet", "address": "203.0.113.51", "prefix": 24}
WANTED = PublicAddress("internet", IPv4Interface("203.0.113.51/24"), "azure", IPv4Interface("10.10.0.11/24"))
STEPS = (
    ("vault", "vault1", {}),
    ("goal", "azure", {"source": "hyper-v"}),
    ("servers", "branch", {"kind": "hyper-v"}),
    ("policy", "standard", {}),
)


def card(network: str) -> dict[str, object]:
    return {"network": network, "mac": "52:54:00:00:00:02", "address": "10.10.0.11", "prefix": 24}


def settings(**azure: object) -> dict[str, object]:
    return {
        "policy": "standard",
        "host": {"name": "hv1"},
        "azure": {"server": "branch", "source": "hyper-v", **azure},
        "disks": SMALL,
        "cpus": 1,
        "memory_mib": 256,
        "replica_nics": [card("azure")],
        "test_nics": [card("azure-test")],
    }


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(AzureWorld, "networks", frozenset({"azure", "azure-test", "internet"}))
    world = AzureWorld(tmp_path)
    world.sent = 0
    world.agent = world.add("provider", "hv1")
    world.agent.answers |= {**DESCRIBED, "drain": lambda _: {"last_sequence": world.sent}}
    world.stack.put_policy("standard", {"recovery_point_interval_s": 30, "retention_s": 7200, "rpo_threshold_s": 90})
    site = {"kind": "hyper-v-site", "hosts": ["hv1"], "policy": "standard"}
    world.stack.call("PUT", "/v1/fabrics/branch", site)
    for step, name, document in STEPS:
        world.stack.call("PUT", f"/v1/vault/{step}/{name}", document)
    yield world
    world.close()


def protect(world, **azure: object) -> None:
    world.stack.put_machine("app1", settings(**azure))
    world.do("enable")
    world.finish_first_copy()
    world.wait(MachineState.PROTECTED)


@pytest.mark.requirement("H2A-FO-PIP")
def test_a_replica_has_its_public_address_for_as_long_as_it_is_there(world):
    protect(world, public=PUBLIC)
    world.do("test-failover")
    assert world.addresses.assigned == {}, "a test copy is called by nobody"
    world.do("cleanup-test-failover")
    world.do("failover", recovery_point="latest-processed")
    assert world.cloud.power("app1-replica") is PowerState.ON
    assert world.addresses.assigned == {"app1-replica": WANTED}
    world.do("commit")
    assert world.addresses.assigned == {"app1-replica": WANTED}


@pytest.mark.requirement("H2A-FO-PIP")
def test_a_replica_has_none_that_nobody_wanted(world):
    protect(world)
    world.do("failover", recovery_point="latest-processed")
    assert world.addresses.assigned == {}


@pytest.mark.requirement("H2A-PREP", "H2A-FO-PIP")
def test_a_public_address_on_a_network_that_is_not_there_is_refused_at_once(world):
    world.stack.put_machine("app1", settings(public={**PUBLIC, "network": "nowhere"}))
    with pytest.raises(StackError, match="no network nowhere in Azure"):
        world.do("enable")


def test_a_machine_with_an_agent_has_a_card_for_it(world):
    with pytest.raises(InvalidRequest, match="another machine has a card"):
        world.configure_azure(azure={"server": "branch", "source": "physical", "public": PUBLIC})
