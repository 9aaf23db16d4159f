"""The Azure side of the reference stack on a lab: storage, vault, and the order in which it is set up (seed L60)."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from lab.logs import last_characters
from lab.provision.azure import StorageFiles, relay_into, start_storage
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.provision.processes import spawn
from lab.stacks.deployment import SetupStep
from lab.stacks.reference.components import JSON, configuration_server_name
from lab.stacks.reference.settings import policy_document, server_name
from lab.topology.azure import Azure
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until

VAULT_SECONDS = 60.0
SETTLE_S = 30.0
VAULT = "vault"


def start_azure(lab: Lab, board: Board, azure: Azure, vault_port: int) -> None:
    """Start storage and vault; the vault's certificate has been issued before.

    Raises:
        LabError: a part of it cannot be installed or started.
        DeadlineExceeded: it does not serve in time.
    """
    board.step("azure storage", "starting")
    storage = start_storage(lab, azure)
    board.step("azure storage", "ready")
    board.step("azure vault", "starting")
    folder = lab.folder.stack / VAULT
    folder.mkdir(mode=0o700, exist_ok=True)
    for suffix in ("pem", "key"):
        (lab.folder.stack / f"{VAULT}.{suffix}").replace(folder / f"machine.{suffix}")
    (folder / "ca.pem").write_bytes((lab.folder.stack / "ca.pem").read_bytes())
    config = folder / "vault.json"
    config.write_text(json.dumps(vault_config(lab, azure, storage, vault_port, folder)), encoding="utf-8")
    argv = [sys.executable, "-m", "lab.replication.vault", "--config", str(config)]
    process = spawn(lab.folder, VAULT, argv, dict(os.environ))
    log = lab.folder.processes / f"{process.name}.log"
    wait_until(
        lambda: _listens(vault_port),
        Deadline.after(VAULT_SECONDS),
        "vault",
        explain=lambda: last_characters(log),
    )
    relay_into(lab, azure.route, azure.vault_address, vault_port)
    board.step("azure vault", "ready")


def vault_config(lab: Lab, azure: Azure, storage: StorageFiles, port: int, folder: Path) -> JSON:
    """Return the configuration of the vault."""
    return {
        "name": f"{lab.topology.name}-vault",
        "listen": {"address": "127.0.0.1", "port": port},
        "identity_dir": str(folder),
        "state_dir": str(folder / "state"),
        "exports_dir": str(lab.folder.path / "exports"),
        "settle_s": SETTLE_S,
        "storage": {
            "connection_string_file": str(storage.connection_string),
            "ca_file": str(storage.ca) if storage.ca else None,
            "public_url": storage.public_url,
        },
        "region": {
            "kind": "libvirt",
            "uri": lab.topology.hosts[azure.host].where,
            "lab": lab.folder.name,
            "store": str(lab.folder.path.parent),
            "acceleration": lab.state.acceleration,
            "networks": networks_in_azure(lab.topology),
        },
    }


def networks_in_azure(topology: Topology) -> list[str]:
    """Return the networks that replicas of the topology have cards on: whoever prepares Azure makes them (seed L96)."""
    replicas = [topology.machines[name].replica for name in topology.stack.protected]
    cards = [card for each in replicas if each is not None for card in (*each.interfaces, *each.test_interfaces)]
    outside = {topology.azure.route} if topology.azure is not None else set()
    return sorted({card.network for card in cards if card.address is not None} | outside)


def setup_steps(topology: Topology) -> list[SetupStep]:
    """Return what is set up with the vault, in the order of seed L60; nothing when no machine goes to Azure."""
    azure = topology.azure
    if azure is None:
        return []
    machines = sorted(topology.stack.protected)
    # Hyper-V hosts go to Azure by themselves: no configuration server is added for them (seed L96-101).
    server = [] if azure.source == "hyper-v" else [configuration_server_name(topology)]
    return [
        SetupStep("vault", f"{topology.name}-vault", {}),
        SetupStep("goal", "azure", {"source": azure.source}),
        *(SetupStep("configuration-server", name, {}) for name in server),
        SetupStep("servers", server_name(topology), {"kind": azure.source, "machines": machines}),
        *(SetupStep("policy", name, policy_document(policy)) for name, policy in topology.stack.policies.items()),
    ]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
