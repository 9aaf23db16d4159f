"""The inventory above machines: folders, datacenter, compute resource, pool, host, datastore, networks."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import uuid
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from lab.emulators.esxi import configuration
from lab.emulators.esxi.changes import Reconfiguration
from lab.emulators.esxi.devices import default_devices
from lab.emulators.esxi.machine import VirtualMachine
from lab.emulators.esxi.registry import Call, Managed, Registry, mutation
from lab.emulators.esxi.site import Site
from lab.emulators.esxi.vmx import from_text

EXTENDED_FEATURES = 0x80000001 - (1 << 32)
LONG_MODE = "--1-:----:----:----:----:----:----:----"
HOST_VERSION, HOST_BUILD = "8.0.3", "24022510"


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


class MachineFolder(Folder):
    """The folder of machines, where they are made and registered."""

    def __init__(self, site: Site, identity: str, parent: Any) -> None:
        self.site = site
        super().__init__(site.registry, identity, "vm", parent, ["VirtualMachine", "Folder"])

    @mutation
    def create_vm(self, call: Call) -> Any:
        """Make a machine. Raises DuplicateName, InvalidName, InvalidDeviceSpec, file faults; then there is none."""
        spec = call.given.config
        config = configuration.new_config(spec)
        config.hardware.device = default_devices()
        self._refuse_duplicate(config.name)
        vmx = self._place(spec, config.name)
        machine = self._adopt(config, vmx)
        try:
            with machine.lock:
                Reconfiguration(machine, spec).run()
                machine.save()
        except Exception:
            with self.registry.changing():
                self._leave(machine)
            vmx.unlink(missing_ok=True)
            if not any(vmx.parent.iterdir()):
                vmx.parent.rmdir()
            raise
        return machine.ref

    @mutation
    def register_vm(self, call: Call) -> Any:
        """Take a machine in by its .vmx. Raises FileNotFound, DuplicateName, AlreadyExists."""
        vmx = self.site.folder.existing(call.given.path)
        if any(machine.vmx == vmx for machine in self.site.machines):
            raise vim.fault.AlreadyExists(name=call.given.path, msg=f"{call.given.path} is registered already")
        try:
            config = from_text(vmx.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise vim.fault.InvalidVmConfig(property="path", msg=f"{call.given.path}: {error}") from error
        config.name = configuration.checked_name(call.given.name or config.name)
        self._refuse_duplicate(config.name)
        machine = self._adopt(config, vmx)
        with machine.lock:
            Reconfiguration(machine, vim.vm.ConfigSpec()).run()
            _complete(machine)
        return machine.ref

    def _adopt(self, config: Any, vmx: Path) -> VirtualMachine:
        with self.registry.changing():
            machine = VirtualMachine(self.site, config, vmx, self.ref)
            self.site.machines.append(machine)
            config.files = vim.vm.FileInfo(
                vmPathName=self.site.folder.path(vmx), snapshotDirectory=self.site.folder.path(vmx.parent)
            )
        return machine

    def _leave(self, machine: VirtualMachine) -> None:
        self.site.machines.remove(machine)
        machine.remove()

    def _refuse_duplicate(self, name: str) -> None:
        taken = next((machine for machine in self.site.machines if machine.name == name), None)
        if taken is not None:
            raise vim.fault.DuplicateName(name=name, object=taken.ref, msg=f"The name '{name}' already exists.")

    def _place(self, spec: Any, name: str) -> Path:
        """Return the new .vmx: where the spec says, or in a folder of its own that is called as the machine."""
        asked = spec.files.vmPathName if spec.files is not None else f"[{self.site.folder.name}]"
        target = self.site.folder.file(asked)
        if target.suffix == ".vmx":
            if target.exists():
                raise vim.fault.FileAlreadyExists(file=asked, msg=f"File {asked} exists already")
            target.parent.mkdir(parents=True, exist_ok=True)
            return target
        names = (name if number == 0 else f"{name}_{number}" for number in range(1000))
        folder = next(path for item in names if not (path := target / item).exists())
        folder.mkdir(parents=True)
        return folder / f"{name}.vmx"


def _complete(machine: VirtualMachine) -> None:
    """Fill in what a .vmx does not say about disks and cards."""
    from lab.emulators.esxi import hardware
    from lab.emulators.esxi.changes import fill_backing

    with machine.registry.changing():
        for disk in hardware.disks(machine.config):
            fill_backing(machine, disk, machine.site.folder.existing(disk.backing.fileName))
        machine.config.guestFullName = "Other (64-bit)"
        machine.config.version = "vmx-19"


class InventoryMachines:
    """The machines of a site as a folder's children."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def references(self) -> list[Any]:
        """Return references, in the order of their making."""
        return [machine.ref for machine in self._site.machines]


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


class Host(Entity):
    """The host: this machine's processors and memory, under a name that says what it is."""

    kind = vim.HostSystem
    config_manager: Any = None
    datastore: Any = None
    datastore_browser: Any = None

    def __init__(self, site: Site, identity: str, parent: Any) -> None:
        self.site = site
        self._uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, str(site.folder.root)))
        super().__init__(site.registry, identity, "emulated-esxi.localdomain", parent)

    @property
    def vm(self) -> list[Any]:
        """Its machines."""
        return [machine.ref for machine in self.site.machines]

    @property
    def network(self) -> list[Any]:
        """Its port groups."""
        return [network.ref for network in self.site.networks.values()]

    @property
    def runtime(self) -> Any:
        """It is on."""
        return vim.host.RuntimeInfo(connectionState="connected", powerState="poweredOn", inMaintenanceMode=False)

    @property
    def hardware(self) -> Any:
        """Processors and memory. libvirt wants the registers of CPUID to be there."""
        cores = os.cpu_count() or 1
        registers = "----:----:----:----:----:----:----:----"
        feature = vim.host.CpuIdInfo(
            level=EXTENDED_FEATURES, eax=registers, ebx=registers, ecx=registers, edx=LONG_MODE
        )
        return vim.host.HardwareInfo(
            systemInfo=vim.host.SystemInfo(vendor="recovery-lab", model="emulated ESXi over QEMU", uuid=self._uuid),
            cpuInfo=vim.host.CpuInfo(numCpuPackages=1, numCpuCores=cores, numCpuThreads=cores, hz=2_000_000_000),
            memorySize=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cpuFeature=[feature],
            cpuPkg=[
                vim.host.CpuPackage(
                    index=0, vendor="intel", hz=2_000_000_000, busHz=0, description=platform.machine(), threadId=[0]
                )
            ],
        )

    @property
    def config(self) -> Any:
        """Product and networks."""
        manager = self.registry.find(self.config_manager.networkSystem)
        return vim.host.ConfigInfo(
            host=self.ref, product=about(self.site), network=manager.value("networkInfo"), vmotion=None
        )

    @property
    def summary(self) -> Any:
        """The short description."""
        found = self.hardware
        return vim.host.Summary(
            host=self.ref,
            overallStatus="green",
            rebootRequired=False,
            runtime=self.runtime,
            hardware=vim.host.Summary.HardwareSummary(
                vendor="recovery-lab",
                model="emulated ESXi over QEMU",
                uuid=self._uuid,
                memorySize=found.memorySize,
                cpuModel=platform.machine(),
                cpuMhz=2000,
                numCpuPkgs=1,
                numCpuCores=found.cpuInfo.numCpuCores,
                numCpuThreads=found.cpuInfo.numCpuThreads,
                numNics=0,
                numHBAs=0,
            ),
            config=vim.host.Summary.ConfigSummary(
                name=socket.gethostname(), port=902, product=about(self.site), vmotionEnabled=False
            ),
            quickStats=vim.host.Summary.QuickStats(),
        )


def about(site: Site) -> Any:
    """Return what the host says that it is."""
    kind = "VMware vCenter Server" if site.vcenter else "VMware ESXi"
    return vim.AboutInfo(
        name=kind,
        fullName=f"{kind} {HOST_VERSION} build-{HOST_BUILD} (emulated by recovery-lab)",
        vendor="VMware, Inc.",
        version=HOST_VERSION,
        build=HOST_BUILD,
        localeVersion="INTL",
        localeBuild="000",
        osType="linux-x64" if site.vcenter else "vmnix-x86",
        productLineId="vpx" if site.vcenter else "embeddedEsx",
        apiType="VirtualCenter" if site.vcenter else "HostAgent",
        apiVersion="8.0.3.0",
        instanceUuid=str(uuid.uuid5(uuid.NAMESPACE_OID, f"about {site.folder.root}")) if site.vcenter else None,
    )


__all__ = ["Cluster", "Compute", "Datacenter", "Datastore", "Folder", "Host", "MachineFolder", "Network", "Pool", "vmodl"]
