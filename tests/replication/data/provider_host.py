"""Two providers as processes on this machine, and a real libvirt domain that one of them replicates to the other.

The domain never runs a guest: it is paused, and QEMU itself writes to its disks, where the bitmaps see it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from certificates import Authority
from control_standin import ControlStandIn
from stack import ROOT, free_port

URI = "qemu:///system"
MIB = 1 << 20
SOURCE, TARGET = "provider-hv1", "provider-hv2"
SIZES = {"system": 48 * MIB, "data": 24 * MIB}
SERIALS = list(SIZES)


class Pair:
    def __init__(self, folder: Path, authority: Authority, control: ControlStandIn) -> None:
        import libvirt

        self.folder = folder
        self.authority = authority
        self.control = control
        self.connection = libvirt.open(URI)
        self.machine = f"provider-test-{os.getpid()}"
        self.stream = "s-qemu"
        self.port = free_port()
        self.random = random.Random(7)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.replicas: list[Path] = []
        for part in ("images", "replicas"):
            (folder / part).mkdir()
            (folder / part).chmod(0o711)
        for name, size in SIZES.items():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(self.image(name)), str(size)], check=True)
        self.domain = self.connection.defineXML(domain_document(self.machine, {n: self.image(n) for n in SERIALS}))
        self.start_machine()

    def image(self, name: str) -> Path:
        return self.folder / "images" / f"{name}.qcow2"

    def start_machine(self) -> None:
        import libvirt

        self.domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)

    def kill_qemu(self) -> None:
        from lab.waiting import Deadline, wait_until

        os.kill(int(Path(f"/run/libvirt/qemu/{self.machine}.pid").read_text()), signal.SIGKILL)
        wait_until(lambda: not self.domain.isActive(), Deadline.after(30), "end of the domain")

    def write(self, disk: int, offset: int, length: int) -> None:
        self._io(disk, f"write -P {self.random.randrange(1, 256)} {offset} {length}")

    def scribble(self, writes: int = 6) -> None:
        for _ in range(writes):
            disk = self.random.randrange(2)
            size = SIZES[SERIALS[disk]]
            length = 4096 * self.random.randint(1, 40)
            self.write(disk, 4096 * self.random.randrange((size - length) // 4096), length)

    def start(self, *components: str) -> None:
        for component in components:
            arguments = [sys.executable, "-m", "lab.replication.provider", "--config", str(self._config(component))]
            with (self.folder / f"{component}.log").open("ab") as log:
                self.processes[component] = subprocess.Popen(
                    arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
                )

    def kill(self, component: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(component)
        process.send_signal(number)
        process.wait(60)

    def replicate(self) -> None:
        disks = [{"index": i, "name": name, "size": SIZES[name], "serial": name} for i, name in enumerate(SERIALS)]
        made = self.control.value(TARGET, "create-replica-disks", machine=self.machine, disks=disks)["disks"]
        self.replicas = [Path(disk["place"]) for disk in made]
        opened = [{**disk, "serial": made[disk["index"]]["place"]} for disk in disks]
        self.control.value(
            TARGET,
            "open-stream",
            stream=self.stream,
            machine=self.machine,
            data_port=self.port,
            disks=opened,
            retention_s=3600,
            process_server="hv1",
        )
        self.control.value(
            SOURCE,
            "start-replication",
            stream=self.stream,
            machine=self.machine,
            disks=disks,
            interval_s=30,
            mode="copy",
            receiver={"address": "127.0.0.1", "port": self.port},
        )

    def cut_and_compare(self) -> dict[str, Any]:
        """Nothing writes meanwhile: after the cut has arrived both sides have the same bytes."""
        made = self.control.value(SOURCE, "cut", stream=self.stream)
        self.control.value(SOURCE, "drain", stream=self.stream, timeout_s=50)
        self.compare()
        return made

    def compare(self) -> None:
        for disk, name in enumerate(SERIALS):
            if self.domain.isActive():
                self._io(disk, "flush")
            assert self.digest(self.image(name)) == self.digest(self.replicas[disk]), name

    def digest(self, image: Path) -> str:
        return digest(image, self.folder / "raw")

    def close(self) -> None:
        import libvirt

        for component in list(self.processes):
            self.kill(component, signal.SIGTERM)
        for domain in self.connection.listAllDomains():
            if domain.name().startswith(self.machine):
                if domain.isActive():
                    domain.destroy()
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
        self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _io(self, disk: int, command: str) -> None:
        qemu_io(self.domain, disk, command)

    def _config(self, component: str) -> Path:
        kind, _, name = component.rpartition("-")
        identity = self.folder / f"{component}-identity"
        if not identity.exists():
            self.authority.issue(identity, kind, name)
        value = {
            "kind": kind,
            "name": name,
            "configuration_server": {"address": "127.0.0.1", "port": self.control.port},
            "identity_dir": str(identity),
            "state_dir": str(self.folder / f"{component}-state"),
            "addresses": ["127.0.0.1"],
            "data_port": self.port if component == TARGET else None,
            "work_dir": str(self.folder / f"{component}-work"),
            "retry_unit_s": 0.2,
            "hypervisor": {
                "uri": URI,
                "domain_type": "qemu",
                "image_folders": [str(self.folder / "replicas")],
                "bridges": {},
            },
        }
        path = self.folder / f"{component}.json"
        path.write_text(json.dumps(value))
        return path


def qemu_io(domain: Any, disk: int, command: str) -> None:
    """Have the QEMU of a running domain do something with one of its disks."""
    import libvirt_qemu

    device = f"/machine/peripheral/virtio-disk{disk}/virtio-backend"
    answer = libvirt_qemu.qemuMonitorCommand(domain, f'qemu-io -d {device} "{command}"', 1)
    assert "rror" not in answer, answer


def digest(image: Path, raw: Path) -> str:
    """Return the SHA-256 of what an image holds; ``raw`` is a name for a while."""
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(image), str(raw)], check=True)
    try:
        return hashlib.sha256(raw.read_bytes()).hexdigest()
    finally:
        raw.unlink()


def domain_document(name: str, images: dict[str, Path]) -> str:
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{image}'/>"
        f"<target dev='vd{'ab'[i]}' bus='virtio'/><serial>{serial}</serial></disk>"
        for i, (serial, image) in enumerate(images.items())
    )
    return (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{disks}</devices></domain>"
    )
