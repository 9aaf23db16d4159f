"""testinfra over the connection that the lab keeps anyway: no new SSH login for each command."""

from __future__ import annotations

from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from lab.machines.ssh import SshTransport


class KeptConnectionBackend(BaseBackend):  # type: ignore[misc] # testinfra ships no types
    """Runs testinfra's commands through an ``SshTransport``."""

    NAME = "recovery-lab"

    def __init__(self, transport: SshTransport) -> None:
        super().__init__(transport.machine)
        self._transport = transport

    def run(self, command: str, *args: str, **_kwargs: Any) -> CommandResult:
        """Run a command that testinfra composed and quoted."""
        result = self._transport.shell(self.get_command(command, *args))
        return self.result(result.status, self.encode(command), result.stdout, result.stderr)


def testinfra_host(transport: SshTransport) -> Host:
    """Return a testinfra host for assertions on a machine."""
    return Host(KeptConnectionBackend(transport))
