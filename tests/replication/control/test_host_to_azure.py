"""A machine that is replicated from its host to Azure: a real provider and libvirt domain, Azurite, the real vault."""

from __future__ import annotations

import hashlib

import pytest
from azure_world import AzureWorld
from host_world import PATIENT, HostWorld
from provider_host import MIB, SIZES, digest
from test_provider_qemu import REFUSAL

from lab.emulators.azurite.package import missing_program
from lab.emulators.azurite.service import running
from lab.home import home
from lab.hypervisors.model import PowerState
from lab.replication.vault.azure_storage import AzureStorage
from lab.stacks.errors import InvalidRequest, OperationRefused
from lab.stacks.machines import MachineState

reason = REFUSAL or (missing_program() and f"Azurite needs {missing_program()}")
pytestmark = [
    pytest.mark.qemu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(reason is not None, reason=str(reason)),
]


class CloudWorld(AzureWorld):
    def __init__(self, folder, azurite):
        self.azurite = azurite
        super().__init__(folder, PATIENT)

    def give(self, contents):
        """Have the cloud give these disks, and their last bytes only when the machine is off."""
        self.exported_later = 0

        def export(disk, target):
            machine, _, name = disk.name.removeprefix("azure-").rpartition("-")
            content = contents[name]
            if self.cloud.power(machine) is PowerState.OFF:
                content[-5:] = b"last!"
                self.exported_later += 1
            target.write_bytes(content)

        self.cloud.export_disk = export

    def open_storage(self):
        return AzureStorage(self.azurite.connection_string, self.azurite.certificates.ca)


class AzureHosts(HostWorld):
    hosts = ("hv1",)

    def __init__(self, folder, azurite):
        self.azurite = azurite
        super().__init__(folder)

    def open_world(self, folder):
        return CloudWorld(folder, self.azurite)

    def set_up(self) -> None:
        self.start("hv1")
        policy = {"recovery_point_interval_s": 30, "retention_s": 3600, "rpo_threshold_s": 90}
        self.stack.put_policy("hosts", policy)
        self.put_machine()

    def put_machine(self, **more):
        settings = {**self.settings(), "azure": {"server": "site1", "source": "hyper-v"}, **more}
        del settings["recovery_host"]
        self.stack.put_machine(self.machine, settings)

    def set_up_vault(self):
        for step, name, document in (
            ("vault", "vault1", {}),
            ("goal", "azure", {"source": "hyper-v"}),
            ("servers", "site1", {"kind": "hyper-v"}),
            ("policy", "hosts", {}),
        ):
            self.stack.call("PUT", f"/v1/vault/{step}/{name}", document)

    def blobs(self) -> dict[str, str]:
        """The digests of the replica's page blobs."""
        stream = self.status().attributes["stream"]
        found = {}
        for index, (name, size) in enumerate(SIZES.items()):
            content = hashlib.sha256()
            for offset in range(0, size, MIB):
                content.update(self.world.storage.read(f"{stream}-{index}", offset, MIB))
            found[name] = content.hexdigest()
        return found

    def run_in_azure(self) -> dict[str, str]:
        """Have the region's hypervisor give disks with writes of the machine that runs there; return their digests."""
        stream = self.status().attributes["stream"]
        contents = {}
        for index, (name, size) in enumerate(SIZES.items()):
            pieces = [self.world.storage.read(f"{stream}-{index}", offset, MIB) for offset in range(0, size, MIB)]
            contents[name] = bytearray(b"".join(pieces))
            contents[name][3 * MIB : 3 * MIB + 5000] = b"azure" * 1000
        self.world.give(contents)
        # What the machine writes at last, when the first transfer is over.
        return {name: hashlib.sha256(bytes(content[:-5]) + b"last!").hexdigest() for name, content in contents.items()}

    def source(self) -> dict[str, str]:
        running = self.domain(self.machine).isActive()
        return self.digests(self.images, self.machine if running else None)


@pytest.fixture
def hosts(tmp_path):
    with running(home() / "emulators", tmp_path / "azurite") as local:
        hosts = AzureHosts(tmp_path, local.azurite)
        try:
            hosts.set_up()
            yield hosts
        finally:
            (tmp_path / "providers.log").write_text(hosts.logs())
            hosts.close()


@pytest.fixture
def protected(hosts):
    hosts.stack.call("PUT", "/v1/fabrics/site1", {"kind": "hyper-v-site", "hosts": ["hv1"], "policy": "hosts"})
    hosts.set_up_vault()
    hosts.write(hosts.machine)
    hosts.do("enable")
    hosts.wait(MachineState.PROTECTED)
    return hosts


def refused(hosts, operation, **arguments):
    with pytest.raises(OperationRefused) as refused:
        hosts.do(operation, **arguments)
    return refused.value


@pytest.mark.requirement("H2A-SITE", "H2A-VAULT", "H2A-TARGET", "H2A-POLICY")
def test_nothing_is_enabled_before_site_and_vault_are_set_up(hosts):
    assert refused(hosts, "enable").reason == "not-set-up"
    hosts.stack.call("PUT", "/v1/fabrics/site1", {"kind": "hyper-v-site", "hosts": ["hv1"], "policy": "hosts"})
    assert refused(hosts, "enable").reason == "step-too-early"
    hosts.set_up_vault()
    hosts.do("enable")


@pytest.mark.requirement(
    "H2A-PFO",
    "H2A-PFO-OFF",
    "H2A-PFO-ZERO",
    "H2A-TFO",
    "H2A-FO-SINGLE",
    "H2A-FO-VISIBLE",
    "H2A-COMMIT",
    "H2A-IR",
    "H2A-DELTA",
    "H2A-FB-PLANNED",
    "H2A-FB-SAME",
    "H2A-FB-SYNC",
    "H2A-FB-ZERO",
    "H2A-FB-COMMIT",
)
def test_planned_failover_to_azure_loses_nothing(protected):
    hosts = protected
    hosts.write(hosts.machine)
    hosts.cut()
    assert hosts.blobs() == hosts.source()
    test = f"{hosts.machine}-test"
    hosts.do("test-failover")
    assert hosts.world.cloud.power(test) is PowerState.ON
    hosts.do("cleanup-test-failover")
    assert [machine.name for machine in hosts.world.cloud.machines()] == []

    hosts.write(hosts.machine)  # in no cut yet
    hosts.do("planned-failover")
    assert not hosts.domain(hosts.machine).isActive()
    assert hosts.blobs() == hosts.source()
    status = hosts.status()
    assert status.state is MachineState.COMMIT_PENDING
    assert hosts.world.cloud.power(hosts.replica) is PowerState.ON
    hosts.do("commit")
    assert hosts.status().state is MachineState.FAILED_OVER
    assert refused(hosts, "reprotect").reason == "not-supported"

    # The machine in Azure goes on writing; its disks are what the region's hypervisor would give.
    written = hosts.run_in_azure()
    hosts.do("failback")
    assert hosts.status().state is MachineState.FAILBACK_COMMIT_PENDING
    assert hosts.world.cloud.power(hosts.replica) is PowerState.OFF
    assert hosts.domain(hosts.machine).isActive()
    assert hosts.source() == written
    assert hosts.world.exported_later > 0, "written between the two transfers"
    hosts.do("commit-failback")
    assert hosts.status().state is MachineState.FAILED_BACK
    assert [machine.name for machine in hosts.world.cloud.machines()] == []
    assert not list((hosts.world.folder / "vault" / "handing-back").iterdir())
    hosts.do("enable")
    hosts.wait(MachineState.PROTECTED)


@pytest.mark.requirement("H2A-UFO", "H2A-FB-ALT")
def test_unplanned_failover_to_azure_needs_no_host(protected):
    import libvirt

    hosts = protected
    hosts.write(hosts.machine)
    hosts.cut()
    hosts.kill("hv1")
    hosts.do("failover", recovery_point="latest-processed")
    assert hosts.world.cloud.power(hosts.replica) is PowerState.ON
    hosts.do("commit")
    assert hosts.status().state is MachineState.FAILED_OVER

    # The old host does not come back: another one takes the machine, with all of its data.
    with pytest.raises(InvalidRequest, match="another host"):
        hosts.do("failback", host="hv2")
    assert refused(hosts, "failback", to="alternate", host="hv2").reason == "not-ready"
    hosts.start("hv2")
    written = hosts.run_in_azure()
    hosts.domain(hosts.machine).destroy()
    hosts.domain(hosts.machine).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
    hosts.do("failback", to="alternate", host="hv2", data="download")
    assert hosts.domain(hosts.machine).isActive()
    assert hosts.digests(hosts.replica_disks()) == written
    hosts.do("commit-failback")
    assert hosts.status().state is MachineState.FAILED_BACK


@pytest.mark.requirement("H2A-INST-BOTH", "H2A-NOAGENT")
def test_no_process_server_and_no_mobility_service_take_part(protected):
    kinds = {component.kind for component in protected.stack.components()}
    assert kinds == {"provider"}
    assert digest(protected.images["data"], protected.folder / "raw")
