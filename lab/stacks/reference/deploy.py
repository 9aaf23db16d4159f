"""Install the reference stack on a lab: configuration server first, then fabrics, then the other servers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.provision.board import Board
from lab.provision.lab import Lab, LabMachine
from lab.replication.package import build_package
from lab.stacks.reference.azure import VAULT, start_azure
from lab.stacks.reference.components import (
    CONFIGURATION_SERVER,
    CONSOLE,
    ETC,
    JSON,
    SCRIPTS,
    configuration_server_config,
    configuration_server_name,
    console_config,
    server_config,
)
from lab.stacks.reference.fabrics import (
    CONFIGURATION_SERVER_UNIT,
    free_port,
    keep,
    make_fabric,
    wait_configuration_server,
)
from lab.stacks.reference.hosts import provider_config
from lab.stacks.reference.realm import make_realm
from lab.stacks.secrets import pairing_passphrase
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.waiting import Deadline

WORK = "/var/tmp/recovery-install"  # noqa: S108 - inside a lab machine, made by root with mode 0700
INSTALL_SECONDS = 300.0
CONSOLE_COMMAND = "/usr/local/bin/recovery-console"
PUSH_FOLDER = f"{ETC}/push"
SERVERS = (Role.PROCESS_SERVER, Role.MASTER_TARGET)
PROVIDERS = (Role.HYPERVISOR_HOST, Role.VMM_SERVER)


@dataclass(frozen=True)
class Credentials:
    """Files with which this host operates the stack."""

    ca: Path
    certificate: Path
    key: Path


def deploy(lab: Lab, board: Board) -> Credentials:
    """Install every server of the topology and start the fabrics.

    Raises:
        LabError: a step failed; the message names the machine and quotes the installer.
    """
    package = lab.folder.stack / "package.tar.gz"
    build_package(package)
    passphrase = pairing_passphrase(lab.topology)
    # A machine that is replicated from its host has a provider where others have a fabric.
    ports = {site: free_port() for site in lab.topology.sites} if lab.topology.stack.protect else {}
    _install_configuration_server(lab, board, package, passphrase, ports)
    azure = lab.topology.azure
    if azure is not None:
        start_azure(lab, board, azure, free_port())
    for site, port in ports.items():
        make_fabric(lab, board, site, port)
    for name in lab.topology.machines_with(Role.KDC):
        make_realm(lab, board, lab.machine(name))
    _install_servers(lab, board, package, passphrase)
    for name in lab.topology.machines_with(Role.CONSOLE):
        board.step(f"{name} {CONSOLE}", "installing")
        install_console(lab, lab.machine(name))
    return credentials(lab)


def credentials(lab: Lab) -> Credentials:
    """Return the operator's files of a lab whose stack is deployed."""
    folder = lab.folder.stack
    return Credentials(folder / "ca.pem", folder / "operator.pem", folder / "operator.key")


def _install_configuration_server(
    lab: Lab, board: Board, package: Path, passphrase: str, ports: dict[str, int]
) -> None:
    machine = lab.machine(configuration_server_name(lab.topology))
    board.step(f"{machine.name} {CONFIGURATION_SERVER}", "installing")
    send_package(machine, package.read_bytes())
    machine.ssh.check("install", "-d", "-m", "700", ETC)
    machine.ssh.put(passphrase.encode(), f"{ETC}/passphrase", mode=0o600)
    _put_and_install(machine, CONFIGURATION_SERVER, configuration_server_config(lab.topology, ports), "--no-start")
    config = f"{ETC}/{CONFIGURATION_SERVER}.json"
    environment = ("env", "PYTHONPATH=/opt/recovery/current", f"OPENSSL_CONF={ETC}/openssl.cnf")
    module = ("python3", "-m", "lab.replication.configuration_server", "init", "--config", config)
    machine.ssh.check(*environment, *module, seconds=INSTALL_SECONDS)
    issued = ["operator", CONSOLE, *(f"fabric-{site}" for site in ports), *([VAULT] if lab.topology.azure else [])]
    for name in ("ca.pem", *(f"{holder}.{suffix}" for holder in issued for suffix in ("pem", "key"))):
        keep(lab.folder.stack / name, machine.ssh.get(f"{ETC}/issued/{name}"))
    _register_scripts(machine, lab.topology)
    machine.ssh.check("systemctl", "daemon-reload")
    machine.ssh.check("systemctl", "enable", "--now", CONFIGURATION_SERVER_UNIT, seconds=INSTALL_SECONDS)
    wait_configuration_server(machine, Deadline.after(INSTALL_SECONDS))
    board.step(f"{machine.name} {CONFIGURATION_SERVER}", "ready")


def _register_scripts(machine: LabMachine, topology: Topology) -> None:
    """Put the scripts of recovery plans where the configuration server looks for them."""
    machine.ssh.check("install", "-d", "-m", "755", str(Path(SCRIPTS).parent), SCRIPTS)
    for name, text in topology.stack.scripts.items():
        machine.ssh.put(text.encode(), f"{SCRIPTS}/{name}", mode=0o755)


def _install_servers(lab: Lab, board: Board, package: Path, passphrase: str) -> None:
    names = sorted({name for role in (*SERVERS, *PROVIDERS) for name in lab.topology.machines_with(role)})

    def install(name: str) -> None:
        machine = lab.machine(name)
        send_package(machine, package.read_bytes())
        machine.ssh.put(passphrase.encode(), f"{WORK}/passphrase", mode=0o600)
        machine.ssh.put((lab.folder.stack / "ca.pem").read_bytes(), f"{WORK}/ca.pem")
        for config in _configurations(lab.topology, name):
            kind = config["kind"]
            board.step(f"{name} {kind}", "installing")
            if kind == Role.PROCESS_SERVER.value:
                _hand_over_push_files(lab, machine, package, passphrase)
            arguments = ("--passphrase-file", f"{WORK}/passphrase", "--ca", f"{WORK}/ca.pem")
            _put_and_install(machine, kind, config, *arguments)
            board.step(f"{name} {kind}", "ready")
        machine.ssh.check("rm", "-rf", WORK)

    with ThreadPoolExecutor(len(names), thread_name_prefix="deploy") as pool:
        list(pool.map(install, names))


def _configurations(topology: Topology, machine: str) -> list[JSON]:
    """Return the configurations of all that is installed on a machine."""
    roles = topology.machines[machine].roles
    servers = [role for role in SERVERS if role in roles]
    found = [server_config(topology, role, machine, _data_port(topology, role)) for role in servers]
    return [*found, provider_config(topology, machine)] if set(PROVIDERS) & set(roles) else found


def _hand_over_push_files(lab: Lab, machine: LabMachine, package: Path, passphrase: str) -> None:
    """Give the process server what push installation needs: a login for protected machines and the package."""
    machine.ssh.check("install", "-d", "-m", "700", ETC, PUSH_FOLDER)
    known = [
        f"{interface.address} {lab.state.host_keys[name]}"
        for name, protected in lab.topology.machines_with(Role.PROTECTED).items()
        for interface in protected.interfaces
        if interface.address is not None
    ]
    files = {
        "key": (lab.folder.login_key.parent / "push").read_bytes(),
        "known_hosts": ("\n".join(known) + "\n").encode(),
        "package.tar.gz": package.read_bytes(),
        "passphrase": passphrase.encode(),
        "ca.pem": (lab.folder.stack / "ca.pem").read_bytes(),
    }
    for name, content in files.items():
        machine.ssh.put(content, f"{PUSH_FOLDER}/{name}", mode=0o600)


def send_package(machine: LabMachine, package: bytes) -> None:
    """Unpack the package into the folder of installers on a machine."""
    machine.ssh.check("install", "-d", "-m", "700", WORK)
    machine.ssh.put(package, f"{WORK}/package.tar.gz", mode=0o600)
    machine.ssh.check("tar", "-xzf", f"{WORK}/package.tar.gz", "-C", WORK)


def _put_and_install(machine: LabMachine, kind: str, config: JSON, *arguments: str) -> None:
    machine.ssh.put(json.dumps(config).encode(), f"{WORK}/{kind}.json", mode=0o600)
    run_installer(machine, kind, f"{WORK}/{kind}.json", *arguments)


def run_installer(machine: LabMachine, kind: str, config: str, *arguments: str) -> None:
    """Install a service from the package that was sent, with a configuration file that is on the machine."""
    machine.ssh.check(
        *("env", f"PYTHONPATH={WORK}", "python3", "-m", "lab.replication.install", "--kind", kind),
        *("--config", config, "--package", f"{WORK}/package.tar.gz", *arguments),
        seconds=INSTALL_SECONDS,
    )


def install_console(lab: Lab, machine: LabMachine) -> None:
    """Install the optional console on a machine that is up; whether it may be there says the configuration server."""
    send_package(machine, (lab.folder.stack / "package.tar.gz").read_bytes())
    folder = f"{ETC}/{CONSOLE}"
    machine.ssh.check("install", "-d", "-m", "700", ETC, folder)
    for source, name in (("ca.pem", "ca.pem"), ("console.pem", "machine.pem"), ("console.key", "machine.key")):
        machine.ssh.put((lab.folder.stack / source).read_bytes(), f"{folder}/{name}", mode=0o600)
    _put_and_install(machine, CONSOLE, console_config(lab.topology, machine.name))
    machine.ssh.check("rm", "-rf", WORK)


def remove_console(machine: LabMachine) -> None:
    """Take the console off a machine; other components of the stack stay."""
    machine.ssh.check("rm", "-rf", f"{ETC}/{CONSOLE}", f"{ETC}/{CONSOLE}.json", CONSOLE_COMMAND)


def _data_port(topology: Topology, role: Role) -> int:
    policy = next(iter(topology.stack.policies.values()))
    return policy.process_server_port if role is Role.PROCESS_SERVER else policy.master_target_port
