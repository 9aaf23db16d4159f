"""ESXi hosts of a lab: a real one that the topology names, or an emulated one that lives and dies with the lab."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.qemu.process import Spawner
from lab.emulators.esxi.run import READER, READER_PASSWORD, switches
from lab.errors import BadInput, LabError
from lab.hypervisors.esxi import EsxiHypervisor, Placement, Target, Trust, connect
from lab.networks.protocol import NetworkError
from lab.provision.emulated import password_of, start_emulated
from lab.provision.home import LabFolder
from lab.provision.state import EsxiAccess, EsxiReader
from lab.topology.hosts import EsxiHost
from lab.topology.model import Topology


def esxi_host_of(topology: Topology) -> EsxiHost | None:
    """Return the ESXi host of a topology, None when it has none.

    Raises:
        BadInput: several ESXi hosts, or one beside several of libvirt.
    """
    found = {name: host for name, host in topology.hosts.items() if isinstance(host, EsxiHost)}
    if len(found) > 1:
        raise BadInput(f"{topology.source}: a lab has one ESXi host so far, but there are: {', '.join(sorted(found))}")
    if found and len(topology.libvirt_uris) > 1:
        uris = ", ".join(sorted(topology.libvirt_uris))
        raise BadInput(
            f"{topology.source}: a lab with an ESXi host has one libvirt host at most, but there are: {uris}"
        )
    return next(iter(found.values()), None)


def access_to(host: EsxiHost, topology: Topology, folder: LabFolder, acceleration: str) -> EsxiAccess:
    """Return how a host is reached; an emulated one is started as a process of the lab. Raises LabError."""
    if host.emulated:
        return _start(folder, acceleration, vcenter=host.vcenter)
    split = urlsplit(host.endpoint or "")
    if host.password_variable not in os.environ:
        raise LabError(f"host {split.hostname}: the environment has no {host.password_variable} with its password")
    return EsxiAccess(
        host=split.hostname or "",
        port=split.port or 443,
        user=host.user,
        password_variable=host.password_variable,
        certificate=(topology.source.parent / (host.certificate or Path())).resolve(),
        datastore=host.datastore,
        reader=EsxiReader(user=host.reader, password_variable=host.reader_password_variable) if host.reader else None,
    )


def open_esxi(access: EsxiAccess, lab: str, store: Path) -> EsxiHypervisor:
    """Open the driver. Raises HypervisorError, LabError without the password."""
    # The host's own certificate is what the file holds, so it is pinned.
    trust = Trust(access.certificate, pinned=True)
    target = Target(access.host, access.port, access.user, password_of(access), trust)
    return connect(target, lab, store, Placement(datastore=access.datastore))


def as_reader(access: EsxiAccess) -> EsxiAccess | None:
    """Return the same host for the account that may only look, or None when there is none."""
    if access.reader is None:
        return None
    return access.model_copy(update=access.reader.model_dump())


def remove_emulated(folder: LabFolder) -> list[str]:
    """Remove what an emulated host of the lab left behind; its process has been ended. Raises LabError."""
    home = folder.path / "esxi"
    if not home.is_dir():
        return []
    try:
        spawner = Spawner(home.resolve())
        removed = [f"QEMU process {pid}" for pid in spawner.prepare()]
        spawner.close()
        networks = switches(folder.tag, home)
        removed += networks.leftovers()
        networks.remove_all()
    except (BackendError, NetworkError) as error:
        raise LabError(f"emulated host of {folder.name}: {error}") from error
    shutil.rmtree(home, ignore_errors=True)
    return [*removed, "datastore of the emulated host"]


def _start(folder: LabFolder, acceleration: str, *, vcenter: bool) -> EsxiAccess:
    home = folder.path / "esxi"
    arguments = ["--lab", folder.name, "--store", str(folder.path.parent), "--acceleration", acceleration]
    arguments += ["--vcenter"] if vcenter else []
    endpoint = start_emulated(folder, "esxi", "ESXi host", home, arguments)
    return EsxiAccess(
        host="127.0.0.1",
        port=endpoint["port"],
        user=endpoint["user"],
        password_file=home / "password",
        certificate=Path(endpoint["certificate"]),
        emulated=True,
        reader=EsxiReader(user=READER, password_file=home / READER_PASSWORD),
    )
