"""What the reference stack is told on hypervisor hosts, from the topologies that ship with the lab."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.replication.common.config import ServiceConfig
from lab.replication.configuration_server.settings_document import parse_settings
from lab.replication.provider.tickets import Realm
from lab.stacks.reference.azure import networks_in_azure, setup_steps
from lab.stacks.reference.hosts import host_settings, management_documents, policy_of_host, provider_config
from lab.stacks.reference.realm import client_configuration, server_configuration
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.topology.naming import mac_for

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@pytest.fixture(scope="module")
def to_site() -> Topology:
    return load_topology(TOPOLOGIES / "hyperv-to-secondary.yaml")


@pytest.fixture(scope="module")
def to_azure() -> Topology:
    return load_topology(TOPOLOGIES / "hyperv-to-azure.yaml")


def test_hosts_receive_on_the_way_between_the_sites_and_nowhere_else(to_site: Topology) -> None:
    for host, address in (("hv1", "10.30.0.31"), ("hv2", "10.30.0.32")):
        config = provider_config(to_site, host)
        assert (config["data_port"], config["data_address"]) == (8084, address)
        assert set(config["hypervisor"]["bridges"]) == {"management", "primary", "secondary", "bubble"}


def test_hosts_know_the_realm_where_there_is_one(to_site: Topology, to_azure: Topology) -> None:
    for host, peer in (("hv1", "hv2"), ("hv2", "hv1")):
        realm = Realm.of(ServiceConfig.from_json(provider_config(to_site, host)))
        assert realm is not None
        assert (realm.peers, realm.keytab) == ({peer}, Path("/etc/recovery/provider.keytab"))
        assert realm.principal(peer) == f"host/{peer}@HYPERV-TO-SECONDARY.RECOVERY-LAB"
        assert " kdc = 10.30.0.42:88\n" in client_configuration(to_site, host, "vmm2")
    assert Realm.of(ServiceConfig.from_json(provider_config(to_azure, "hv1"))) is None


def test_the_kdc_listens_where_hosts_are_and_nowhere_else(to_site: Topology) -> None:
    written = server_configuration(to_site, "vmm2")
    assert " kdc_tcp_listen = 127.0.0.1:88 10.30.0.42:88\n" in written
    assert ' kdc_listen = ""\n' in written


def test_hosts_that_send_to_azure_receive_nothing(to_azure: Topology) -> None:
    for host in ("hv1", "hv2"):
        config = provider_config(to_azure, host)
        assert "data_port" not in config
        assert config["hypervisor"]["domain_type"] == "kvm"


def test_a_vmm_server_manages_only(to_site: Topology) -> None:
    config = provider_config(to_site, "vmm1")
    assert config["manages_only"]
    assert "hypervisor" not in config
    assert config["configuration_server"] == {"address": "203.0.113.10", "port": 443}


def test_settings_are_those_that_the_orchestrator_accepts(to_site: Topology, to_azure: Topology) -> None:
    for topology in (to_site, to_azure):
        document = host_settings(topology, "nest", "app1", partial(mac_for, topology.name))
        settings = parse_settings(document)
        assert settings.policy == "standard"
        assert settings.host is not None
        assert settings.host.guest == "nest.app1"
        assert settings.host.start_at_ns == 0
        assert settings.host.system == ("debian", "12")


def test_each_host_is_called_where_the_other_one_reaches_it(to_site: Topology) -> None:
    document = host_settings(to_site, "nest", "app1", partial(mac_for, to_site.name))
    assert document["host"]["address"] == "10.30.0.31"
    assert document["recovery_host"] == {"name": "hv2", "address": "10.30.0.32"}


def test_copies_keep_the_cards_of_the_machine(to_azure: Topology) -> None:
    mac_of = partial(mac_for, to_azure.name)
    document = host_settings(to_azure, "nest", "app1", mac_of)
    own = [mac_of("app1", "management"), mac_of("app1", "primary")]
    for kind, network in (("replica_nics", "azure"), ("test_nics", "azure-test"), ("failback_nics", "primary")):
        assert [card["mac"] for card in document[kind]] == own
        assert [card["network"] for card in document[kind]] == ["management", network]


def test_a_cloud_comes_after_its_vmm_server(to_site: Topology, to_azure: Topology) -> None:
    paths = [path for path, _ in management_documents(to_site)]
    assert paths == ["/v1/fabrics/vmm1", "/v1/fabrics/vmm2", "/v1/clouds/primary-cloud", "/v1/clouds/secondary-cloud"]
    ((path, document),) = management_documents(to_azure)
    assert path == "/v1/fabrics/branch"
    assert document == {"kind": "hyper-v-site", "hosts": ["hv1", "hv2"], "policy": "standard"}


def test_no_configuration_server_is_added_to_the_vault_for_hosts(to_azure: Topology) -> None:
    steps = setup_steps(to_azure)
    assert [step.kind for step in steps] == ["vault", "goal", "servers", "policy"]
    assert steps[2].document == {"kind": "hyper-v", "machines": ["app1"]}


def test_a_public_address_is_on_the_way_to_azure(to_site: Topology, to_azure: Topology) -> None:
    azure, site = (host_settings(each, "nest", "app1", partial(mac_for, each.name)) for each in (to_azure, to_site))
    assert azure["azure"]["public"] == {"network": "internet", "address": "203.0.113.51", "prefix": 24}
    assert "azure" not in site


def test_the_networks_of_replicas_are_there_before_anything_is_deployed(to_azure: Topology) -> None:
    assert networks_in_azure(to_azure) == ["azure", "azure-test", "internet"]


def test_a_host_that_nobody_manages_has_no_policy(to_site: Topology) -> None:
    assert policy_of_host(to_site, "hv2", "hv1") == "standard"
    with pytest.raises(BadInput, match="hv2"):
        policy_of_host(to_site, "hv2")
