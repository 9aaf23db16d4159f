"""A lab that is up: its machines with open transports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from testinfra.host import Host

from lab.errors import LabError
from lab.hypervisors.protocols import Hypervisor, NotFound
from lab.machines.console import console_tail
from lab.machines.ssh import Login, SshTransport
from lab.machines.testinfra_host import testinfra_host
from lab.provision.home import LabFolder
from lab.provision.state import LabState
from lab.topology.model import Topology
from lab.waiting import Deadline, DeadlineExceeded


class NeverBooted(LabError):
    """A machine did not let us log in; the message ends with its console."""


@dataclass(frozen=True)
class LabMachine:
    """One machine: a connection, its power, its console."""

    name: str
    ssh: SshTransport
    hypervisor: Hypervisor

    @property
    def host(self) -> Host:
        """A testinfra host on the kept connection."""
        return testinfra_host(self.ssh)

    def wait_ready(self, deadline: Deadline) -> None:
        """Wait for a login. Raises NeverBooted with the end of the console."""
        try:
            self.ssh.wait_ready(deadline)
        except DeadlineExceeded as error:
            raise NeverBooted(
                f"{error}\n--- console of {self.name} ---\n{console_tail(self.console)}",
                hint=f"console: {self.console}",
            ) from error

    @property
    def console(self) -> Path:
        """The recorded serial console."""
        return self.hypervisor.console_log(self.name)

    def power_on(self) -> None:
        """Switch on."""
        self.hypervisor.power_on(self.name)

    def power_off(self) -> None:
        """Cut the power."""
        self.ssh.close()
        self.hypervisor.power_off(self.name)


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
            LabError: no such machine.
        """
        if name in self._known:
            return self._known[name]
        try:
            endpoint = self.hypervisor.endpoint(name)
        except NotFound as error:
            names = ", ".join(machine.name for machine in self.hypervisor.machines())
            raise LabError(f"lab {self.folder.name} has no machine {name}; there are: {names}") from error
        login = Login("root", self.folder.login_key, self.state.host_keys[identity_of or name])
        machine = LabMachine(name, SshTransport(name, endpoint, login), self.hypervisor)
        self._known[name] = machine
        return machine

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
