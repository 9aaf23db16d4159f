"""The emulated host: its machines, switches and files, and how they become real in the backend."""

from __future__ import annotations

import datetime as dt
import fnmatch
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.backend import Backend, BackendError
from lab.emulators.hyperv.files import Files, PlainFile
from lab.emulators.hyperv.machine import VirtualMachine
from lab.emulators.hyperv.powershell.values import Unsupported
from lab.emulators.hyperv.relations import REPLICATING, Relation, ReplicationServer
from lab.hypervisors.hyperv.naming import MANAGEMENT, MANAGEMENT_WITH_HOST, TAG, Names, tag_of
from lab.hypervisors.model import DiskAttachment, MachineSpec, Management, Nic, PowerState
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound

MEBIBYTE = 1 << 20
STATES = {PowerState.ON: "Running", PowerState.OFF: "Off", PowerState.PAUSED: "Paused"}
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")

Clock = Callable[[], dt.datetime]


@dataclass
class Switch:
    """A virtual switch; ``kind`` is a name of the enum VMSwitchType."""

    id: uuid.UUID
    name: str
    kind: str
    notes: str = ""


@dataclass
class Told:
    """What a test says of guests, which have no integration services here."""

    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Machine name to the addresses that the key-value pair exchange would tell."""
    health: dict[str, str] = field(default_factory=dict)
    """Machine name to a name of the enum VMReplicationHealthState."""


class Host:
    """The state of one host. Whoever reads or changes it holds ``lock``."""

    def __init__(self, name: str, backend: Backend, home: Path, clock: Clock) -> None:
        self.name, self.backend, self.clock = name, backend, clock
        self.files = Files(home, backend.lab)
        self.machines: list[VirtualMachine] = []
        self.switches = {name: Switch(uuid.uuid4(), name, "Internal") for name in (MANAGEMENT, MANAGEMENT_WITH_HOST)}
        self.folders: set[str] = {"c:\\", "c:\\recovery-lab", "c:\\recovery-lab\\exchange"}
        self.relations: dict[uuid.UUID, Relation] = {}
        self.replication = ReplicationServer()
        self.told = Told()
        self.partners: dict[str, Host] = {}
        self.lock = threading.RLock()

    def link(self, other: Host) -> None:
        """Let two hosts of one process know each other, as a primary and a Replica server; they share a lock."""
        other.lock = self.lock
        self.partners[other.name], other.partners[self.name] = other, self

    def copied(self, name: str) -> None:
        """Take note that whoever replicates has copied a machine: both sides replicate from now on."""
        with self.lock:
            for host in (self, *self.partners.values()):
                for machine in (item for item in host.machines if item.name == name and item.id in host.relations):
                    host.relations[machine.id].state = REPLICATING
                    host.relations[machine.id].last = host.clock()

    def named(self, pattern: str) -> list[VirtualMachine]:
        """Return machines by a name with wildcards. Raises CmdletError when a plain name fits none."""
        found = [item for item in self.machines if like(item.name, pattern)]
        if not found and not any(letter in pattern for letter in "*?["):
            raise errors.no_machine(pattern)
        return found

    def by_id(self, identity: uuid.UUID) -> VirtualMachine:
        """Return a machine. Raises CmdletError."""
        found = next((item for item in self.machines if item.id == identity), None)
        if found is None:
            raise errors.no_machine(str(identity))
        return found

    def new_name(self, name: str) -> str:
        """Return a name for a new machine in the backend: without the lab, when it is plain and free."""
        plain = name.removeprefix(f"{self.backend.lab}.")
        taken = {item.machine for item in self.machines}
        return plain if _PLAIN.fullmatch(plain) and plain not in taken else str(uuid.uuid4())

    def power(self, machine: VirtualMachine) -> PowerState:
        """Return the present state, asked of the backend."""
        try:
            found = self.backend.host.power(machine.machine)
        except NotFound:
            found = PowerState.OFF
        if found is PowerState.OFF:
            machine.started = None
        return found

    def require_off(self, machine: VirtualMachine) -> None:
        """Raise CmdletError unless a machine is off."""
        if self.power(machine) is not PowerState.OFF:
            raise errors.wrong_state(machine.name)

    def remove(self, machine: VirtualMachine) -> None:
        """Forget a machine that is off; its disks stay. Raises CmdletError, Unsupported."""
        self.require_off(machine)
        if machine.checkpoints:
            raise Unsupported(f"removing '{machine.name}', whose checkpoints would be merged, is not emulated")
        with refused(), suppress(NotFound):
            self.backend.host.undefine(machine.machine)
        self.machines.remove(machine)
        self.relations.pop(machine.id, None)

    def changed(self, machine: VirtualMachine) -> None:
        """Note that the backend does not have a machine as it is configured. Raises CmdletError unless it is off."""
        self.require_off(machine)
        machine.defined = False

    def realise(self, machine: VirtualMachine) -> None:
        """Define a machine in the backend as it is configured, unless it is. Raises CmdletError."""
        if machine.defined:
            return
        host = self.backend.host
        with refused():
            with suppress(NotFound):
                host.undefine(machine.machine)
            host.define(self._specification(machine))
            machine.defined = True
            self._keep_console(machine)

    def notes(self, machine: VirtualMachine) -> str:
        """Return the notes; those of a lab's machine also tell where its SSH server is reached."""
        tag = tag_of(machine.notes)
        if tag is None or machine.management is None:
            return machine.notes
        self.realise(machine)
        with refused():
            endpoint = self.backend.host.endpoint(machine.machine)
        document = json.loads(machine.notes)
        document[TAG]["ssh"] = f"{endpoint.host}:{endpoint.port}"
        return json.dumps(document, separators=(",", ":"))

    def attachment(self, machine: VirtualMachine, path: str) -> DiskAttachment:
        """Return a virtual hard disk as the backend plugs it in. Raises CmdletError."""
        return DiskAttachment(self.files.disk(path).disk, machine.serial_of(path))

    def user_of(self, path: str) -> VirtualMachine | None:
        """Return the machine that has a file in a drive."""
        key = path.casefold()
        return next(
            (item for item in self.machines for drive in item.drives if (drive.path or "").casefold() == key), None
        )

    def _specification(self, machine: VirtualMachine) -> MachineSpec:
        management = machine.management
        prefix = Names(self.backend.lab).switch("")
        nics = tuple(
            Nic(adapter.switch.removeprefix(prefix), colons(adapter.mac))
            for adapter in machine.adapters
            if adapter.switch is not None and adapter.switch.startswith(prefix)
        )
        return MachineSpec(
            name=machine.machine,
            cpus=machine.processors,
            memory_mib=machine.memory // MEBIBYTE,
            disks=tuple(self.attachment(machine, drive.path) for drive in machine.hard_disks if drive.path),
            nics=nics,
            management=None
            if management is None
            else Management(colons(management.mac), host_access=management.switch == MANAGEMENT_WITH_HOST),
            seed=self._seed(machine),
        )

    def _seed(self, machine: VirtualMachine) -> str | None:
        for drive in machine.drives:
            if drive.kind == "DvdDrive" and drive.path:
                found = self.files.find(drive.path)
                if isinstance(found, PlainFile):
                    return str(found.real)
        return None

    def _keep_console(self, machine: VirtualMachine) -> None:
        """Record the first serial port, as a program that reads its pipe would do on a real host."""
        tag = tag_of(machine.notes)
        if tag is not None and machine.ports[1]:
            real = self.backend.host.console_log(machine.machine)
            self.files.keep(PlainFile(Names(tag.lab).console(tag.machine), real, owned=False))


def like(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern of PowerShell; case does not count."""
    return fnmatch.fnmatchcase(name.casefold(), pattern.casefold())


def colons(mac: str) -> str:
    """Return twelve digits as an address with colons."""
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).lower()


@contextmanager
def refused() -> Iterator[None]:
    """Turn an error of the backend into an error record."""
    try:
        yield
    except Conflict as error:
        raise errors.CmdletError("InvalidState", str(error)) from error
    except (HypervisorError, BackendError, OSError) as error:
        raise errors.failed(str(error)) from error
