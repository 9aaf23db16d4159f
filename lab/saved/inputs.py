"""What a saved lab depends on: as soon as one of these differs, it is of no use any more. The key is their digest."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.protocols import HypervisorError
from lab.images.cache import Image
from lab.provision.home import Home
from lab.runs import sources_digest, stack_build
from lab.stacks.adapters import adapter_of
from lab.stacks.secrets import pairing_passphrase
from lab.topology.hosts import LibvirtHost
from lab.topology.model import Topology
from lab.topology.secrets import GeneratedSecret

FORMAT = 1
"""Of the files of a saved lab; another number makes all of them stale."""
KEY_DIGITS = 16
_LAB = Path(__file__).resolve().parents[1]
_HARNESS = ("hypervisors", "images", "machines", "networks", "provision", "saved", "stacks", "topology")
"""Folders whose code makes what is saved, or goes on from it."""
Images = Mapping[tuple[str, int], Image]


def why_not(topology: Topology) -> str | None:
    """Return why labs of a topology are not saved, or None. Raises BadInput when there is no such adapter."""
    if any(not isinstance(host, LibvirtHost) for host in topology.hosts.values()):
        return "only machines on libvirt hosts can be saved"
    if len(topology.libvirt_uris) != 1 or not next(iter(topology.libvirt_uris)).endswith("/system"):
        return "only machines of one libvirt that runs as root can be saved"
    if topology.physical or topology.lent:
        return "physical machines are leased, and given back at the end: they cannot be saved"
    if topology.azure is not None:
        return "the emulated Azure is no machine and cannot be saved"
    if adapter_of(topology).resume is None:
        return f"the adapter {topology.stack.adapter} does not say how its stack goes on"
    return None


def inputs_of(topology: Topology, home: Home, images: Images, acceleration: str) -> dict[str, str]:
    """Return every input, by name. Raises LabError when libvirt does not answer."""
    return {
        "format": str(FORMAT),
        "topology": topology.digest,
        "images": _digest(sorted(_image(image.disk) for image in images.values())),
        "stack": stack_build(),
        "harness": sources_digest(*(_LAB / name for name in _HARNESS)),
        "passphrase": _passphrase(topology),
        **_platform(topology, home, acceleration),
    }


def key_of(inputs: Mapping[str, str]) -> str:
    """Return the name of the saved lab that these inputs make."""
    return _digest(sorted(inputs.items()))[:KEY_DIGITS]


def differing(saved: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """Return the names of inputs that are not what they were."""
    return sorted(name for name in saved.keys() | present.keys() if saved.get(name) != present.get(name))


def _image(disk: Path) -> tuple[str, int, int]:
    """Return what tells one image file from another; who builds or copies one anew gets another time."""
    found = disk.stat()
    return str(disk), found.st_size, found.st_mtime_ns


def _passphrase(topology: Topology) -> str:
    """Return a digest of a passphrase that the user has chosen: slow to make, so that nobody finds it by trying."""
    if isinstance(topology.stack.pairing_passphrase, GeneratedSecret):
        return "generated"
    salt = topology.digest.encode()
    return hashlib.scrypt(pairing_passphrase(topology).encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=16).hex()


def _platform(topology: Topology, home: Home, acceleration: str) -> dict[str, str]:
    (uri,) = topology.libvirt_uris
    try:
        host = connect(uri, "saved", home.labs, acceleration)
        try:
            found = dict(host.saving.platform())
        finally:
            host.close()
    except HypervisorError as error:
        raise LabError(str(error)) from error
    return {**found, "acceleration": acceleration, "processor": _processor() if acceleration == "kvm" else "emulated"}


def _processor() -> str:
    """Return a digest of what this computer's processor can do: a guest has seen it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if line.split(":")[0].strip() in {"model name", "flags", "microcode"}]
    return _digest([platform.machine(), *sorted(set(told))])


def _digest(values: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()
