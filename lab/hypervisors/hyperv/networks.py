"""The lab's networks on a host: private virtual switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.hypervisors.hyperv.script import Cmdlet, Pipeline, Switch
from lab.hypervisors.hyperv.site import Site
from lab.hypervisors.protocols import Conflict, NotFound


@dataclass(frozen=True)
class SwitchAbility:
    """Implements ``protocols.PortGroups``."""

    site: Site

    def ensure_network(self, network: str) -> None:
        """Make a network unless it is there."""
        if network in self.networks():
            return
        made = Cmdlet("New-VMSwitch", {"Name": self.site.names.switch(network), "SwitchType": "Private"})
        try:
            self.site.change(f"network {network}", Pipeline(made, select=("Name",)))
        except Conflict:
            # Machines that are made side by side want the same network.
            if network not in self.networks():
                raise

    def networks(self) -> Sequence[str]:
        """Return the lab's networks, by name."""
        query = Pipeline(Cmdlet("Get-VMSwitch", {"Name": self.site.names.switch("*")}), select=("Name",))
        rows = self.site.session.read(f"networks of {self.site.names.lab}", {"found": [query]})["found"]
        return sorted(str(row["Name"]).removeprefix(self.site.names.switch("")) for row in rows)

    def remove_network(self, network: str) -> None:
        """Remove a network. Raises NotFound, Conflict while a card is on it."""
        if network not in self.networks():
            raise NotFound(f"network {network}: does not exist")
        name = self.site.names.switch(network)
        self.site.change(f"network {network}", Cmdlet("Remove-VMSwitch", {"Name": name, "Force": Switch.ON}))
