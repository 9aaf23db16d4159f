"""Hyper-V hosts of a lab: a real one that the topology names, or an emulated one that lives and dies with the lab."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from lab.emulators.hyperv.run import shared_tag
from lab.errors import BadInput, LabError
from lab.hypervisors.hyperv import HypervHypervisor, Login, Target, Trust, connect
from lab.hypervisors.libvirt import connect as connect_libvirt
from lab.hypervisors.protocols import HypervisorError
from lab.provision.emulated import password_of, start_emulated
from lab.provision.home import LabFolder
from lab.provision.state import HypervAccess
from lab.topology.hosts import EsxiHost, HypervHost
from lab.topology.model import Topology
from lab.topology.secrets import EnvironmentSecret, FileSecret

PORT = 5986
HOME = "hyperv"


def hyperv_host_of(topology: Topology) -> HypervHost | None:
    """Return the Hyper-V host of a topology, None when it has none.

    Raises:
        BadInput: several Hyper-V hosts, or one beside an ESXi host or several of libvirt.
    """
    found = {name: host for name, host in topology.hosts.items() if isinstance(host, HypervHost)}
    where = topology.source
    if len(found) > 1:
        raise BadInput(f"{where}: a lab has one Hyper-V host so far, but there are: {', '.join(sorted(found))}")
    if found and any(isinstance(host, EsxiHost) for host in topology.hosts.values()):
        raise BadInput(f"{where}: a lab has a Hyper-V host or an ESXi host, not both")
    if found and len(topology.libvirt_uris) > 1:
        uris = ", ".join(sorted(topology.libvirt_uris))
        raise BadInput(f"{where}: a lab with a Hyper-V host has one libvirt host at most, but there are: {uris}")
    return next(iter(found.values()), None)


def access_to(host: HypervHost, topology: Topology, folder: LabFolder, acceleration: str) -> HypervAccess:
    """Return how a host is reached; an emulated one is started as a process of the lab. Raises LabError."""
    if host.emulated:
        return _start(host, folder, acceleration, shared=host.uri in topology.libvirt_uris)
    split, base = urlsplit(host.endpoint or ""), topology.source.parent
    access = HypervAccess(
        host=split.hostname or "",
        port=split.port or PORT,
        user=host.user,
        login=host.login,
        certificate=(base / (host.certificate or Path())).resolve(),
        exchange=(base / (host.exchange or Path())).resolve(),
        password_variable=host.password.env if isinstance(host.password, EnvironmentSecret) else "",
        password_file=(base / host.password.file).resolve() if isinstance(host.password, FileSecret) else None,
        vmm=host.vmm,
    )
    password_of(access)
    if not access.exchange.is_dir():
        raise LabError(f"host {access.host}: its folder C:\\recovery-lab\\exchange is not mounted at {access.exchange}")
    return access


def open_hyperv(access: HypervAccess, lab: str, store: Path) -> HypervHypervisor:
    """Open the driver. Raises HypervisorError, LabError without the password."""
    # The host's own certificate is what the file holds, so it is pinned.
    trust = Trust(access.certificate, pinned=True)
    login = Login(access.login)
    target = Target(access.host, access.port, access.user, password_of(access), trust, access.exchange, login)
    return connect(target, lab, store)


def remove_emulated(folder: LabFolder, uri: str, store: Path) -> list[str]:
    """Remove what an emulated host of the lab left behind; its process has been ended. Raises LabError."""
    home = folder.path / HOME
    if not home.is_dir():
        return []
    removed: list[str] = []
    if uri:
        try:
            for tag in (shared_tag(folder.name), folder.name):
                machines = connect_libvirt(uri, tag, store, "tcg")
                removed += machines.remove_all()
                machines.close()
        except HypervisorError as error:
            raise LabError(f"emulated host of {folder.name}: {error}") from error
    shutil.rmtree(home, ignore_errors=True)
    return [*removed, "files of the emulated Hyper-V host"]


def _start(host: HypervHost, folder: LabFolder, acceleration: str, *, shared: bool) -> HypervAccess:
    home = folder.path / HOME
    arguments = [
        "--lab",
        folder.name,
        "--acceleration",
        acceleration,
        "--uri",
        host.uri,
        "--store",
        str(folder.path.parent),
    ]
    arguments += [f"--{name}" for name, wanted in (("vmm", host.vmm), ("shared", shared)) if wanted]
    said = start_emulated(folder, "hyperv", "Hyper-V host", home, arguments)
    return HypervAccess(
        host="127.0.0.1",
        port=said["port"],
        user=said["user"],
        login=Login.NTLM.value,
        certificate=Path(said["certificate"]),
        exchange=Path(said["exchange"]),
        password_file=home / "password",
        emulated=True,
        uri="" if acceleration == "memory" else host.uri,
        vmm=host.vmm,
    )
