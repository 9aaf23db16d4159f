"""What stands in for Azure beside the machines of a lab: Azurite, and relays to services of this host."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from lab.emulators.azurite.account import NAME as ACCOUNT
from lab.emulators.azurite.service import LOOPBACK, TLS, free_port, prepare
from lab.errors import LabError
from lab.home import home
from lab.logs import last_characters
from lab.networks.bridge import BridgeSwitches
from lab.networks.naming import namespace_name
from lab.networks.protocol import NetworkError
from lab.provision.lab import Lab
from lab.provision.processes import LabProcess, spawn
from lab.topology.azure import Azure
from lab.topology.networks import SwitchNetwork
from lab.waiting import Deadline, wait_until

HTTPS = 443
READY_SECONDS = 30.0
EMULATORS = "emulators"
AZURITE = "azurite"
CONNECTION_STRING = "connection-string"


@dataclass(frozen=True)
class StorageFiles:
    """How the vault reaches the storage: files, because the connection string is a secret.

    ``ca`` is None for an account whose certificate the system's authorities have signed; ``public_url`` is where
    machines find it.
    """

    connection_string: Path
    ca: Path | None
    public_url: str | None


def storage_files(lab: Lab) -> StorageFiles:
    """Return how the storage of a lab is reached, once it was started."""
    azure = lab.topology.azure
    folder = _folder(lab)
    if azure is None or azure.connection_string is not None:
        return StorageFiles(folder / CONNECTION_STRING, None, None)
    public = f"https://{azure.storage_address}/{ACCOUNT}"
    return StorageFiles(folder / CONNECTION_STRING, folder / TLS / "ca.pem", public)


def start_storage(lab: Lab, azure: Azure) -> StorageFiles:
    """Start Azurite for a lab, or use the account that the environment names.

    Raises:
        LabError: Azurite cannot be installed, or the variable is not set.
        DeadlineExceeded: it does not serve.
    """
    folder = _folder(lab)
    folder.mkdir(mode=0o700, exist_ok=True)
    files = storage_files(lab)
    if azure.connection_string is not None:
        value = os.environ.get(azure.connection_string)
        if not value:
            raise LabError(f"the environment variable {azure.connection_string} has no connection string")
        _keep(files.connection_string, value)
        return files
    azurite = prepare(home() / EMULATORS, folder, free_port(), (str(azure.storage_address),))
    _keep(files.connection_string, azurite.connection_string)
    process = spawn(lab.folder, AZURITE, azurite.argv, azurite.environment)
    azurite.wait_ready(lambda: _end_of_log(lab, process))
    relay_into(lab, azure.route, azure.storage_address, azurite.port)
    return files


def relay_into(lab: Lab, network: str, address: IPv4Address, port: int) -> None:
    """Let machines on a network reach a port of this host's loopback at ``address``, port 443.

    Raises:
        LabError: the host has no namespaces (a session daemon), or the relay does not start.
        DeadlineExceeded: it does not listen.
    """
    switch = lab.topology.networks[network]
    if not isinstance(switch, SwitchNetwork):
        raise LabError(f"network {network} has no addresses")
    try:
        BridgeSwitches(lab.folder.tag).answer_at(network, IPv4Interface((address, switch.subnet.prefixlen)))
    except NetworkError as error:
        raise LabError(
            f"{address} on {network}: {error}", hint="Azure needs a host whose libvirt runs as root"
        ) from error
    namespace = namespace_name(lab.folder.tag)
    ways = ["--listen", f"{address}:{HTTPS}", "--to", f"{LOOPBACK}:{port}"]
    argv = [sys.executable, "-m", "lab.networks.relay", "--namespace", namespace, *ways]
    process = spawn(lab.folder, f"relay-{address}", argv, dict(os.environ))
    log = lab.folder.processes / f"{process.name}.log"
    wait_until(
        lambda: process.alive and "relays" in log.read_text(errors="replace"),
        Deadline.after(READY_SECONDS),
        f"relay at {address}",
        explain=lambda: _end_of_log(lab, process),
    )


def _folder(lab: Lab) -> Path:
    return lab.folder.stack / "storage"


def _end_of_log(lab: Lab, process: LabProcess) -> str:
    return last_characters(lab.folder.processes / f"{process.name}.log")


def _keep(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret, encoding="ascii")
