"""Machines that are replicated from their host to Azure: the real server and vault, with stand-ins for providers."""

from __future__ import annotations

import pytest
from azure_world import SMALL, AzureWorld
from control_stand_ins import soon
from provider_stand_in import Host
from test_host_machines import BUBBLE, PATIENT, is_away
from test_host_rules import host_settings

from lab.hypervisors.model import PowerState
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState

POLICY = {"recovery_point_interval_s": 30, "retention_s": 7200, "rpo_threshold_s": 90}
VAULT = (
    ("vault", "vault1", {}),
    ("goal", "azure", {"source": "hyper-v"}),
    ("servers", "site1", {"kind": "hyper-v"}),
    ("policy", "hosts", {}),
)


class Branch(AzureWorld):
    """A host with a machine, another host, and Azure."""

    def prepare(self) -> None:
        self.one, self.two = Host(self, "hv1"), Host(self, "hv2")
        self.one.machines["app1"] = "on"
        self.agent, self.sent = self.one.provider, 0
        self.one.provider.answers |= {"drain": self.last_words, "cut": lambda _: {"sequence": self.sent}}
        self.pulls: list[tuple[str, str, PowerState]] = []
        for name, host in (("hv1", self.one), ("hv2", self.two)):
            host.provider.answers["pull-disks"] = lambda order, name=name: self.pulled(name, order)
        self.stack.put_policy("hosts", POLICY)
        azure = {"server": "site1", "source": "hyper-v"}
        settings = host_settings(policy="hosts", recovery_host=None, azure=azure, disks=SMALL, test_nics=BUBBLE)
        self.stack.put_machine("app1", settings)

    def last_words(self, order: dict) -> dict:
        """What the machine wrote last can be had when it is off."""
        if order["final"] and self.one.machines["app1"] == "off":
            self.upload(content=b"9")
        return {"last_sequence": self.sent}

    def pulled(self, host: str, order: dict) -> dict:
        self.pulls.append((host, order["mode"], self.cloud.power("app1-replica")))
        return {}

    def add_site(self, policy: str = "hosts") -> None:
        document = {"kind": "hyper-v-site", "hosts": ["hv1"], "policy": policy}
        self.stack.call("PUT", "/v1/fabrics/site1", document)

    def add_vault(self) -> None:
        for step, name, document in VAULT:
            self.stack.call("PUT", f"/v1/vault/{step}/{name}", document)

    def refused(self, operation: str) -> str:
        with pytest.raises(OperationRefused) as caught:
            self.do(operation)
        return caught.value.reason


@pytest.fixture
def branch(tmp_path):
    world = Branch(tmp_path, PATIENT)
    world.prepare()
    yield world
    world.close()


@pytest.fixture
def protected(branch):
    branch.add_site()
    branch.add_vault()
    branch.do("enable")
    branch.finish_first_copy()
    branch.wait(MachineState.PROTECTED)
    return branch


@pytest.mark.requirement("H2A-SITE", "H2A-VAULT", "H2A-TARGET", "H2A-POLICY")
def test_site_policy_and_vault_come_before_protection(branch):
    assert branch.refused("enable") == "not-set-up"
    branch.add_site(policy="another")
    branch.add_vault()
    assert branch.refused("enable") == "not-set-up", "its site has another policy"
    branch.add_site()
    branch.do("enable")
    assert set(branch.one.provider.last("start-replication")) >= {"storage"}


@pytest.mark.requirement("H2A-VAULT", "H2A-TARGET")
def test_without_a_vault_nothing_is_protected(branch):
    branch.add_site()
    assert branch.refused("enable") == "step-too-early"
    assert branch.one.provider.commands == []


@pytest.mark.requirement("H2A-VMM-SRC")
def test_with_a_vmm_server_the_source_is_a_cloud(branch):
    branch.stack.call("PUT", "/v1/fabrics/vmm1", {"kind": "vmm"})
    branch.add_vault()
    assert branch.refused("enable") == "not-set-up", "its host is in no cloud yet"
    cloud = {"fabric": "vmm1", "capability_profile": "hyper-v", "hosts": ["hv1"], "policy": "hosts"}
    branch.stack.call("PUT", "/v1/clouds/cloud1", cloud)
    branch.do("enable")
    assert set(branch.one.provider.last("start-replication")) >= {"storage"}


@pytest.mark.requirement("H2A-INST-BOTH")
def test_a_host_without_a_provider_protects_nothing(branch):
    branch.stack.call("PUT", "/v1/fabrics/site1", {"kind": "hyper-v-site", "hosts": ["hv9"], "policy": "hosts"})
    branch.add_vault()
    azure = {"server": "site1", "source": "hyper-v"}
    settings = host_settings(policy="hosts", host={"name": "hv9"}, recovery_host=None, azure=azure, disks=SMALL)
    branch.stack.put_machine("app1", settings)
    with pytest.raises(OperationRefused, match="provider-hv9 is not registered"):
        branch.stack.start("app1", "enable")


@pytest.mark.requirement("H2A-NOAGENT")
def test_nothing_is_installed_in_a_machine_of_a_host(protected):
    with pytest.raises(OperationRefused) as caught:
        protected.stack.start("app1", "push-install")
    assert caught.value.reason == "not-supported"
    assert {component.kind for component in protected.stack.components()} == {"provider"}


@pytest.mark.requirement("H2A-TFO", "LAB-TFO-ISOLATION")
def test_a_test_failover_leaves_nothing_in_azure(protected):
    protected.do("test-failover")
    test = protected.cloud.machine("app1-test")
    assert (test.power, [nic.network for nic in test.nics]) == (PowerState.ON, ["bubble"])
    assert protected.one.machines == {"app1": "on"}
    protected.do("cleanup-test-failover")
    assert not list(protected.cloud.machines())


@pytest.mark.requirement(
    *("H2A-PFO", "H2A-PFO-OFF", "H2A-PFO-ZERO", "H2A-FO-SINGLE", "H2A-FO-VISIBLE", "H2A-COMMIT"),
    *("H2A-FB-PLANNED", "H2A-FB-SAME", "H2A-FB-SYNC", "H2A-FB-ZERO", "H2A-FB-COMMIT"),
)
def test_a_planned_failover_to_azure_and_back_has_the_last_writes(protected):
    world = protected
    world.do("planned-failover")
    assert world.one.machines == {"app1": "off"}
    assert world.content("app1-replica") == b"9"
    replica = world.cloud.machine("app1-replica")
    assert (replica.power, [nic.network for nic in replica.nics]) == (PowerState.ON, ["secondary"])
    world.do("commit")
    status = world.stack.machine("app1")
    assert (status.state, status.recovery_points) == (MachineState.FAILED_OVER, 0)
    assert {len(blob.snapshots) for blob in world.storage._now.blobs.values()} == {1}
    assert world.refused("reprotect") == "not-supported"
    world.do("failback")
    assert world.pulls == [("hv1", "compare", PowerState.ON), ("hv1", "compare", PowerState.OFF)]
    assert {"adopt-disks"} == {"adopt-disks", "create-replica-disks"} & set(world.one.provider.names())
    assert world.one.machines == {"app1": "on"}
    world.do("commit-failback")
    assert world.stack.machine("app1").state is MachineState.FAILED_BACK
    assert not list(world.cloud.machines())


@pytest.mark.requirement("H2A-UFO", "H2A-FB-ALT")
def test_without_its_host_a_machine_goes_to_azure_and_comes_back_to_another_host(protected):
    world = protected
    is_away(world.one)
    world.do("failover")
    assert world.cloud.power("app1-replica") is PowerState.ON
    world.do("commit")
    world.stack.run("app1", "failback", soon(), {"to": "alternate", "host": "hv2", "data": "download"})
    assert world.pulls == [("hv2", "everything", PowerState.OFF)]
    assert world.two.machines == {"app1": "on"}
