"""Which ports a machine listens on, from its own listener table."""

from __future__ import annotations

from dataclasses import dataclass

from lab.machines.ssh import SshTransport


@dataclass(frozen=True, order=True)
class Listener:
    """A TCP listener; ``address`` is "0.0.0.0" or "[::]" for every interface."""

    port: int
    address: str

    @property
    def local(self) -> bool:
        """Whether only the machine itself reaches it."""
        return self.address.startswith(("127.", "[::1]"))


def parse_listeners(table: str) -> frozenset[Listener]:
    """Read the output of ``ss -Hltn``."""
    found = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 4:  # noqa: PLR2004 - state, two queues, local address
            continue
        address, _, port = fields[3].rpartition(":")
        found.add(Listener(int(port), address.split("%")[0]))
    return frozenset(found)


def listeners(ssh: SshTransport) -> frozenset[Listener]:
    """Return a machine's TCP listeners. Raises CommandFailed, ConnectionLost."""
    return parse_listeners(ssh.check("ss", "-Hltn"))


def open_ports(ssh: SshTransport) -> frozenset[int]:
    """Return the ports that other machines could reach."""
    return frozenset(item.port for item in listeners(ssh) if not item.local)
