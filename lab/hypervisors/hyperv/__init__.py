"""Machines on a Hyper-V host, over WinRM. Never run against a real one so far (decision 0013)."""

from lab.hypervisors.hyperv.driver import HypervHypervisor, connect
from lab.hypervisors.hyperv.settings import Login, Target
from lab.hypervisors.trust import Trust

__all__ = ["HypervHypervisor", "Login", "Target", "Trust", "connect"]
