"""A control plane with a vault: real service and merger, on a storage and a hypervisor that only remember."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

from control_stand_ins import DISKS, QUICK, SETTINGS, VmwareHost, World, settings_of

from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import NetworkSource
from lab.hypervisors.public import PublicAddress
from lab.replication.changeset import CutTime, Disk, Head, data_frame
from lab.replication.common.config import Endpoint
from lab.replication.configuration_server.config import Deadlines
from lab.replication.document import DocumentWriter
from lab.replication.fabric.discovery import Follower
from lab.replication.vault.config import Region, StorageAccount, VaultConfig
from lab.replication.vault.memory import MemoryStorage
from lab.replication.vault.server import VaultServer

MIB = 1 << 20
SMALL = [{**disk, "size": 2 * MIB} for disk in DISKS]
STEPS = ("vault", "goal", "configuration-server", "servers", "policy")
DOCUMENTS = {"goal": {"source": "physical"}, "servers": {"kind": "physical"}}
NAMES = {"policy": "standard", "servers": "branch"}


def azure_settings(machine: str, **more: object) -> dict:
    base = {
        key: value for key, value in settings_of(machine).items() if key not in ("master_target", "recovery_fabric")
    }
    failback = {**SETTINGS["failback"], "to": "vmware"}
    azure = {"server": "branch", "source": "physical"}
    return {**base, "disks": SMALL, "azure": azure, "failback": failback, **more}


class Exports:
    """Serves nothing, and remembers to whom."""

    def __init__(self) -> None:
        self.served: dict[str, dict] = {}

    def serve(self, machine, sources):
        self.served[machine] = dict(sources)
        return {name: NetworkSource(__file__, name) for name in sources}

    def end(self, machine):
        self.served.pop(machine, None)

    def close(self):
        self.served.clear()


class Addresses:
    """Public addresses that only are remembered."""

    def __init__(self) -> None:
        self.assigned: dict[str, PublicAddress] = {}

    def assign(self, machine, wanted):
        self.assigned[machine] = wanted

    def release(self, machine):
        self.assigned.pop(machine, None)


def following(host: VmwareHost) -> Follower:
    return Follower(lambda: host, retry_seconds=0.05)


class AzureWorld(World):
    """Both sites of one's own are VMware's, unless a test says otherwise."""

    networks: frozenset[str] | None = None

    def __init__(
        self, folder: Path, deadlines: Deadlines = QUICK, *, vmware: tuple[str, ...] = ("primary", "recovery")
    ) -> None:
        self.vmware_hosts = {site: VmwareHost() for site in vmware}
        for host in self.vmware_hosts.values():
            host.told.put([])
        super().__init__(
            folder, deadlines, followers={site: following(host) for site, host in self.vmware_hosts.items()}
        )

    def configured(self, config):
        return replace(config, vault=Endpoint("127.0.0.1", 1))

    def open_storage(self):
        return MemoryStorage()

    def before_start(self) -> None:
        self.storage, self.cloud, self.exports = self.open_storage(), MemoryHypervisor(), Exports()
        self.addresses = Addresses()
        self.vault = self._start_vault()
        self.config = replace(self.config, vault=Endpoint("127.0.0.1", self.vault.port))

    def _start_vault(self) -> VaultServer:
        identity = self.folder / "vault-identity"
        identity.mkdir(exist_ok=True)
        for source, target in (("ca.pem", "ca.pem"), ("vault.pem", "machine.pem"), ("vault.key", "machine.key")):
            (identity / target).write_bytes((self.config.issued_dir / source).read_bytes())
        config = VaultConfig(
            name="vault1",
            listen=Endpoint("127.0.0.1", 0),
            identity_dir=identity,
            state_dir=self.folder / "vault",
            exports_dir=self.folder / "vault" / "exports",
            storage=StorageAccount(self.folder / "none", None, None),
            region=Region("memory", networks=self.networks),
            settle_s=3600.0,
        )

        async def started() -> VaultServer:
            server = VaultServer(config, self.storage, self.cloud, self.exports, self.addresses)
            await server.start()
            return server

        return self.run(started())

    def set_up(self, *steps: str) -> None:
        for step in steps:
            self.stack.call("PUT", f"/v1/vault/{step}/{NAMES.get(step, 'vault1')}", DOCUMENTS.get(step, {}))

    def add_single_server(self) -> None:
        """One management server with the three roles."""
        self.agent = self.add("mobility", "app1")
        self.process_server = self.add("process-server", "ps1")
        self.failback_target = self.add("master-target", "ps1")
        self.sent = 0
        self.process_server.answers["drain"] = lambda _: {"last_sequence": self.sent}

    def configure_azure(self, **more: object) -> None:
        self.stack.put_policy("standard", {"recovery_point_interval_s": 15, "retention_s": 7200, "rpo_threshold_s": 60})
        self.stack.call("PUT", "/v1/machines/app1", azure_settings("app1", **more))

    def upload(self, *, point: bool = True, content: bytes = b"x") -> str:
        """What agent and process server do: one document in the stream's container."""
        self.sent += 1
        stream = self.stream()
        now = time.time_ns()
        name = f"{stream}-{self.sent}"
        head = Head(
            stream,
            self.sent,
            "delta" if point else "copy",
            "app1",
            tuple(Disk(disk["index"], disk["name"], disk["size"]) for disk in SMALL),
            CutTime(now - 1000, now, "now") if point else None,
            name if point else None,
        )
        sink = io.BytesIO()
        writer = DocumentWriter(sink, head)
        writer.add(data_frame(0, 0, content * 512))
        writer.end()
        self.storage.upload(stream, self.sent, sink.getvalue())
        return name

    def finish_first_copy(self) -> str:
        self.upload(point=False, content=b"0")
        self.agent.client.event("initial-replication-complete", {}, machine="app1", stream=self.stream())
        return self.upload(content=b"1")

    def content(self, machine: str) -> bytes:
        """The first bytes of the disk that a machine was made of."""
        source = self.exports.served[machine]["system"]
        _, blob, snapshot = source.url.removeprefix("https://").split("/")
        return self.storage.read(blob, 0, 1, snapshot)

    def close(self) -> None:
        super_close = super().close
        self.run(self.vault.close())
        super_close()
        for host in self.vmware_hosts.values():
            host.told.put(None)
