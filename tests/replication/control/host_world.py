"""Two hypervisor hosts under a real orchestrator: real providers as processes, real libvirt domains without a guest."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from control_stand_ins import PASSPHRASE, World
from provider_host import MIB, SERIALS, SIZES, URI, digest, domain_document, free_port, qemu_io
from provider_stand_in import SYSTEM

from lab.replication.common.config import ServiceConfig
from lab.replication.common.identity import ensure_identity
from lab.replication.configuration_server.config import Deadlines
from lab.replication.configuration_server.host_calls import HostCalls
from lab.replication.configuration_server.settings import Server
from lab.replication.support.facts import SystemFacts
from lab.stacks.machines import MachineState, MachineStatus
from lab.waiting import Deadline

ROOT = Path(__file__).parents[3]
PATIENT = Deadlines(delivery=20, command=60, drain=60, roll=90, shutdown=30, last_point=5, silence=90, watch=0.5)
ADDRESSES = {"hv1": "127.0.0.1", "hv2": "127.0.0.2"}


async def _of_the_matrix(calls: HostCalls, host: Server) -> SystemFacts:
    return SystemFacts.from_json(SYSTEM)


class HostWorld:
    hosts: tuple[str, ...] = ("hv1", "hv2")

    def __init__(self, folder: Path) -> None:
        import libvirt

        # Providers run on whatever system this is, and it need not be one of the matrix.
        self.supported = mock.patch.object(HostCalls, "describe_host", _of_the_matrix)
        self.supported.start()
        self.world = self.open_world(folder)
        self.connection = libvirt.open(URI)
        self.machine = f"life-{os.getpid()}"
        self.random = random.Random(5)
        self.port = free_port()
        # Not pytest's folder: QEMU's user has to be able to enter it.
        self.folder = Path(tempfile.mkdtemp(prefix="provider-life-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.images = {name: self.folder / f"{name}.qcow2" for name in SERIALS}
        for name, image in self.images.items():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), str(SIZES[name])], check=True)
        self.connection.defineXML(domain_document(self.machine, self.images))
        self.power_on(self.machine)

    def open_world(self, folder: Path) -> World:
        return World(folder, PATIENT)

    @property
    def stack(self) -> Any:
        return self.world.stack

    @property
    def replica(self) -> str:
        return f"{self.machine}-replica"

    def domain(self, name: str) -> Any:
        return self.connection.lookupByName(name)

    def names(self) -> set[str]:
        return {d.name() for d in self.connection.listAllDomains() if d.name().startswith(self.machine)}

    def power_on(self, name: str) -> None:
        import libvirt

        self.domain(name).createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def write(self, name: str, writes: int = 5) -> None:
        for _ in range(writes):
            disk = self.random.randrange(2)
            length = 4096 * self.random.randint(1, 60)
            offset = 4096 * self.random.randrange((SIZES[SERIALS[disk]] - length) // 4096)
            qemu_io(self.domain(name), disk, f"write -P {self.random.randrange(1, 256)} {offset} {length}")

    def digests(self, paths: Mapping[str, Path], running: str | None = None) -> dict[str, str]:
        for disk in range(2) if running else ():
            qemu_io(self.domain(running), disk, "flush")
        return {name: digest(path, self.folder / "raw") for name, path in paths.items()}

    def replica_disks(self) -> dict[str, Path]:
        return {name: self.folder / "hv2" / f"{self.machine}-{name}-replica.qcow2" for name in SERIALS}

    def copies(self) -> dict[str, Path]:
        return {name: self.folder / "hv2" / f"{self.replica}-{name}-copy.qcow2" for name in SERIALS}

    def start(self, *hosts: str) -> None:
        for host in hosts:
            config = self._config(host)
            ensure_identity(
                ServiceConfig.from_json(json.loads(config.read_text())),
                self.world.config.ca_dir / "ca.pem",
                self.world.folder / "passphrase",
            )
            arguments = [sys.executable, "-m", "lab.replication.provider", "--config", str(config)]
            with (self.folder / f"{host}.log").open("ab") as log:
                self.processes[host] = subprocess.Popen(arguments, cwd=ROOT, stdout=log, stderr=log)

    def kill(self, host: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(host)
        process.send_signal(number)
        process.wait(60)

    def set_up(self) -> None:
        self.start("hv1", "hv2")
        policy = {"recovery_point_interval_s": 30, "retention_s": 3600, "rpo_threshold_s": 90}
        self.stack.put_policy("hosts", {**policy, "master_target_port": self.port})
        for name, host in (("one", "hv1"), ("two", "hv2")):
            self.stack.call("PUT", f"/v1/fabrics/vmm-{name}", {"kind": "vmm"})
            cloud = {"fabric": f"vmm-{name}", "capability_profile": "hyper-v", "hosts": [host], "policy": "hosts"}
            self.stack.call("PUT", f"/v1/clouds/cloud-{name}", cloud)
        self.stack.put_machine(self.machine, self.settings())

    def settings(self, **more: Any) -> dict[str, Any]:
        disks = [{"index": i, "name": name, "size": SIZES[name], "serial": name} for i, name in enumerate(SERIALS)]
        return {
            "policy": "hosts",
            "host": {"name": "hv1"},
            "recovery_host": {"name": "hv2"},
            "disks": disks,
            "cpus": 1,
            "memory_mib": 64,
            "replica_nics": [],
            "test_nics": [],
            **more,
        }

    def do(self, operation: str, **arguments: Any) -> Any:
        return self.stack.run(self.machine, operation, Deadline.after(180), arguments)

    def cut(self) -> None:
        """Have a point made, and wait until it is one."""
        before = self.status().recovery_points
        self.stack.cut_now(self.machine, Deadline.after(60))
        self.stack.wait_status(
            self.machine, lambda status: status.recovery_points > before, "another point", Deadline.after(60)
        )

    def status(self) -> MachineStatus:
        return self.stack.machine(self.machine)

    def wait(self, state: MachineState) -> MachineStatus:
        return self.stack.wait_state(self.machine, state, deadline=Deadline.after(120))

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-6000:]}" for p in sorted(self.folder.glob("hv*.log")))

    def close(self) -> None:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.callback(self.supported.stop)
            stack.callback(self.world.close)
            stack.callback(self.connection.close)
            stack.callback(self._forget_domains)
            for host in list(self.processes):
                stack.callback(self.kill, host, signal.SIGTERM)

    def _forget_domains(self) -> None:
        import libvirt

        for name in self.names():
            if self.domain(name).isActive():
                self.domain(name).destroy()
            self.domain(name).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)

    def _config(self, host: str) -> Path:
        (self.folder / host).mkdir(exist_ok=True)
        (self.folder / host).chmod(0o711)
        value = {
            "kind": "provider",
            "name": host,
            "configuration_server": self.world.config.listen.to_json(),
            "identity_dir": str(self.world.folder / f"{host}-identity"),
            "state_dir": str(self.world.folder / f"{host}-state"),
            "addresses": [ADDRESSES[host]],
            "data_port": self.port if len(self.hosts) > 1 else None,
            "data_address": ADDRESSES[host],
            "work_dir": str(self.folder / f"{host}-work"),
            "retry_unit_s": 0.2,
            "shutdown_s": 2,
            "hypervisor": {
                "uri": URI,
                "domain_type": "qemu",
                "image_folders": [str(self.folder / host), str(self.folder)],
                "bridges": {},
            },
        }
        path = self.folder / f"{host}.json"
        path.write_text(json.dumps(value))
        return path


__all__ = ["MIB", "PASSPHRASE", "HostWorld"]
