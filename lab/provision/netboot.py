"""Bare machines boot over a network of the lab: DHCP and TFTP by dnsmasq, and HTTP, in the lab's namespace alone.

Only machines that are installed over the network get an answer, each its own files below a name that nobody can guess.
Those are read by whoever listens there. What nobody else may have, a machine's identity, goes over TLS, and once.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from lab.errors import LabError
from lab.images.medium import Fetching, Installation
from lab.images.netboot import BOOT_SCRIPT, IMAGE, identity_text, write_netboot
from lab.logs import last_lines
from lab.networks.bridge import BridgeSwitches
from lab.networks.protocol import NetworkError
from lab.provision import processes
from lab.provision.home import LabFolder
from lab.provision.install import Source
from lab.provision.netboot_server import ServerFolder
from lab.topology.model import Topology
from lab.topology.naming import mac_for
from lab.topology.netboot_rules import boot_server_address
from lab.topology.networks import SwitchNetwork
from lab.waiting import Deadline, DeadlineExceeded, wait_until

PREFIX = "netboot-"
"""How the names of these processes begin."""
LOADERS, LOADER = Path("/usr/lib/ipxe"), "undionly.kpxe"
"""For cards without iPXE of their own; of the package ipxe."""
START_SECONDS = 60.0
LAST_LINES = 8


@dataclass(frozen=True)
class Client:
    """A machine that boots over the network: its card, its address, and the name of the folder with its files."""

    name: str
    mac: str
    address: IPv4Address
    secret: str


def configuration(server: IPv4Interface, clients: tuple[Client, ...]) -> str:
    """Return dnsmasq's configuration: these clients, no others, no DNS and no way out. Pure."""
    lines = [
        "port=0", f"listen-address={server.ip}", "bind-interfaces", "user=nobody", "group=nogroup", "pid-file=",
        "leasefile-ro", "log-facility=-", "no-ping", "dhcp-authoritative",
        f"dhcp-range={server.network.network_address},static,{server.network.netmask}",
        "dhcp-option=3", "dhcp-option=6", "dhcp-userclass=set:ipxe,iPXE",
        "enable-tftp", f"tftp-root={LOADERS}", f"dhcp-boot=tag:!ipxe,{LOADER},,{server.ip}",
    ]  # fmt: skip
    for client in clients:
        lines.append(f"dhcp-host={client.mac},set:{client.name},{client.address}")
        lines.append(f"dhcp-boot=tag:ipxe,tag:{client.name},http://{server.ip}/{client.secret}/{BOOT_SCRIPT}")
    return "".join(f"{line}\n" for line in lines)


def clients_on(topology: Topology, network: str) -> tuple[Client, ...]:
    """Return the machines that are installed over a network, each with a new secret."""
    return tuple(
        Client(name, mac_for(topology.name, name, network), card.address, secrets.token_urlsafe(24))
        for name, over in topology.booted_over.items()
        if over == network
        for card in topology.machines[name].interfaces
        if card.network == network and card.address is not None
    )


@dataclass(frozen=True)
class OverNetwork:
    """A machine's way to its installer over a network; ``logs``: of the processes that serve it."""

    client: Client
    server: IPv4Address
    folder: ServerFolder
    logs: tuple[Path, ...]
    name: str = "over the network"

    @contextmanager
    def prepared(self, installation: Installation, source: Source) -> Iterator[None]:
        """Have the machine's files served, and its identity for the one who brings this run's word, a single time."""
        files, once = self.folder.files / self.client.secret, secrets.token_urlsafe(24)
        image = f"http://{self.server}/{self.client.secret}/{IMAGE}"
        trusted = self.folder.certificate.read_text(encoding="ascii")
        fetching = Fetching(image, f"{self.server}:{ServerFolder.TLS_PORT}", once, trusted)
        identity = self.folder.identity(str(self.client.address), once)
        files.mkdir(mode=0o700)
        try:
            write_netboot(installation, source.image, source.stream, files, mac=self.client.mac, fetching=fetching)
            identity.parent.mkdir(mode=0o700, exist_ok=True)
            identity.touch(mode=0o600)
            identity.write_text(identity_text(installation), encoding="ascii")
            yield
        finally:
            shutil.rmtree(files, ignore_errors=True)
            shutil.rmtree(identity.parent, ignore_errors=True)

    def last_words(self) -> str:
        """Return the ends of the servers' logs: whether the machine asked, and what it got."""
        return "\n".join(f"--- {log.stem} ---\n{last_lines(log, LAST_LINES)}" for log in self.logs)


@contextmanager
def serving_netboot(topology: Topology, folder: LabFolder) -> Iterator[Mapping[str, OverNetwork]]:
    """Answer machines that boot over networks inside of the block, and give each one's way by its name.

    Raises:
        LabError: dnsmasq is missing, or a server does not start.
    """
    found: dict[str, OverNetwork] = {}
    if not topology.booted_over:
        yield found
        return
    try:
        for network in sorted(set(topology.booted_over.values())):
            found |= _serve(topology, folder, network)
        yield found
    finally:
        processes.end_all(folder, PREFIX)
        shutil.rmtree(_home(folder), ignore_errors=True)


def _home(folder: LabFolder) -> Path:
    return folder.path / "netboot"


def _serve(topology: Topology, folder: LabFolder, name: str) -> dict[str, OverNetwork]:
    network = topology.networks[name]
    if not isinstance(network, SwitchNetwork):
        raise TypeError(f"{name} is no switch")  # the topology was checked
    switches = BridgeSwitches(folder.tag)
    server = IPv4Interface((boot_server_address(network.subnet), network.subnet.prefixlen))
    try:
        switches.answer_at(name, server)
    except NetworkError as error:
        raise LabError(f"network {name}: {error}") from error
    home, clients = ServerFolder(_home(folder) / name), clients_on(topology, name)
    home.make()
    text = home.path / "dnsmasq.conf"
    text.write_text(configuration(server, clients), encoding="ascii")
    dnsmasq = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if dnsmasq is None:
        raise LabError("dnsmasq is not installed", hint="apt-get install dnsmasq-base (or make bootstrap)")
    inside = ["ip", "netns", "exec", switches.namespace]
    files = [sys.executable, "-m", "lab.provision.netboot_server", str(server.ip), str(home.path)]
    addresses = [dnsmasq, "--keep-in-foreground", f"--conf-file={text}"]
    logs = (
        _start(folder, f"{PREFIX}http-{name}", [*inside, *files], "serving"),
        _start(folder, f"{PREFIX}dhcp-{name}", [*inside, *addresses], "started"),
    )
    return {client.name: OverNetwork(client, server.ip, home, logs) for client in clients}


def _start(folder: LabFolder, name: str, argv: list[str], sign: str) -> Path:
    """Start a process, wait until its log has ``sign``, and return the log. Raises LabError with its last words."""
    log = folder.processes / f"{name}.log"
    process = processes.spawn(folder, name, argv, os.environ)
    try:
        there = lambda: not process.alive or sign in log.read_text(errors="replace")  # noqa: E731
        wait_until(there, Deadline.after(START_SECONDS), name, every=0.05)
    except DeadlineExceeded as error:
        raise LabError(f"{error}: {last_lines(log, LAST_LINES)}") from error
    if not process.alive:
        raise LabError(f"{name} did not start: {last_lines(log, LAST_LINES)}")
    return log
