"""The emulated host as a whole: remote shell, PowerShell, cmdlets, machines. The server and tests in process use it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from lab.emulators.common.faults import Faults
from lab.emulators.hyperv import commands
from lab.emulators.hyperv.backend import Backend
from lab.emulators.hyperv.cmdlets import (
    adapters,
    checkpoints,
    drives,
    failover,
    items,
    machines,
    manager,
    power,
    replication,
    services,
    vhd,
)
from lab.emulators.hyperv.cmdlets.call import Emulated
from lab.emulators.hyperv.cmdlets.registry import Family, Registry
from lab.emulators.hyperv.contract.tables import load
from lab.emulators.hyperv.host import Clock, Host
from lab.emulators.hyperv.vmm import Manager
from lab.emulators.hyperv.wsman.login import Accounts
from lab.emulators.hyperv.wsman.service import Service
from lab.emulators.hyperv.wsman.shells import SHELLS_OF_A_USER, Command, Shells

HYPERV: tuple[dict[str, Emulated], ...] = (
    machines.CMDLETS,
    power.CMDLETS,
    drives.CMDLETS,
    vhd.CMDLETS,
    adapters.CMDLETS,
    checkpoints.CMDLETS,
    services.CMDLETS,
    replication.CMDLETS,
    failover.CMDLETS,
)


def now() -> dt.datetime:
    """Return the present moment."""
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Settings:
    """What kind of host it is; ``passwords`` by lower-case account name are in no representation."""

    name: str
    passwords: dict[str, str] = field(repr=False)
    keytab: Path | None = None
    """Keys of the host's service, where accounts may log in by Kerberos too."""
    most_shells: int = SHELLS_OF_A_USER
    vmm: bool = False
    """Whether the host is a VMM server, too."""
    clock: Clock = now


class Emulator:
    """One host over a backend. ``unsupported`` keeps what clients asked that is not emulated."""

    def __init__(self, settings: Settings, home: Path, backend: Backend) -> None:
        self.settings = settings
        self.faults = Faults()
        self.unsupported: list[str] = []
        self.host = Host(settings.name, backend, home, settings.clock)
        self.accounts = Accounts(settings.name, settings.passwords, settings.keytab)
        self._families = families()
        self.manager = Manager(self.host) if settings.vmm else None
        backend.clear()
        self.service = Service(self._execute, settings.name, Shells(settings.most_shells), self.faults)

    def close(self) -> None:
        """End every shell, then every machine and disk."""
        self.service.close()
        if self.manager is not None:
            self.manager.close()
        with self.host.lock:
            self.host.backend.clear()
            self.host.backend.close()

    def _execute(self, command: Command) -> int:
        code = commands.execute(command, self.settings.name, self._cmdlets)
        if code == commands.UNSUPPORTED:
            self.unsupported.append(command.line[:200])
        return code

    def _cmdlets(self, command: Command) -> Registry:
        return Registry(self.host, self._families, self.faults, command.cancelled, self.manager)


def families() -> tuple[Family, ...]:
    """Return the modules of a host."""
    hyperv = {name: item for table in HYPERV for name, item in table.items()}
    return (_family("hyperv", hyperv), _family("management", items.CMDLETS), _family("vmm", manager.CMDLETS))


def _family(module: str, cmdlets: dict[str, Emulated]) -> Family:
    tables = load(module)
    found = {name.casefold(): item for name, item in cmdlets.items()}
    if found.keys() != tables.signatures.keys():
        raise AssertionError(f"{module}: {sorted(found.keys() ^ tables.signatures.keys())} without its other half")
    return Family(tables, found)
