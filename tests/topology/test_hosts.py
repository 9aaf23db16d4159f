"""Topologies whose machines are replicated from their host (H2A, H2S)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.errors import BadInput
from lab.topology.facts import Acceleration, AccelerationFact, Facts, LibvirtFact
from lab.topology.hosts import NestedHost
from lab.topology.load import load_topology
from lab.topology.plan import make_plan

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
FACTS = Facts(
    cores=2,
    memory_bytes=16 << 30,
    memory_available_bytes=12 << 30,
    disk_path="/var/lib/recovery-lab",
    disk_free_bytes=100 << 30,
    acceleration=AccelerationFact(Acceleration.TCG, proved=True, reason="booted"),
    libvirt=(LibvirtFact("qemu:///system", reachable=True, detail="9.0.0"),),
    missing_tools=frozenset(),
    systemd=True,
    root=True,
)
TO_SITE, TO_AZURE = "hyperv-to-secondary.yaml", "hyperv-to-azure.yaml"


def changed(tmp_path: Path, name: str, change) -> Path:
    document = yaml.safe_load((TOPOLOGIES / name).read_text())
    change(document)
    path = tmp_path / name
    with path.open("w") as sink:
        yaml.safe_dump(document, sink, sort_keys=False)
    return path


@pytest.mark.parametrize("name", [TO_SITE, TO_AZURE])
def test_the_topologies_load_and_say_where_machines_run(name):
    topology = load_topology(TOPOLOGIES / name)
    assert topology.inside_of("app1") == "hv1"
    assert topology.inside_of("hv1") is None
    assert isinstance(topology.hosts["hv1"], NestedHost)


def test_the_plan_counts_what_runs_inside_only_once():
    topology = load_topology(TOPOLOGIES / TO_SITE)
    plan = make_plan(topology, FACTS)
    outside = [machine for machine in topology.machines.values() if machine.host is None]
    assert plan.memory_bytes == sum(machine.memory for machine in outside)
    places = {machine.name: (machine.host, machine.site) for machine in (*plan.machines, *plan.replicas)}
    assert places["app1"] == ("hv1", "primary")
    assert places["app1-replica"] == ("hv2", "secondary")
    assert plan.runnable, plan.lacks


def guests_too_large(document):
    document["machines"]["app1"]["memory"] = "1 GiB"


def stand_alone(document):
    del document["stack"]["clouds"]["secondary-cloud"]


def odd_frequency(document):
    document["stack"]["policies"]["standard"]["recovery_point_interval"] = "60 s"


def group(document):
    document["stack"]["groups"] = {"shop": {"members": ["app1"], "multi_vm_consistency": True}}


def not_nested(document):
    del document["machines"]["app1"]["host"]


def no_recovery_host(document):
    document["stack"]["protect_from_host"]["app1"] = {}


def by_an_agent(document):
    document["stack"]["protect"] = {"app1": {"policy": "standard", "process_server": "rec1", "master_target": "rec1"}}


def no_policy(document):
    del document["stack"]["clouds"]["primary-cloud"]["policy"]


def foreign_machine(document):
    document["hosts"]["hv1"]["machine"] = "vmm1"


def two_clouds(document):
    document["stack"]["clouds"]["secondary-cloud"]["hosts"] = ["hv2", "hv1"]


def other_site(document):
    document["machines"]["app1"]["site"] = "secondary"


def other_address(document):
    document["machines"]["app1"]["replica"]["test_interfaces"][0]["address"] = "10.10.0.77"


def on_esxi(document):
    document["hosts"]["local"] = {"kind": "esxi", "emulated": True}


def by_kerberos(document):
    document["stack"]["policies"]["standard"]["authentication"] = "kerberos"


def no_kdc(document):
    by_kerberos(document)
    document["machines"]["vmm2"]["roles"].remove("kdc")


def two_kdcs(document):
    document["machines"]["vmm1"]["roles"].append("kdc")


def lonely_kdc(document):
    document["machines"]["vmm2"]["interfaces"] = document["machines"]["vmm2"]["interfaces"][:1]


def test_hosts_may_authenticate_by_kerberos_where_there_is_a_kdc(tmp_path):
    assert load_topology(TOPOLOGIES / TO_SITE).stack.policies["standard"].authentication == "certificate"
    assert (
        load_topology(changed(tmp_path, TO_SITE, by_kerberos)).stack.policies["standard"].authentication == "kerberos"
    )


def test_kerberos_without_a_kdc_is_refused_at_its_line(tmp_path):
    path = changed(tmp_path, TO_SITE, no_kdc)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "authentication:" in text)
    with pytest.raises(BadInput) as refused:
        load_topology(path)
    assert f"{path}:{line}: " in str(refused.value)
    assert "Kerberos needs a machine with role 'kdc'" in str(refused.value)


def test_to_azure_nobody_authenticates_by_kerberos(tmp_path):
    with pytest.raises(BadInput, match="in scenario H2A no host sends to another one"):
        load_topology(changed(tmp_path, TO_AZURE, by_kerberos))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (two_kdcs, "one machine has the role 'kdc', not vmm1, vmm2"),
        (lonely_kdc, "hv1 is on no network of the KDC"),
        (other_address, "keeps its addresses: 10.10.0.11"),
        (on_esxi, "a nested host has to be on libvirt"),
        (guests_too_large, "its machines and the host itself need"),
        (stand_alone, "host hv2 is in no VMM cloud"),
        (odd_frequency, "30 s, 5 min or 15 min"),
        (group, "share no recovery points"),
        (not_nested, "has to run inside of a hypervisor host"),
        (no_recovery_host, "'recovery_host' is for a secondary site, and needed there"),
        (by_an_agent, "see 'protect_from_host'"),
        (no_policy, "needs a policy"),
        (foreign_machine, "hypervisor-host"),
        (two_clouds, "hv1"),
        (other_site, "which is at another site"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(tmp_path, change, message):
    with pytest.raises(BadInput) as refused:
        load_topology(changed(tmp_path, TO_SITE, change))
    assert message in str(refused.value)


def public(address):
    def change(document):
        document["machines"]["app1"]["replica"]["public_address"] = address

    return change


def at_the_gateway(document):
    for cards in ("interfaces", "test_interfaces", "failback_interfaces"):
        document["machines"]["app1"]["replica"][cards][0]["address"] = "10.10.0.1"
    document["machines"]["app1"]["interfaces"][1]["address"] = "10.10.0.1"


def by_expressroute(document):
    document["networks"]["internet"]["kind"] = "expressroute"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (TO_AZURE, public("203.0.114.1"), "outside 203.0.113.0/24"),
        (TO_AZURE, public("203.0.113.31"), "belongs to hv1 already"),
        (TO_AZURE, public("203.0.113.10"), "belongs to the vault already"),
        (TO_AZURE, at_the_gateway, "10.10.0.1 on 'azure' is the gateway's"),
        (TO_AZURE, by_expressroute, "a public address is on the internet"),
        (TO_SITE, public("203.0.113.51"), "from their host to Azure"),
    ],
)
def test_a_public_address_that_cannot_be_is_refused(tmp_path, name, change, message):
    with pytest.raises(BadInput) as refused:
        load_topology(changed(tmp_path, name, change))
    assert message in str(refused.value)


def no_site(document):
    document["stack"]["hyper_v_sites"] = {}


def no_azure(document):
    del document["azure"]


@pytest.mark.parametrize(("change", "message"), [(no_site, "in no Hyper-V site"), (no_azure, "needs 'azure'")])
def test_what_azure_needs(tmp_path, change, message):
    with pytest.raises(BadInput) as refused:
        load_topology(changed(tmp_path, TO_AZURE, change))
    assert message in str(refused.value)
