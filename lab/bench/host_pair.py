"""Two providers on this machine, and a paused libvirt domain that one of them replicates to the other.

The domain never runs a guest: QEMU itself writes to its disk, where the bitmaps see it.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from lab.bench.by_hand import free_port
from lab.errors import LabError
from lab.replication.common.durable import JSON
from lab.replication.configuration_server.ca import PROVIDER, Authority, Holder, key_pem, new_authority
from lab.waiting import Deadline

URI = "qemu:///system"
ROOT = Path(__file__).resolve().parents[2]
PLACE = Path("/var/tmp")  # noqa: S108 - QEMU's user has to enter it; the folder itself has a name that nobody guesses
DISK = "data"
SOURCE, TARGET = "hv1", "hv2"
ORDER_S, END_S = 600.0, 60.0


class Side:
    """A provider as a process (``lab.bench.host_side``)."""

    def __init__(self, config: Path, log: Path) -> None:
        self._numbers = iter(range(1, sys.maxsize))
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lab.bench.host_side", str(config)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self._log = log
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def order(self, name: str, **arguments: Any) -> JSON:
        """Give an order and return its value. Raises LabError when it fails."""
        number = next(self._numbers)
        line = json.dumps({"id": number, "name": name, "arguments": arguments})
        # One that has ended takes no order; that it gives no answer is said below, with its log.
        with suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)
        answer = self._first(lambda said: said.get("id") == number, f"answer to {name}")
        if "error" in answer:
            raise LabError(f"{name}: {answer['error']}")
        value: JSON = answer["value"]
        return value

    def event(self, kind: str, **data: Any) -> int:
        """Wait for an event with these data and return when it was told, in ns. Raises LabError."""
        wanted = data.items()
        said = self._first(lambda said: said.get("event") == kind and wanted <= said["data"].items(), f"event {kind}")
        return int(said["at_ns"])

    def close(self) -> None:
        """End the provider."""
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)
        self._listener.join(END_S)

    def _listen(self) -> None:
        if self._process.stdout is None:
            return
        with self._process.stdout as words:
            for line in words:
                self._said.put(json.loads(line))

    def _first(self, wanted: Any, what: str) -> dict[str, Any]:
        """Return the first thing said that is ``wanted``; others are kept for later."""
        deadline = Deadline.after(ORDER_S)
        while True:
            for said in self._kept:
                if wanted(said):
                    self._kept.remove(said)
                    return said
            try:
                self._kept.append(self._said.get(timeout=deadline.clamp(1.0)))
            except queue.Empty:
                if deadline.expired or self._process.poll() is not None:
                    raise LabError(f"no {what}; log: {self._log.read_text()[-2000:]}") from None


@dataclass(frozen=True)
class Machines:
    """A paused machine with one disk, and the two providers."""

    folder: Path
    machine: str
    domain: Any
    size: int
    port: int
    source: Side
    target: Side
    authority: Authority

    @property
    def image(self) -> Path:
        """The machine's disk."""
        return self.folder / "images" / f"{DISK}.qcow2"

    def open(self, stream: str) -> Path:
        """Make the replica disk and open the stream; return the replica."""
        disk = {"index": 0, "name": DISK, "size": self.size, "serial": DISK}
        made = self.target.order("create-replica-disks", machine=self.machine, disks=[disk])["disks"][0]
        opened = {**disk, "serial": made["place"]}
        more = {"retention_s": 3600, "process_server": SOURCE, "data_port": self.port}
        self.target.order("open-stream", stream=stream, machine=self.machine, disks=[opened], **more)
        return Path(made["place"])

    def replicate(self, stream: str, interval_s: int = 900) -> None:
        """Order the replication."""
        disk = {"index": 0, "serial": DISK}
        receiver = {"address": "127.0.0.1", "port": self.port}
        more = {"interval_s": interval_s, "mode": "copy", "receiver": receiver}
        self.source.order("start-replication", stream=stream, machine=self.machine, disks=[disk], **more)

    def end(self, stream: str) -> None:
        """End a replication and delete its replica."""
        self.source.order("stop-replication", stream=stream)
        self.target.order("close-stream", stream=stream)
        self.target.order("delete-replica-disks", machine=self.machine, disks=[{"name": DISK}])

    def write(self, content: Path, offset: int, length: int) -> None:
        """Have the domain's QEMU write what a file holds to the disk. Raises LabError."""
        self._io(f"write -s {content} {offset} {length}")

    def flush(self) -> None:
        """Have QEMU write its caches."""
        self._io("flush")

    def compare(self, replica: Path) -> None:
        """Make sure that both sides have the same bytes: what is fast and wrong is no figure. Raises LabError."""
        self.flush()
        command = ["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2", str(self.image), str(replica)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=ORDER_S)
        if done.returncode:
            raise LabError(f"the replica is not the machine's disk: {done.stdout} {done.stderr}")

    def _io(self, command: str) -> None:
        import libvirt_qemu

        device = "/machine/peripheral/virtio-disk0/virtio-backend"
        answer = libvirt_qemu.qemuMonitorCommand(self.domain, f'qemu-io -d {device} "{command}"', 1)
        if "rror" in answer:
            raise LabError(f"qemu-io {command}: {answer}")


@contextmanager
def host_pair(size: int, image_of: Any) -> Iterator[Machines]:
    """Yield a pair whose machine has a disk of ``size`` bytes; ``image_of(path)`` makes its image. Raises LabError."""
    import libvirt

    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="bench-host-", dir=PLACE))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for each in (folder, folder / "images", folder / "replicas", folder / "random"):
            each.mkdir(exist_ok=True)
            each.chmod(0o711)
        image = folder / "images" / f"{DISK}.qcow2"
        image_of(image)
        try:
            connection = libvirt.open(URI)
        except libvirt.libvirtError as error:
            raise LabError(f"libvirt does not answer at {URI}: {error}") from error
        stack.callback(connection.close)
        machine = f"bench-host-{os.getpid()}"
        domain = connection.defineXML(document(machine, image))
        stack.callback(_forget, domain)
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        authority = new_authority("bench")
        port = free_port()
        sides = []
        for name in (SOURCE, TARGET):
            config = _config(folder, authority, name, port if name == TARGET else None)
            sides.append(Side(config, folder / f"{name}.log"))
            stack.callback(sides[-1].close)
        yield Machines(folder, machine, domain, size, port, sides[0], sides[1], authority)


def document(name: str, image: Path) -> str:
    """Return the libvirt document of the machine."""
    return (
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
        "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><disk type='file' device='disk'>"
        f"<driver name='qemu' type='qcow2'/><source file='{image}'/><target dev='vda' bus='virtio'/>"
        f"<serial>{DISK}</serial></disk></devices></domain>"
    )


def identity(authority: Authority, folder: Path, name: str) -> Path:
    """Write what the installer of a provider would, with the stack's own authority."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue(key.public_key(), Holder(PROVIDER, name, ("127.0.0.1",)))
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "machine.pem").write_bytes(issued.pem)
    (folder / "machine.key").touch(mode=0o600)
    (folder / "machine.key").write_bytes(key_pem(key))
    return folder


def _forget(domain: Any) -> None:
    import libvirt

    with suppress(libvirt.libvirtError):
        domain.destroy()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)


def _config(folder: Path, authority: Authority, name: str, port: int | None) -> Path:
    value = {
        "kind": "provider",
        "name": name,
        "configuration_server": {"address": "127.0.0.1", "port": 1},
        "identity_dir": str(identity(authority, folder / f"{name}-identity", name)),
        "state_dir": str(folder / f"{name}-state"),
        "addresses": ["127.0.0.1"],
        "data_port": port,
        "data_address": "127.0.0.1",
        "work_dir": str(folder / f"{name}-work"),
        "hypervisor": {"uri": URI, "domain_type": "qemu", "image_folders": [str(folder / "replicas")], "bridges": {}},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(value))
    return path
