"""The lab's networks: port groups on a standard switch of the host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pyVmomi import vim

from lab.hypervisors.esxi.site import Site
from lab.hypervisors.protocols import Conflict


@dataclass(frozen=True)
class PortGroupAbility:
    """Implements ``protocols.PortGroups``."""

    site: Site

    def ensure_network(self, network: str) -> None:
        """Make the port group unless it is there."""
        if network in self.networks():
            return
        group = self.site.names.network(network)
        spec = vim.host.PortGroup.Specification(
            name=group, vswitchName=self.site.placement.switch, vlanId=0, policy=vim.host.NetworkPolicy()
        )
        self.site.require_licence(f"network {network}")
        with suppress(Conflict):  # another machine of the lab was faster
            self.site.session.once(f"network {network}", lambda: self.site.host.networks.AddPortGroup(spec))

    def networks(self) -> Sequence[str]:
        """Return the networks, by name."""
        info = self.site.session.read_one(self.site.host.networks, "networkInfo.portgroup")
        prefix = self.site.names.network("")
        groups = [str(group.spec.name) for group in info.get("networkInfo.portgroup") or []]
        return sorted(name.removeprefix(prefix) for name in groups if name.startswith(prefix))

    def remove_network(self, network: str) -> None:
        """Remove the port group. Raises NotFound, Conflict."""
        group = self.site.names.network(network)
        self.site.require_licence(f"network {network}")
        self.site.session.once(f"network {network}", lambda: self.site.host.networks.RemovePortGroup(group))
