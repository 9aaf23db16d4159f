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


@dataclass(frozen=True)
class TcpConnection:
    """An established connection, as one of its ends sees it."""

    here: str
    here_port: int
    there: str
    there_port: int


def parse_connections(table: str) -> list[TcpConnection]:
    """Read the output of ``ss -Htn state established``."""
    found = []
    for line in table.splitlines():
        (here, _, here_port), (there, _, there_port) = (end.rpartition(":") for end in line.split()[2:4])
        found.append(TcpConnection(here, int(here_port), there, int(there_port)))
    return found


def connections(ssh: SshTransport) -> list[TcpConnection]:
    """Return a machine's established TCP connections. Raises CommandFailed, ConnectionLost."""
    return parse_connections(ssh.check("ss", "-Htn", "state", "established"))


def received_bytes(ssh: SshTransport, address: str) -> int:
    """Return what has come in over the card with this address since its machine started. Raises LookupError."""
    for line in ssh.check("ip", "-o", "-4", "address").splitlines():
        fields = line.split()
        if fields[3].partition("/")[0] == address:
            return int(ssh.check("cat", f"/sys/class/net/{fields[1]}/statistics/rx_bytes"))
    raise LookupError(f"{ssh.machine} has no card with the address {address}")


def open_ports(ssh: SshTransport) -> frozenset[int]:
    """Return the ports that other machines could reach."""
    return frozenset(item.port for item in listeners(ssh) if not item.local)
