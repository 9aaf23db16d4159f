"""Machines on a libvirt host."""

from lab.hypervisors.libvirt.connect import connect, switches_of
from lab.hypervisors.libvirt.driver import LibvirtHypervisor

__all__ = ["LibvirtHypervisor", "connect", "switches_of"]
