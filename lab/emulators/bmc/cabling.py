"""The cables of machines in libvirt: cards on a lab's switches, plugged in at every start through the BMC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from lab.emulators.bmc.application import CablingFailed
from lab.hypervisors.libvirt import LibvirtHypervisor
from lab.hypervisors.protocols import HypervisorError


@dataclass(frozen=True)
class SwitchCables:
    """``names``: the machines by the ids that the BMC gives them."""

    machines: LibvirtHypervisor
    names: Mapping[str, str]

    def wire(self, system: str) -> None:
        """Prepare the start of a machine. Raises CablingFailed."""
        with _translated():
            self.machines.wire(self.names[system])

    def plug(self, system: str) -> None:
        """Plug in a machine that has started. Raises CablingFailed."""
        with _translated():
            self.machines.plug(self.names[system])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except HypervisorError as error:
        raise CablingFailed(str(error)) from error
