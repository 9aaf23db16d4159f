"""The host as an entity: this machine's processors and memory."""

from __future__ import annotations

import os
import platform
import socket
import uuid
from typing import Any

from pyVmomi import vim

from lab.emulators.esxi.entities import Entity
from lab.emulators.esxi.site import Site

EXTENDED_FEATURES = 0x80000001 - (1 << 32)
LONG_MODE = "--1-:----:----:----:----:----:----:----"
HOST_VERSION, HOST_BUILD = "8.0.3", "24022510"


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
            host=self.ref, product=about(self.site), network=manager.read_property("networkInfo"), vmotion=None
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
