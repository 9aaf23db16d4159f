"""Machines on a hypervisor host that is a machine of the lab itself."""

from lab.hypervisors.nested.driver import NestedHypervisor, connect
from lab.hypervisors.nested.host import Access, Inner

__all__ = ["Access", "Inner", "NestedHypervisor", "connect"]
