"""What a machine tells of itself beside its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from lab.emulators.esxi import hardware

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine


def runtime(machine: VirtualMachine) -> Any:
    """Return where it runs and whether."""
    return vim.vm.RuntimeInfo(
        host=machine.site.host,
        connectionState="connected",
        powerState=machine.power_state,
        faultToleranceState="notConfigured",
        toolsInstallerMounted=False,
        bootTime=machine.boot_time,
        numMksConnections=0,
        recordReplayState="inactive",
        consolidationNeeded=False,
    )


def summary(machine: VirtualMachine) -> Any:
    """Return the short description."""
    config = machine.config
    return vim.vm.Summary(
        vm=machine.ref,
        runtime=runtime(machine),
        overallStatus="green",
        quickStats=vim.vm.Summary.QuickStats(guestHeartbeatStatus="gray"),
        guest=vim.vm.Summary.GuestSummary(toolsStatus="toolsNotInstalled"),
        config=vim.vm.Summary.ConfigSummary(
            name=config.name,
            template=False,
            vmPathName=machine.site.folder.path(machine.vmx),
            memorySizeMB=config.hardware.memoryMB,
            numCpu=config.hardware.numCPU,
            numEthernetCards=len(hardware.cards(config)),
            numVirtualDisks=len(hardware.disks(config)),
            uuid=config.uuid,
            instanceUuid=config.instanceUuid,
            guestId=config.guestId,
            guestFullName=config.guestFullName,
            annotation=config.annotation,
        ),
    )


def guest(machine: VirtualMachine) -> Any:
    """Return what is known of the guest. Without tools inside, that is its cards and no address."""
    on = machine.power_state == vim.VirtualMachine.PowerState.poweredOn
    cards = [
        vim.vm.GuestInfo.NicInfo(
            network=card.backing.deviceName, macAddress=card.macAddress, connected=on, deviceConfigId=card.key
        )
        for card in hardware.cards(machine.config)
    ]
    return vim.vm.GuestInfo(
        toolsStatus="toolsNotInstalled",
        toolsRunningStatus="guestToolsNotRunning",
        toolsVersionStatus2="guestToolsNotInstalled",
        guestState="running" if on else "notRunning",
        net=cards if on else [],
    )


def layout(machine: VirtualMachine) -> Any:
    """Return its files."""
    folder = machine.site.folder
    files = [(machine.vmx, "config")]
    for disk in hardware.disks(machine.config):
        for layer in machine.layers(disk):
            files += [(layer.descriptor, "diskDescriptor"), (layer.data, "diskExtent")]
    infos = [
        vim.vm.FileLayoutEx.FileInfo(key=key, name=folder.path(file), type=kind, size=file.stat().st_size)
        for key, (file, kind) in enumerate(files)
        if file.exists()
    ]
    return vim.vm.FileLayoutEx(file=infos)
