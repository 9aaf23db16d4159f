"""Power, boot source and virtual media of a physical machine: one Protocol for each ability of its BMC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from lab.errors import LabError
from lab.hypervisors.model import PowerState
from lab.waiting import Deadline, DeadlineExceeded, wait_until


class BootSource(StrEnum):
    """What a machine boots next, instead of what it always boots."""

    DISK = "disk"
    CD = "cd"
    NETWORK = "network"


class Ending(StrEnum):
    """How a machine went off."""

    GRACEFUL = "graceful"
    FORCED = "forced"


class BmcError(LabError):
    """The BMC refused or failed; the message names the BMC and quotes it."""


class LoginRefused(BmcError):
    """User or password are not accepted."""


class MediaRefused(BmcError):
    """A medium could not be inserted or ejected."""


class OutcomeUnknown(BmcError):
    """The BMC failed in the middle of a change, and no later look can tell whether it was made."""


class MachinePower(Protocol):
    """Switch one machine on and off. Every change is looked at until it is seen: an answer alone proves nothing."""

    def state(self) -> PowerState:
        """Return the present state, asked of the BMC. Raises BmcError."""

    def power_on(self, deadline: Deadline) -> None:
        """Switch on and wait; no effect when on already. Raises BmcError, DeadlineExceeded."""

    def power_off(self, deadline: Deadline) -> None:
        """Cut the power and wait; no effect when off already. Raises BmcError, DeadlineExceeded."""

    def press_button(self) -> None:
        """Ask the system to shut down, and return at once. Raises BmcError."""

    def reset(self, deadline: Deadline) -> None:
        """Restart a running machine without asking its system. Raises BmcError when it is off, OutcomeUnknown."""


class BootChoice(Protocol):
    """Choose what is booted next."""

    def boot_override(self) -> BootSource | None:
        """Return what will be booted instead of the usual, None without such a choice. Raises BmcError."""

    def boot_once(self, source: BootSource) -> None:
        """Boot from ``source`` the next time. Raises BmcError."""

    def boot_normally(self) -> None:
        """Take such a choice back. Raises BmcError."""


class VirtualMedia(Protocol):
    """The BMC's CD drive; the BMC fetches the image itself."""

    def inserted(self) -> str | None:
        """Return the URL of the medium in the drive. Raises BmcError."""

    def insert(self, url: str) -> None:
        """Insert a medium. Raises MediaRefused, also when another one is in."""

    def eject(self) -> None:
        """Empty the drive; no effect when it is empty. Raises MediaRefused."""


class AssetTag(Protocol):
    """A text that the BMC keeps for whoever owns the machine, also while it is off or has no system."""

    def asset_tag(self) -> str:
        """Return the text, "" without one. Raises BmcError."""

    def write_asset_tag(self, text: str) -> None:
        """Replace the text. Raises BmcError."""

    def clock(self) -> int:
        """Return the BMC's time, in seconds since 1970. Raises BmcError."""


class Bmc(MachinePower, BootChoice, VirtualMedia, AssetTag, Protocol):
    """A BMC with every ability above."""

    def close(self) -> None:
        """Log out; the machine stays as it is."""


def shut_down(power: MachinePower, graceful: Deadline, forced: Deadline) -> Ending:
    """Press the button, wait until ``graceful``, then cut the power. Raises BmcError, DeadlineExceeded."""
    if power.state() is PowerState.OFF:
        return Ending.GRACEFUL
    power.press_button()
    try:
        wait_for(power, PowerState.OFF, graceful)
    except DeadlineExceeded:
        power.power_off(forced)
        return Ending.FORCED
    return Ending.GRACEFUL


def wait_for(power: MachinePower, wanted: PowerState, deadline: Deadline) -> None:
    """Look at the state until it is ``wanted``. Raises BmcError, DeadlineExceeded with the last state."""
    seen = ["no answer"]

    def there() -> bool:
        seen[0] = str(power.state())
        return seen[0] == wanted

    wait_until(there, deadline, f"power state '{wanted}'", explain=lambda: f"the BMC still says '{seen[0]}'")


@contextmanager
def booting_from(choice: BootChoice, source: BootSource) -> Iterator[None]:
    """Have the machine boot from ``source`` inside the block, and as always after it, whatever the BMC does by itself.

    Some BMCs keep a choice for one boot for ever (decision 0016).
    """
    choice.boot_once(source)
    try:
        yield
    finally:
        choice.boot_normally()
