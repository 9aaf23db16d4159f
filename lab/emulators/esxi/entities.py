"""The inventory above machines: folders, datacenter, compute resource, pool, datastore, networks."""

from __future__ import annotations

import shutil
from typing import Any

from pyVmomi import vim

from lab.emulators.esxi.registry import Managed, Registry
from lab.emulators.esxi.site import Site


class Entity(Managed):
    """An entity with a name and a parent."""

    kind = vim.ManagedEntity

    def __init__(self, registry: Registry, identity: str, name: str, parent: Any) -> None:
        self.name, self.parent = name, parent
        self.overall_status = self.config_status = "green"
        super().__init__(registry, identity)


class Folder(Entity):
    """A folder that cannot be changed."""

    kind = vim.Folder

    def __init__(self, registry: Registry, identity: str, name: str, parent: Any, child_type: list[str]) -> None:
        self.child_type = child_type
        self.child_entity: Any = []
        super().__init__(registry, identity, name, parent)


class Datacenter(Entity):
    """The datacenter with its four folders."""

    kind = vim.Datacenter
    vm_folder: Any = None
    host_folder: Any = None
    datastore_folder: Any = None
    network_folder: Any = None
    datastore: Any = None
    network: Any = None


class Compute(Entity):
    """The compute resource of a host, or a cluster of one."""

    kind = vim.ComputeResource
    host: Any = None
    resource_pool: Any = None
    datastore: Any = None
    network: Any = None


class Cluster(Compute):
    """The cluster of a vCenter."""

    kind = vim.ClusterComputeResource


class Pool(Entity):
    """The root resource pool."""

    kind = vim.ResourcePool
    owner: Any = None
    site: Site | None = None

    @property
    def vm(self) -> list[Any]:
        """Machines of the pool."""
        return [machine.ref for machine in self.site.machines] if self.site is not None else []


class Datastore(Entity):
    """The datastore: a folder of this machine."""

    kind = vim.Datastore
    browser: Any = None
    host: Any = None

    def __init__(self, site: Site, identity: str, parent: Any) -> None:
        self.site = site
        super().__init__(site.registry, identity, site.folder.name, parent)

    @property
    def info(self) -> Any:
        """Its size and place."""
        usage = shutil.disk_usage(self.site.folder.root)
        return vim.host.VmfsDatastoreInfo(
            name=self.name, url=f"ds:///vmfs/volumes/{self.name}/", freeSpace=usage.free, maxFileSize=1 << 46
        )

    @property
    def summary(self) -> Any:
        """The short description."""
        usage = shutil.disk_usage(self.site.folder.root)
        return vim.Datastore.Summary(
            datastore=self.ref,
            name=self.name,
            url=f"ds:///vmfs/volumes/{self.name}/",
            capacity=usage.total,
            freeSpace=usage.free,
            accessible=True,
            multipleHostAccess=False,
            type="VMFS",
            maintenanceMode="normal",
        )

    @property
    def vm(self) -> list[Any]:
        """Machines with files here."""
        return [machine.ref for machine in self.site.machines]


class Network(Entity):
    """A port group as an entity."""

    kind = vim.Network

    def __init__(self, site: Site, identity: str, name: str, parent: Any) -> None:
        self.site = site
        super().__init__(site.registry, identity, name, parent)

    @property
    def host(self) -> list[Any]:
        """The host."""
        return [self.site.host]

    @property
    def vm(self) -> list[Any]:
        """Machines with a card on it."""
        return [machine.ref for machine in self.site.machines if self.ref in machine.network]

    @property
    def summary(self) -> Any:
        """The short description."""
        return vim.Network.Summary(network=self.ref, name=self.name, accessible=True, ipPoolName="")
