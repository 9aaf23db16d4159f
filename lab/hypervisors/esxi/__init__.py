"""Machines on an ESXi host or behind a vCenter. Never run against a real one so far (decision 0010)."""

from lab.hypervisors.esxi.driver import EsxiHypervisor, connect
from lab.hypervisors.esxi.settings import Placement, Target
from lab.hypervisors.trust import Trust

__all__ = ["EsxiHypervisor", "Placement", "Target", "Trust", "connect"]
