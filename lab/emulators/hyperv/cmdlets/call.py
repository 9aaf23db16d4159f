"""One call of a cmdlet, and what the registry has to know about it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.contract.binder import Bound
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.host import Host, like
from lab.emulators.hyperv.machine import VirtualMachine
from lab.emulators.hyperv.powershell.values import EnumValue, Record
from lab.emulators.hyperv.vmm import Manager


class Asks(StrEnum):
    """When a cmdlet asks a person, who is not there."""

    NEVER = "never"
    WITHOUT_FORCE = "Force"
    WITHOUT_CONFIRM = "Confirm"


@dataclass(frozen=True)
class Call:
    """A bound call. ``cancelled`` is set when the client ends the command."""

    host: Host
    module: Module
    bound: Bound
    cancelled: threading.Event
    manager: Manager | None
    assign: Callable[[str, Any], None]
    """Sets a variable of the script."""

    def text(self, name: str, default: str = "") -> str:
        """Return a string parameter, or the name of an enum value."""
        value = self.bound.get(name, default)
        return value.name if isinstance(value, EnumValue) else str(value)

    def given(self, name: str) -> bool:
        """Whether a parameter was given."""
        return name in self.bound.values

    def machines(self, *names: str) -> list[VirtualMachine]:
        """Return the machines that -VM or a parameter with names means. Raises CmdletError."""
        found: list[VirtualMachine] = []
        for name in ("VM", *names):
            value = self.bound.get(name)
            for item in value if isinstance(value, list) else [] if value is None else [value]:
                found += [self.host.by_id(item.key)] if isinstance(item, Record) else self.host.named(str(item))
        return found

    def machine(self, *names: str) -> VirtualMachine:
        """Return the only machine that is meant. Raises CmdletError."""
        found = self.machines(*names)
        if len(found) != 1:
            raise errors.missing("One virtual machine")
        return found[0]

    def fits(self, name: str, parameter: str = "Name") -> bool:
        """Whether a name is one of those in a parameter; without the parameter every name is."""
        value = self.bound.get(parameter)
        if value is None:
            return True
        return any(like(name, str(pattern)) for pattern in (value if isinstance(value, list) else [value]))

    def passed(self, found: list[Record]) -> list[Record]:
        """Return objects only for -Passthru."""
        return found if self.bound.flag("Passthru") else []


Run = Callable[[Call], list[Any]]


@dataclass(frozen=True)
class Emulated:
    """How a cmdlet is emulated. ``parameters``: those that do something here, separated by blanks."""

    run: Run
    parameters: str = ""
    asks: Asks = Asks.NEVER
    waits: bool = False
    """Whether it waits for a guest or copies for long, and takes the host's lock itself where it needs it."""

    def takes(self, name: str) -> bool:
        """Whether a parameter is emulated."""
        return name in self.parameters.split() or name in {"Passthru", "Confirm", "Force"}
