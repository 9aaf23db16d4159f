"""Machines on a libvirt host."""

from lab.hypervisors.libvirt.driver import LibvirtHypervisor, connect

__all__ = ["LibvirtHypervisor", "connect"]
