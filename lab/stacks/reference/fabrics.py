"""The fabrics of the reference stack on this host: made at the installation, started anew where a saved lab goes on."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.locks import held
from lab.logs import last_characters
from lab.provision.board import Board
from lab.provision.esxi import as_reader
from lab.provision.lab import Lab, LabMachine
from lab.provision.processes import LabProcess, spawn
from lab.stacks.reference.components import (
    CONFIGURATION_SERVER,
    ETC,
    HOST_FROM_MACHINE,
    configuration_server_name,
    fabric_config,
)
from lab.topology.hosts import HypervHost, LibvirtHost
from lab.waiting import Deadline, wait_until

FABRIC_SECONDS = 30.0
TURN_SECONDS = 120.0
RESTART_SECONDS = 120.0
CONFIGURATION_SERVER_UNIT = f"recovery-{CONFIGURATION_SERVER}.service"
_CONFIG = f"{ETC}/{CONFIGURATION_SERVER}.json"


def make_fabric(lab: Lab, board: Board, site: str, port: int) -> None:
    """Put a site's fabric into its folder, with the certificate that was issued for it, and start it.

    Raises:
        LabError: it cannot be there, or does not start.
        DeadlineExceeded: it does not answer in time.
    """
    folder = lab.folder.stack / f"fabric-{site}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for suffix in ("pem", "key"):
        (lab.folder.stack / f"fabric-{site}.{suffix}").replace(folder / f"machine.{suffix}")
    keep(folder / "ca.pem", (lab.folder.stack / "ca.pem").read_bytes())
    _wait(lab, board, site, port, _begin(lab, site, port))


def resume_fabrics(lab: Lab, board: Board) -> Callable[[], None]:
    """Start the fabrics of a lab that goes on from a saved one, where its configuration server expects them.

    A port that somebody else has here, such as another lab of the same saved one, is replaced by a free one, and the
    configuration server is told by what this returns, once its machine runs; it has to start again for that.

    Raises:
        LabError: a fabric does not start.
        DeadlineExceeded: one of them does not answer in time.
    """
    # Two labs of one saved lab know each other's certificates: none must ever find the other's fabric at its port.
    turn = lab.folder.path.parent.parent / "leases" / "fabric-ports"
    with held(turn, Deadline.after(TURN_SECONDS), "turn with the ports of fabrics"):
        expected = {site: _expected_port(lab, site) for site in lab.topology.sites}
        ports = {site: port if _free(port) else free_port() for site, port in expected.items()}
        begun = {site: _begin(lab, site, port) for site, port in ports.items()}
        for site, process in begun.items():
            _wait(lab, board, site, ports[site], process)
    return lambda: None if ports == expected else _tell_ports(lab, board, ports)


def wait_configuration_server(machine: LabMachine, deadline: Deadline) -> None:
    """Wait until its port is open. Raises DeadlineExceeded with the last lines of its journal."""
    probe = "import socket; socket.create_connection(('127.0.0.1', 443), 2)"
    wait_until(
        lambda: machine.ssh.run("python3", "-c", probe).ok,
        deadline,
        f"{CONFIGURATION_SERVER} on {machine.name}",
        explain=lambda: machine.ssh.run("journalctl", "-u", CONFIGURATION_SERVER_UNIT, "-n", "20", "--no-pager").stdout,
    )


def keep(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _expected_port(lab: Lab, site: str) -> int:
    text = (lab.folder.stack / f"fabric-{site}" / "fabric.json").read_text(encoding="utf-8")
    return int(json.loads(text)["listen"]["port"])


def _tell_ports(lab: Lab, board: Board, ports: dict[str, int]) -> None:
    """Tell the configuration server where the fabrics are. Raises LabError, DeadlineExceeded."""
    board.step("configuration server", "told where the fabrics are")
    machine = lab.machine(configuration_server_name(lab.topology))
    settings = json.loads(machine.ssh.get(_CONFIG))
    settings["fabrics"] = {site: {"address": HOST_FROM_MACHINE, "port": port} for site, port in ports.items()}
    machine.ssh.put(json.dumps(settings).encode(), _CONFIG, mode=0o600)
    machine.ssh.check("systemctl", "restart", CONFIGURATION_SERVER_UNIT, seconds=RESTART_SECONDS)
    wait_configuration_server(machine, Deadline.after(RESTART_SECONDS))
    board.step("configuration server", "ready")


def _fabric_driver(lab: Lab, site: str) -> dict[str, Any]:
    """Return how a site's fabric opens its hypervisor, as the fabric's configuration says it."""
    common = {"lab": lab.folder.name, "store": str(lab.folder.path.parent)}
    host = lab.topology.hosts[lab.topology.sites[site].host]
    if isinstance(host, LibvirtHost):
        return {"kind": "libvirt", "uri": host.uri, "acceleration": lab.state.acceleration, **common}
    if isinstance(host, HypervHost):
        raise LabError(f"site {site} is on a Hyper-V host: machines there are replicated by the host, not by a fabric")
    if lab.state.esxi is None:
        raise LabError(f"lab {lab.folder.name} does not say how its ESXi host is reached", hint="lab down, lab up")
    return {"kind": "esxi", "esxi": lab.state.esxi.model_dump(mode="json"), **common}


def _discovery(lab: Lab, site: str) -> dict[str, Any] | None:
    """Return the account with which a VMware site's fabric follows the inventory, None for other hosts."""
    host = lab.topology.hosts[lab.topology.sites[site].host]
    if isinstance(host, LibvirtHost) or lab.state.esxi is None:
        return None
    reader = as_reader(lab.state.esxi)
    return reader.model_dump(mode="json") if reader is not None else None


def _begin(lab: Lab, site: str, port: int) -> LabProcess:
    """Start a site's fabric; it does not answer yet."""
    folder = lab.folder.stack / f"fabric-{site}"
    settings = fabric_config(lab.topology, site, port, str(folder), _fabric_driver(lab, site))
    config = folder / "fabric.json"
    config.write_text(json.dumps({**settings, "discovery": _discovery(lab, site)}), encoding="utf-8")
    argv = [sys.executable, "-m", "lab.replication.fabric", "--config", str(config)]
    return spawn(lab.folder, f"fabric-{site}", argv, dict(os.environ))


def _wait(lab: Lab, board: Board, site: str, port: int, process: LabProcess) -> None:
    """Wait until a fabric answers. Raises LabError, DeadlineExceeded."""
    log = lab.folder.processes / f"{process.name}.log"

    def listening_or_ended() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0 or not process.alive

    wait_until(
        listening_or_ended,
        Deadline.after(FABRIC_SECONDS),
        f"fabric of {site}",
        explain=lambda: last_characters(log),
        every=0.05,
    )
    if not process.alive:
        raise LabError(f"the fabric of {site} did not start: {last_characters(log)}")
    board.step(f"fabric {site}", "ready")
