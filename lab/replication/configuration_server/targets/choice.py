"""Which target a machine or a session has."""

from __future__ import annotations

from dataclasses import dataclass

from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.sessions import Session
from lab.replication.configuration_server.targets.azure import AzureTarget
from lab.replication.configuration_server.targets.host import HostTarget
from lab.replication.configuration_server.targets.protocol import Target
from lab.replication.configuration_server.targets.site import SiteTarget


@dataclass(frozen=True)
class Targets:
    """The targets that this server knows; Azure only when a vault is configured."""

    site: SiteTarget
    hosts: HostTarget
    azure: AzureTarget | None

    def of(self, session: Session) -> Target:
        """Return where a session's data goes: a reverse session always goes to a site. Raises JobError."""
        if session.receiver is not None:
            return self.hosts
        return self._vault() if session.azure else self.site

    def of_machine(self, machine: Machine) -> Target:
        """Return where a machine is replicated to, and where its replica runs. Raises JobError."""
        if machine.settings.recovery_host is not None:
            return self.hosts
        return self._vault() if machine.settings.azure is not None else self.site

    def _vault(self) -> AzureTarget:
        if self.azure is None:
            raise JobError("no-vault", "this configuration server is not registered with a vault")
        return self.azure
