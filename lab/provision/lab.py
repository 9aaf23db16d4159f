"""A lab that is up: its machines with open transports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from testinfra.host import Host

from lab.errors import LabError
from lab.hypervisors.model import Endpoint, PowerState
from lab.hypervisors.protocols import Hypervisor, NotFound, Unreachable
from lab.machines.console import console_tail
from lab.machines.ssh import CONNECT_SECONDS, PATIENT_SECONDS, Login, SshTransport
from lab.machines.testinfra_host import testinfra_host
from lab.provision.bmc import BmcControl
from lab.provision.home import LabFolder
from lab.provision.lent import LentControl
from lab.provision.state import LabState, LentAccess, PhysicalAccess
from lab.topology.model import Topology
from lab.waiting import Deadline, DeadlineExceeded

BOOT_SECONDS = {"tcg": 600.0, "kvm": 90.0}
"""How long a machine may take from power-on to a login, by acceleration."""


class NeverBooted(LabError):
    """A machine did not let us log in; the message ends with its console."""


class Control(Protocol):
    """Power and console of one machine: its hypervisor's, or its BMC's."""

    def power(self) -> PowerState:
        """Return the present state."""

    def power_on(self) -> None:
        """Switch on; no effect when on already."""

    def power_off(self) -> None:
        """Cut the power; no effect when off already."""

    @property
    def console(self) -> Path:
        """The recorded serial console."""


@dataclass(frozen=True)
class HostedControl:
    """Power and console of a machine that a hypervisor runs."""

    hypervisor: Hypervisor
    name: str

    def power(self) -> PowerState:
        """Return the present state. Raises NotFound."""
        return self.hypervisor.power(self.name)

    def power_on(self) -> None:
        """Switch on. Raises NotFound."""
        self.hypervisor.power_on(self.name)

    def power_off(self) -> None:
        """Cut the power. Raises NotFound."""
        self.hypervisor.power_off(self.name)

    @property
    def console(self) -> Path:
        """The recorded serial console. Raises NotFound."""
        return self.hypervisor.console_log(self.name)


@dataclass(frozen=True)
class LabMachine:
    """One machine: a connection, its power, its console."""

    name: str
    ssh: SshTransport
    control: Control

    @property
    def host(self) -> Host:
        """A testinfra host on the kept connection."""
        return testinfra_host(self.ssh)

    def wait_ready(self, deadline: Deadline, *, login_only: bool = False) -> None:
        """Wait for a login, and for a program to run. Raises NeverBooted with the end of the console."""
        self._wait(deadline, lambda: None, login_only=login_only)

    def wait_booted(self, deadline: Deadline) -> None:
        """Wait for the first login of a machine that nobody restarts. Raises NeverBooted, at once without power."""
        self._wait(deadline, self._need_power)

    def _wait(self, deadline: Deadline, unless: Callable[[], None], *, login_only: bool = False) -> None:
        try:
            self.ssh.wait_ready(deadline, unless=unless, login_only=login_only)
        except DeadlineExceeded as error:
            raise self._never_booted(str(error)) from error

    def _need_power(self) -> None:
        if not self.running:
            raise self._never_booted(f"{self.name} has lost its power while it booted")

    def _never_booted(self, why: str) -> NeverBooted:
        end = console_tail(self.console)
        return NeverBooted(f"{why}\n--- console of {self.name} ---\n{end}", hint=f"console: {self.console}")

    @property
    def console(self) -> Path:
        """The recorded serial console."""
        return self.control.console

    @property
    def running(self) -> bool:
        """Whether it has power."""
        return self.control.power() is PowerState.ON

    def power_on(self) -> None:
        """Switch on."""
        self.control.power_on()

    def power_off(self) -> None:
        """Cut the power."""
        self.ssh.close()
        self.control.power_off()


@dataclass
class Lab:
    """The running lab. Machines that the stack made later (replicas) are found by their name too."""

    topology: Topology
    folder: LabFolder
    state: LabState
    hypervisor: Hypervisor
    _known: dict[str, LabMachine] = field(default_factory=dict, repr=False)

    def machine(self, name: str, *, identity_of: str | None = None) -> LabMachine:
        """Return a machine; a replica carries the host key of the machine whose data it has (``identity_of``).

        Raises:
            LabError: no such machine, its host does not answer, or nobody knows its host key.
        """
        if name in self._known:
            return self._known[name]
        try:
            endpoint = self.endpoint(name)
        except Unreachable as error:
            raise LabError(f"lab {self.folder.name}: {error}") from error
        except NotFound as error:
            raise LabError(
                f"lab {self.folder.name} has no machine {name}; there are: {', '.join(self.names())}"
            ) from error
        host_key = self.state.host_keys.get(identity_of or name)
        if host_key is None:
            raise LabError(f"lab {self.folder.name} has no host key of {identity_of or name}, which {name} should show")
        login = Login("root", self.folder.login_key, host_key)
        patience = PATIENT_SECONDS if (identity_of or name) in self.state.inside else CONNECT_SECONDS
        machine = LabMachine(name, SshTransport(name, endpoint, login, patience), self.control(name))
        self._known[name] = machine
        return machine

    def names(self) -> list[str]:
        """Return the names of all machines that there are now, physical and lent ones too."""
        return sorted([machine.name for machine in self.hypervisor.machines()] + list(self._elsewhere))

    def control(self, name: str) -> Control:
        """Return power and console of a machine, which is looked for when they are used."""
        if name in self.state.lent:
            return LentControl(name, self.state.lent[name], self.folder)
        access = self.state.physical.get(name)
        return BmcControl(access, self.folder) if access is not None else HostedControl(self.hypervisor, name)

    def endpoint(self, name: str) -> Endpoint:
        """Return where a machine's SSH server answers. Raises NotFound, Conflict without a management card."""
        access = self._elsewhere.get(name)
        return Endpoint(access.ssh_host, access.ssh_port) if access is not None else self.hypervisor.endpoint(name)

    @property
    def _elsewhere(self) -> dict[str, PhysicalAccess | LentAccess]:
        """Machines that no hypervisor of the lab has."""
        return {**self.state.physical, **self.state.lent}

    def forget(self, name: str) -> None:
        """Drop the connection of a machine that the stack has removed."""
        machine = self._known.pop(name, None)
        if machine is not None:
            machine.ssh.close()

    def disconnect(self) -> None:
        """Close the connections to all machines; the next command opens a new one."""
        for machine in self._known.values():
            machine.ssh.close()
        self._known.clear()

    def close(self) -> None:
        """Close connections; machines keep running."""
        self.disconnect()
        self.hypervisor.close()
