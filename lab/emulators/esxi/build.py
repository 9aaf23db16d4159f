"""The objects of a new host or vCenter and how they hang together."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

from lab.emulators.esxi.collector import PropertyCollector
from lab.emulators.esxi.datastore import DatastoreBrowser, FileManager, VirtualDiskManager
from lab.emulators.esxi.entities import Cluster, Compute, Datacenter, Datastore, Folder, Pool
from lab.emulators.esxi.host import Host, about
from lab.emulators.esxi.machine_folder import MachineFolder
from lab.emulators.esxi.networks import NetworkSystem
from lab.emulators.esxi.registry import Managed
from lab.emulators.esxi.service import Licence, LicenseManager, ServiceInstance, SessionManager
from lab.emulators.esxi.sessions import Session, Sessions
from lab.emulators.esxi.site import Site
from lab.emulators.esxi.views import SearchIndex, ViewManager


@dataclass(frozen=True)
class Identities:
    """How a kind of host calls its fixed objects."""

    root: str
    datacenter: str
    machines: str
    hosts: str
    datastores: str
    networks: str
    compute: str
    pool: str
    host: str
    manager: str
    """Prefix of the managers."""


HOST = Identities(
    "ha-folder-root", "ha-datacenter", "ha-folder-vm", "ha-folder-host", "ha-folder-datastore", "ha-folder-network",
    "ha-compute-res", "ha-root-pool", "ha-host", "ha-",
)  # fmt: skip
VCENTER = Identities(
    "group-d1", "datacenter-2", "group-v3", "group-h4", "group-s5", "group-n6", "domain-c7", "resgroup-8", "host-9", "",
)  # fmt: skip


@dataclass(frozen=True)
class Managers:
    """What the dispatcher needs of the managers."""

    root: Folder
    networks: NetworkSystem
    collector: PropertyCollector
    _collectors: dict[str, PropertyCollector] = field(default_factory=dict, repr=False)

    def own_of(self, session: Session, managed: Managed) -> Managed:
        """Return the object that a reference means for this caller: the host's collector is one for each session."""
        if managed is not self.collector:
            return managed
        if session.key not in self._collectors:
            identity = f"session[{session.key}]{self.collector.ref._moId}"  # noqa: SLF001 - pyVmomi's name
            self._collectors[session.key] = PropertyCollector(self.collector.registry, identity)
        return self._collectors[session.key]


class _Machines(MachineFolder):
    """The machine folder, whose children are always the site's machines."""

    @property
    def child_entity(self) -> list[Any]:
        """References of the machines."""
        return [machine.ref for machine in self.site.machines]

    @child_entity.setter
    def child_entity(self, _value: Any) -> None:
        """Ignore: they follow from the site."""


def build_inventory(site: Site, sessions: Sessions, licence: Licence) -> Managers:
    """Make every fixed object of a site."""
    names = VCENTER if site.vcenter else HOST
    registry = site.registry
    root = Folder(registry, names.root, "Datacenters" if site.vcenter else "ha-folder-root", None, ["Datacenter"])
    datacenter = Datacenter(registry, names.datacenter, names.datacenter, root.ref)
    root.child_entity = [datacenter.ref]
    machines = _Machines(site, names.machines, datacenter.ref)
    hosts = Folder(registry, names.hosts, "host", datacenter.ref, ["ComputeResource"])
    datastores = Folder(registry, names.datastores, "datastore", datacenter.ref, ["Datastore"])
    networks = Folder(registry, names.networks, "network", datacenter.ref, ["Network"])
    datacenter.vm_folder, datacenter.host_folder = machines.ref, hosts.ref
    datacenter.datastore_folder, datacenter.network_folder = datastores.ref, networks.ref
    host = _compute(site, names, hosts)
    _storage(site, names, datacenter, datastores, host)
    system = NetworkSystem(site, f"{names.manager}networkSystem", networks)
    for network in ("VM Network", *(item.name for item in site.user_networks)):
        system.make(network)
    host.config_manager = vim.host.ConfigManager(
        networkSystem=system.ref, datastoreSystem=None, storageSystem=None, virtualNicManager=None
    )
    collector = PropertyCollector(registry, f"{names.manager}property-collector")
    managers = (
        SessionManager(registry, f"{names.manager}sessionmgr", sessions),
        LicenseManager(registry, f"{names.manager}license-manager", licence),
    )
    ServiceInstance(registry, _content(site, names.manager, root, collector, managers))
    return Managers(root, system, collector)


def _compute(site: Site, names: Identities, hosts: Folder) -> Host:
    kind = Cluster if site.vcenter else Compute
    compute = kind(site.registry, names.compute, "cluster" if site.vcenter else "emulated-esxi", hosts.ref)
    hosts.child_entity = [compute.ref]
    pool = Pool(site.registry, names.pool, "Resources", compute.ref)
    pool.owner, pool.site = compute.ref, site
    host = Host(site, names.host, compute.ref)
    compute.host, compute.resource_pool = [host.ref], pool.ref
    site.host, site.pool = host.ref, pool.ref
    return host


def _storage(site: Site, names: Identities, datacenter: Datacenter, folder: Folder, host: Host) -> None:
    identity = "datastore-10" if site.vcenter else uuid.uuid5(uuid.NAMESPACE_OID, str(site.folder.root)).hex
    datastore = Datastore(site, identity, folder.ref)
    folder.child_entity = [datastore.ref]
    browser = DatastoreBrowser(site.registry, f"{names.manager}browser-{identity}", site.folder, datastore.ref)
    datastore.browser = browser.ref
    datastore.host = [vim.Datastore.HostMount(key=host.ref, mountInfo=vim.host.MountInfo(accessMode="readWrite"))]
    site.datastore = datastore.ref
    datacenter.datastore, host.datastore, host.datastore_browser = [datastore.ref], [datastore.ref], browser.ref


def _content(site: Site, prefix: str, root: Folder, collector: PropertyCollector, managers: Sequence[Managed]) -> Any:
    registry = site.registry
    session_manager, license_manager = managers
    disks = VirtualDiskManager(registry, f"{prefix}vdiskmanager", site.folder, site.backend, site)
    return vim.ServiceInstanceContent(
        about=about(site),
        rootFolder=root.ref,
        propertyCollector=collector.ref,
        viewManager=ViewManager(registry, f"{prefix}view-manager").ref,
        sessionManager=session_manager.ref,
        licenseManager=license_manager.ref,
        searchIndex=SearchIndex(registry, f"{prefix}searchindex", root).ref,
        fileManager=FileManager(registry, f"{prefix}nfc-file-manager", site.folder, site.in_use).ref,
        virtualDiskManager=disks.ref,
        taskManager=site.tasks.ref,
    )
