"""Stand-ins of physical machines: a bare virtual machine that only an emulated BMC may switch.

Its tag is not the lab's, so that neither the lab's hypervisor driver nor a fabric sees it; its cards are on the lab's
switches all the same. What it boots, it gets through the BMC.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from lab.hypervisors.libvirt import connect, switches_of
from lab.provision.blueprint import blueprint
from lab.provision.emulated import start_emulated
from lab.provision.home import LabFolder
from lab.provision.media import MediaFolder
from lab.provision.state import PhysicalAccess
from lab.topology.hosts import LibvirtHost
from lab.topology.model import Topology

MAY_ENTER = 0o711
"""QEMU's user has to pass through to the disks; it cannot list anything."""


def bare_tag(lab: str) -> str:
    """Return the tag of a lab's bare machines; no lab can have that name."""
    return f"{lab}.bare"


def store_of(folder: LabFolder) -> Path:
    """Return the folder of a lab's bare machines and their BMCs."""
    return folder.path / "bmc"


def media_of(folder: LabFolder) -> MediaFolder:
    """Return the folder of a lab's boot media."""
    return MediaFolder(folder.path / "media")


def make_stand_in(topology: Topology, name: str, folder: LabFolder, acceleration: str) -> PhysicalAccess:
    """Make a bare machine with empty disks, off, and start its BMC as a process of the lab.

    Raises:
        HypervisorError: libvirt refused.
        LabError: the emulator did not start.
    """
    host = topology.hosts[topology.host_name_of(name)]
    if not isinstance(host, LibvirtHost):
        raise TypeError(f"{name} stands on a host of kind {host.kind}")  # the topology was checked
    labs, store, tag = folder.path.parent, store_of(folder), bare_tag(folder.name)
    store.mkdir(exist_ok=True)
    store.chmod(MAY_ENTER)
    machines = connect(host.uri, tag, store, acceleration, switches_of(host.uri, folder.name, labs))
    try:
        plan = blueprint(topology, name)
        for disk, size in plan.disk_sizes.items():
            machines.create_disk(disk, size)
        machines.define(plan.spec)
        endpoint, console = machines.endpoint(name), machines.console_log(name)
    finally:
        machines.close()
    home = store / name
    said = start_emulated(
        folder, "bmc", f"BMC of {name}", home,
        [
            "--lab", tag, "--store", str(store), "--machine", name, "--uri", host.uri,
            "--network", folder.name, "--network-store", str(labs), *(["--ipmi"] if _by_ipmi(topology, name) else []),
        ],
        of=name, environment=_environment(folder, home),
    )  # fmt: skip
    return PhysicalAccess(
        endpoint=said["url"],
        system=said["systems"][name],
        user=said["user"],
        certificate=Path(said["certificate"]),
        password_file=home / "password",
        ssh_host=endpoint.host,
        ssh_port=endpoint.port,
        lease=secrets.token_hex(4),
        console=console,
        uri=host.uri,
        ipmi_port=said["ipmi_port"],
    )


def _by_ipmi(topology: Topology, name: str) -> bool:
    bmc = topology.machines[name].bmc
    return bmc is not None and bmc.ipmi is not None


def _environment(folder: LabFolder, home: Path) -> dict[str, str]:
    """Return what sushy-tools is told: whose media it may trust, and where it may leave copies of them."""
    scratch = home / "scratch"
    scratch.mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    return {"REQUESTS_CA_BUNDLE": str(media_of(folder).certificate), "TMPDIR": str(scratch)}


def remove_stand_ins(folder: LabFolder, uri: str) -> list[str]:
    """Remove a lab's bare machines; their BMCs have been ended. Raises HypervisorError."""
    machines = connect(uri, bare_tag(folder.name), store_of(folder), "tcg")
    try:
        return machines.remove_all()
    finally:
        machines.close()
