"""A machine whose power goes by one way and all else by its BMC's Redfish: IPMI has neither media nor an asset tag."""

from __future__ import annotations

from dataclasses import dataclass

from lab.hypervisors.model import PowerState
from lab.machines.power import Bmc, BootSource, MachinePower
from lab.waiting import Deadline


@dataclass(frozen=True)
class PoweredByIpmi:
    """A BMC (``lab.machines.power.Bmc``): ``power`` switches, ``rest`` does what else there is."""

    power: MachinePower
    rest: Bmc

    def state(self) -> PowerState:
        """Return the present state. Raises BmcError."""
        return self.power.state()

    def power_on(self, deadline: Deadline) -> None:
        """Switch on and wait. Raises BmcError, DeadlineExceeded."""
        self.power.power_on(deadline)

    def power_off(self, deadline: Deadline) -> None:
        """Cut the power and wait. Raises BmcError, DeadlineExceeded."""
        self.power.power_off(deadline)

    def press_button(self) -> None:
        """Ask for a shutdown. Raises BmcError."""
        self.power.press_button()

    def reset(self, deadline: Deadline) -> None:
        """Restart. Raises BmcError when it is off, OutcomeUnknown."""
        self.power.reset(deadline)

    def boot_override(self) -> BootSource | None:
        """Return the choice for the next boot. Raises BmcError."""
        return self.rest.boot_override()

    def boot_once(self, source: BootSource) -> None:
        """Choose for the next boot. Raises BmcError."""
        self.rest.boot_once(source)

    def boot_normally(self) -> None:
        """Take the choice back. Raises BmcError."""
        self.rest.boot_normally()

    def inserted(self) -> str | None:
        """Return the medium's URL. Raises BmcError."""
        return self.rest.inserted()

    def insert(self, url: str) -> None:
        """Insert a medium. Raises MediaRefused."""
        self.rest.insert(url)

    def eject(self) -> None:
        """Empty the drive. Raises MediaRefused."""
        self.rest.eject()

    def asset_tag(self) -> str:
        """Return the text that the BMC keeps. Raises BmcError."""
        return self.rest.asset_tag()

    def write_asset_tag(self, text: str) -> None:
        """Replace that text. Raises BmcError."""
        self.rest.write_asset_tag(text)

    def clock(self) -> int:
        """Return the BMC's time, in seconds since 1970. Raises BmcError."""
        return self.rest.clock()

    def close(self) -> None:
        """Log out; the machine stays as it is."""
        self.rest.close()
