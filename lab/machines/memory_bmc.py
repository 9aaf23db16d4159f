"""A BMC and its machine in memory, for tests: the fake of the contract in ``tests/machines``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from lab.hypervisors.model import PowerState
from lab.machines.power import BmcError, BootSource, MediaRefused
from lab.waiting import Deadline


@dataclass
class MemoryBmc:
    """``booted``: what the machine booted from, in order. ``heeds_button``: its system shuts down when asked."""

    heeds_button: bool = False
    booted: list[BootSource] = field(default_factory=list)
    _state: PowerState = PowerState.OFF
    _override: BootSource | None = None
    _medium: str | None = None
    _tag: str = ""

    def state(self) -> PowerState:
        """Return the present state."""
        return self._state

    def power_on(self, deadline: Deadline) -> None:  # noqa: ARG002 - nothing takes time here
        """Switch on."""
        if self._state is PowerState.OFF:
            self._boot()

    def power_off(self, deadline: Deadline) -> None:  # noqa: ARG002 - nothing takes time here
        """Cut the power."""
        self._state = PowerState.OFF

    def press_button(self) -> None:
        """Shut down, if a system heeds it."""
        if self.heeds_button:
            self._state = PowerState.OFF

    def reset(self, deadline: Deadline) -> None:  # noqa: ARG002 - nothing takes time here
        """Restart. Raises BmcError when it is off."""
        if self._state is PowerState.OFF:
            raise BmcError("the machine is off: it cannot be reset")
        self._boot()

    def boot_override(self) -> BootSource | None:
        """Return the choice for the next boot."""
        return self._override

    def boot_once(self, source: BootSource) -> None:
        """Choose for the next boot. Raises BmcError for an empty CD drive, as the others."""
        if source is BootSource.CD and self._medium is None:
            raise BmcError("there is no medium to boot from: insert one first")
        self._override = source

    def boot_normally(self) -> None:
        """Take the choice back."""
        self._override = None

    def inserted(self) -> str | None:
        """Return the medium."""
        return self._medium

    def insert(self, url: str) -> None:
        """Insert a medium. Raises MediaRefused."""
        if self._medium not in (None, url):
            raise MediaRefused(f"{self._medium} is in the drive: eject it first")
        self._medium = url

    def eject(self) -> None:
        """Empty the drive."""
        self._medium = None

    def asset_tag(self) -> str:
        """Return the text on the machine."""
        return self._tag

    def write_asset_tag(self, text: str) -> None:
        """Replace that text."""
        self._tag = text

    def clock(self) -> int:
        """Return the time of this computer."""
        return int(time.time())

    def close(self) -> None:
        """Do nothing."""

    def _boot(self) -> None:
        self.booted.append(self._override or BootSource.DISK)
        self._override, self._state = None, PowerState.ON
